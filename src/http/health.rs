//! Whether this server can do its work: whether its database answers.

use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::OpenApi;

use super::openapi::PROBLEM;
use super::{ApiError, App};
use crate::api;
use crate::broker::Broker;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new().route("/health", get(health::<B>))
}

#[derive(OpenApi)]
#[openapi(paths(health))]
struct Docs;

/// What this file adds to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

/// That all is well.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Health {
    /// Always `ok`: anything else is a problem.
    status: &'static str,
}

#[utoipa::path(
    get,
    path = "/health",
    tag = "service",
    summary = "Whether this server can do its work",
    responses(
        (status = 200, description = "It can", body = Health, example = json!({"status": "ok"})),
        (status = 503, description = "It cannot now", body = api::Problem, content_type = PROBLEM),
    ),
    security(()),
)]
async fn health<B: Broker + Clone>(State(app): State<App<B>>) -> Result<Json<Health>, ApiError> {
    match tokio::time::timeout(PATIENCE, app.store.control.queue_names()).await {
        Ok(Ok(_)) => Ok(Json(Health { status: "ok" })),
        // Whatever it is that fails: this server is of no use now.
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database failed");
            Err(ApiError::unavailable("the database fails", 1))
        }
        Err(_) => Err(ApiError::unavailable("the database does not answer in time", 1)),
    }
}
