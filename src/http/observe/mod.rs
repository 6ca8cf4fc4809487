//! `/metrics`: the server's numbers for Prometheus and its kin.
//!
//! Requests are counted as they are answered ([`requests`]). What stands in the database (messages by
//! queue, uploads, old transactions) is looked up at a scrape, within a time, and kept for a moment,
//! so that scrapers do not add up ([`gather`]). What cannot be had in time is left out, and
//! `rowmill_gather_ok` says so. Labels are bounded: templates of routes, never paths, and a number of
//! queues.

mod gather;
mod requests;
mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use utoipa::OpenApi;

use super::{ApiError, App};
use crate::broker::Broker;
use crate::domain::units;
use crate::store::watch::HoldLimits;
use crate::telemetry::exposition;
use gather::Gathered;
use requests::Requests;

/// What looking after a server may cost, and what it warns of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObserveLimits {
    /// How long a scrape, or a question after the server's health, waits for the database. 2 s.
    #[serde(with = "units::time")]
    pub wait: Duration,
    /// How long what a scrape has looked up is good for the next. 1 s.
    #[serde(with = "units::time")]
    pub fresh: Duration,
    /// Queues that are told of, by name; the rest is only counted. 100.
    pub queues: usize,
    /// Queues looked at at once. 4.
    pub queues_at_once: usize,
    /// From which age on an open transaction is named that holds old rows back. 30 s.
    #[serde(with = "units::time")]
    pub old_transaction: Duration,
    /// By how many transactions a replication slot is behind when it is named. 1,000,000.
    pub old_slot: u32,
    /// How many of them are named. 10.
    pub holds: u32,
}

impl Default for ObserveLimits {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(2),
            fresh: Duration::from_secs(1),
            queues: 100,
            queues_at_once: 4,
            old_transaction: Duration::from_secs(30),
            old_slot: 1_000_000,
            holds: 10,
        }
    }
}

impl ObserveLimits {
    /// From when on something that holds old rows back is named.
    pub(super) fn holds(&self) -> HoldLimits {
        HoldLimits { age: self.old_transaction, transactions: self.old_slot, most: self.holds }
    }
}

/// What is counted of one server. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    registry: Arc<Registry>,
    requests: Requests,
    gathered: Gathered,
}

impl Observed {
    pub(super) fn new() -> Self {
        let mut registry = exposition::registry();
        let requests = Requests::new(&mut registry);
        Self { registry: Arc::new(registry), requests, gathered: Gathered::default() }
    }

    /// The routes, counted. To be laid over everything else, so that what is refused is counted too.
    pub(super) fn over(self, routes: Router) -> Router {
        let requests = axum::middleware::from_fn_with_state(self.requests.clone(), requests::count);
        routes.layer(Extension(self)).layer(requests)
    }
}

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new().route("/metrics", get(metrics::<B>))
}

#[derive(OpenApi)]
#[openapi(paths(metrics))]
struct Docs;

/// What this file adds to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    summary = "The server's numbers, for Prometheus",
    description = "OpenMetrics 1.0. What the database does not tell in time is left out; \
        `rowmill_gather_ok` says which part that is.",
    responses((
        status = 200,
        description = "The numbers",
        body = String,
        content_type = "application/openmetrics-text",
    )),
    security(("key" = ["read"])),
)]
async fn metrics<B: Broker + Clone>(
    State(app): State<App<B>>,
    Extension(observed): Extension<Observed>,
) -> Result<Response, ApiError> {
    let snapshot = observed.gathered.get(&app).await;
    let now = snapshot::registry(&snapshot, &app);
    let text = exposition::text(&[&observed.registry, &now]).map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written");
        ApiError::unavailable("the metrics cannot be written", 1)
    })?;
    Ok(([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response())
}
