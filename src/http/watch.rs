//! What is done round every request: a line in the log when it was answered, and an answer even
//! when its handler panics.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;
use tracing::Span;

use super::ApiError;
use super::marks::REQUEST_ID;

/// The routes, watched.
pub(super) fn over(routes: Router) -> Router {
    // Neither the query nor a body: they may hold what is nobody else's business.
    let trace = TraceLayer::new_for_http()
        .make_span_with(|request: &Request| {
            let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
            let (method, path) = (request.method(), request.uri().path());
            tracing::info_span!("request", %method, path, request_id = id)
        })
        .on_request(|_: &Request, _: &Span| tracing::debug!("began"))
        .on_response(|response: &Response, latency: Duration, _: &Span| {
            let status = response.status().as_u16();
            tracing::info!(status, ?latency, "answered");
        })
        .on_body_chunk(())
        .on_eos(())
        .on_failure(());
    routes.layer(CatchPanicLayer::custom(panicked)).layer(trace)
}

/// What the panic says stays in the log of the process, where the panic itself has put it.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "The server failed",
        "the server met a fault of its own; its log says more",
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;
    use crate::api::Problem;

    #[tokio::test]
    async fn a_panic_is_answered_and_takes_nothing_down() {
        async fn fails() -> &'static str {
            panic!("a secret")
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let routes = over(Router::new().route("/", get(fails)));
        let server = tokio::spawn(axum::serve(listener, routes).into_future());
        for _ in 0..2 {
            let response = reqwest::get(&url).await.unwrap();
            assert_eq!(response.status(), 500);
            let problem: Problem = response.json().await.unwrap();
            assert_eq!(problem.kind, "/problems/internal");
            assert!(!problem.detail.contains("secret"));
        }
        server.abort();
    }
}
