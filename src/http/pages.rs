//! The pages, and the door before them: the last published metrics, health and readiness.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use super::door::{self, InForce};
use super::exposition::{Compressing, metrics};
use crate::own_metrics::OwnMetrics;
use crate::publish::{Published, Readiness};

/// For what makes the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Pages {
    pub published: Arc<Published>,
    pub own: OwnMetrics,
    pub compressing: Compressing,
}

/// Whose answer a rate limit does not count: a probe that meets 429 would have the process restarted.
pub(super) fn is_probe(path: &str) -> bool {
    ["/healthz", "/-/healthy", "/readyz", "/-/ready"].contains(&path)
}

/// What is behind the door, and the door.
pub(super) fn router(pages: Pages, door: InForce) -> Router {
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
        .layer(from_fn_with_state(door.clone(), door::guard))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::CACHE_CONTROL, "no-store"))
        .layer(from_fn_with_state(door, door::add_headers))
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
