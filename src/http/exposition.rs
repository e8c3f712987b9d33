//! The answer to a scrape: the published page's own bytes, shared by all who take them and compressed once. Clients
//! that take them slowly, or not at all, cost a socket each, not a page.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Semaphore;

use super::connections::{Connected, Scrape};
use super::pages::Pages;
use crate::publish::Page;

/// Of the exposition format; Prometheus 3 refuses a shorter one.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One page at a time is compressed. Clones are the same.
#[derive(Clone)]
pub(super) struct Compressing(Arc<Semaphore>);

impl Compressing {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Has the page compressed, off the server's thread.
    async fn compress(&self, page: &Arc<Page>) {
        if page.compressed().is_some() {
            return;
        }
        let Ok(turn) = self.0.clone().acquire_owned().await else { return };
        let page = page.clone();
        // It goes on, and is kept, also where the request has ended meanwhile.
        let compress = tokio::task::spawn_blocking(move || {
            page.compress();
            drop(turn);
        });
        // Nothing is compressed where the process ends: plain text is as good.
        let _ = compress.await;
    }
}

/// `/metrics`
pub(super) async fn metrics(
    State(pages): State<Pages>,
    Extension(connected): Extension<Connected>,
    headers: HeaderMap,
) -> Response {
    let page = pages.published.page();
    if accepts_gzip(&headers) {
        pages.compressing.compress(&page).await;
    }
    let own = pages.own.page();
    let compressed = page.compressed().filter(|_| accepts_gzip(&headers));
    let chunks: VecDeque<Bytes> = match compressed {
        Some(beginning) => beginning.ended_by(&own).into(),
        None => [shared(&page.cohort_text), shared(&page.process_text), own.into()].into(),
    };
    let encoding = compressed.map(|_| [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::VARY, "accept-encoding")];
    (headers, encoding.map(axum::response::AppendHeaders), Body::new(Chunks { chunks, _scrape: connected.scrape() }))
        .into_response()
}

/// Whether an answer may be compressed.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let is_gzip = |coding: &str| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let named = ["gzip", "x-gzip"].iter().any(|gzip| name.trim().eq_ignore_ascii_case(gzip));
        let quality = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), |q| q.trim().parse::<f64>());
        named && quality.is_ok_and(|quality| quality > 0.0)
    };
    values.flat_map(|value| value.split(',')).any(is_gzip)
}

fn shared(text: &Arc<str>) -> Bytes {
    struct Text(Arc<str>);
    impl AsRef<[u8]> for Text {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Text(text.clone()))
}

/// A body, which counts as a scrape until it is taken.
struct Chunks {
    chunks: VecDeque<Bytes>,
    _scrape: Scrape,
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.chunks.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.chunks.iter().map(|chunk| chunk.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_what_a_client_says_it_takes() {
        let accepts = |value: &'static str| {
            accepts_gzip(&[(header::ACCEPT_ENCODING, HeaderValue::from_static(value))].into_iter().collect())
        };
        for value in ["gzip", "deflate, gzip;q=1.0, *;q=0.5", "GZIP ; q=0.1", "x-gzip,br"] {
            assert!(accepts(value), "{value}");
        }
        for value in ["", "identity", "gzip;q=0", "gzip;q=0.000", "gzip;q=x", "gzipped", "br"] {
            assert!(!accepts(value), "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
