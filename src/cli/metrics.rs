//! `--metrics ADDRESS`: a worker's numbers for Prometheus, at `/metrics` on an address of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::telemetry::LogFormat;
use crate::telemetry::exposition;
use crate::telemetry::worker::WorkerMetrics;

/// What can be said about a worker's numbers.
#[derive(Debug, clap::Args)]
pub(super) struct MetricsArgs {
    /// Serve this worker's numbers for Prometheus at http://ADDRESS/metrics, such as
    /// 127.0.0.1:9100; port 0 takes any that is free. They ask for no key
    #[arg(long, value_name = "ADDRESS", env = "ROWMILL_METRICS")]
    metrics: Option<SocketAddr>,
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {source}")]
pub(super) struct CannotServe {
    address: SocketAddr,
    source: std::io::Error,
}

/// A worker's numbers, served until this is dropped.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) worker: Arc<WorkerMetrics>,
    _server: AbortOnDropHandle<()>,
}

impl MetricsArgs {
    /// Serves the numbers of a worker whose handler is of this kind, if that was asked for.
    pub(super) async fn serve(
        &self,
        handler: &'static str,
        voice: LogFormat,
    ) -> Result<Option<Served>, CannotServe> {
        let Some(address) = self.metrics else { return Ok(None) };
        let cannot = |source| CannotServe { address, source };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        let mut registry = exposition::registry();
        let worker = Arc::new(WorkerMetrics::new(handler, &mut registry));
        let routes = routes(Arc::new(registry));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the metrics are not served any more");
            }
        });
        voice.say(&format!("metrics on http://{bound}/metrics"));
        Ok(Some(Served { worker, _server: AbortOnDropHandle::new(server) }))
    }
}

fn routes(registry: Arc<Registry>) -> Router {
    let metrics = move || async move {
        match exposition::text(&[&registry]) {
            Ok(text) => ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    };
    Router::new().route("/metrics", get(metrics))
}
