//! What is served over HTTP: the last published metrics, health and readiness. A request waits for nothing
//! but the network.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use crate::own_metrics::OwnMetrics;
use crate::publish::{Published, Readiness};

/// Of the exposition format; Prometheus 3 refuses a shorter one.
const EXPOSITION_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// For a request's header to arrive, and for a connection to be used again: longer than the usual minute
/// between scrapes, which otherwise would meet a connection that is just being closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// For open requests to be answered once the process ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_CONNECTIONS: usize = 256;

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "cannot serve HTTP on {0}: the address is in use; stop the other process, or choose another one with --listen \
         or http.listen"
    )]
    InUse(SocketAddr),
    #[error("cannot serve HTTP on {0}: {1}; choose another address with --listen or http.listen")]
    Other(SocketAddr, io::Error),
}

/// A server on a thread of its own, which the engine's threads cannot hold up.
pub struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Listens, and serves until [`Self::stop`].
    pub fn start(address: SocketAddr, published: Arc<Published>, own: OwnMetrics) -> anyhow::Result<Self> {
        let listener = bind(address)?;
        let address = listener.local_addr().context("cannot tell the address of the HTTP server")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the HTTP server")?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, published, own, async { drop(stopped.await) }).await,
                    Err(error) => tracing::error!("no HTTP is served, restart churnwatch: {error}"),
                }
            });
        };
        let thread = std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(serve)
            .context("cannot start the thread of the HTTP server")?;
        Ok(Self { address, stop, thread })
    }

    /// Where it listens: the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, answers what is open, and ends.
    pub fn stop(self) {
        // An error says that the thread has ended already.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// A listener as [`serve`] wants it, once made a tokio one.
pub fn bind(address: SocketAddr) -> Result<std::net::TcpListener, ListenError> {
    let listen = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Other(address, error),
    })
}

/// Serves until `shutdown`, then answers what is open.
pub async fn serve(
    listener: TcpListener,
    published: Arc<Published>,
    own: OwnMetrics,
    shutdown: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(router(Pages { published, own }));
    let mut connection_builder = hyper::server::conn::http1::Builder::new();
    connection_builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let slot = slots.clone().acquire_owned();
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = async { (slot.await, listener.accept().await) } => accepted,
        };
        let (Ok(slot), Ok((stream, _))) = accepted else {
            // Out of file descriptors, most likely; connections that end free some.
            tracing::debug!("an HTTP connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let connection = graceful.watch(connection_builder.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("an HTTP connection broke: {error}");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::debug!("HTTP connections were still open at the end");
    }
}

#[derive(Clone)]
struct Pages {
    published: Arc<Published>,
    own: OwnMetrics,
}

fn router(pages: Pages) -> Router {
    let header =
        |name: HeaderName, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/healthz", get(healthy))
        .route("/-/ready", get(ready))
        .route("/readyz", get(ready))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(pages)
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(CompressionLayer::new())
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::CACHE_CONTROL, "no-store"))
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let page = pages.published.page();
    let text = [&*page.cohort_text, &*page.process_text, &*pages.own.page()].concat();
    ([(header::CONTENT_TYPE, EXPOSITION_CONTENT_TYPE)], text).into_response()
}

async fn healthy(State(pages): State<Pages>) -> Response {
    match pages.published.unwell() {
        None => "healthy\n".into_response(),
        Some(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("stalled: {what}\n")).into_response(),
    }
}

async fn ready(State(pages): State<Pages>) -> Response {
    match &**pages.published.readiness.load() {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::NotReady(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", in_one_line(reason))).into_response()
        }
    }
}

async fn index(State(pages): State<Pages>) -> Html<String> {
    let as_of = pages.published.as_of().map_or("nothing is published yet".to_owned(), |t| format!("as of {t}"));
    let readiness = match &**pages.published.readiness.load() {
        Readiness::Ready => "ready".to_owned(),
        Readiness::NotReady(reason) => format!("not ready: {}", escaped(&in_one_line(reason))),
    };
    let version = env!("CARGO_PKG_VERSION");
    Html(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>churnwatch</title></head>\n<body>\n\
         <h1>churnwatch {version}</h1>\n\
         <p>Rolling churn and retention, {as_of}. The instance is {readiness}.</p>\n\
         <ul>\n\
         <li><a href=\"/metrics\">/metrics</a>: the gauges, for Prometheus</li>\n\
         <li><a href=\"/-/ready\">/-/ready</a>: whether they are published (also /readyz)</li>\n\
         <li><a href=\"/-/healthy\">/-/healthy</a>: whether the process makes progress (also /healthz)</li>\n\
         </ul>\n</body>\n</html>\n"
    ))
}

async fn not_found() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "not found; there are /, /metrics, /-/ready, /readyz, /-/healthy and /healthz\n")
}

async fn not_allowed() -> impl IntoResponse {
    (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
}

fn in_one_line(reason: &str) -> String {
    reason.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
