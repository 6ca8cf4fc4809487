//! Whether this server lives, and whether it can do its work.
//!
//! *Live* is that the process answers. *Ready* is that whatever it needs is there: the database, its
//! tables, the spool, the program that reads files; what fails is named. Somebody elsewhere who holds
//! a transaction open is no failure of this server, and is warned of beside the answer.

use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::OpenApi;

use super::openapi::PROBLEM;
use super::{ApiError, App};
use crate::api;
use crate::broker::Broker;
use crate::ingest::reader;
use crate::store::StoreError;
use crate::store::watch::Hold;

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new()
        .route("/health", get(health::<B>))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready::<B>))
}

#[derive(OpenApi)]
#[openapi(paths(health, live, ready))]
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
    summary = "Whether this server can do its work: whether its database answers",
    responses(
        (status = 200, description = "It can", body = Health, example = json!({"status": "ok"})),
        (status = 503, description = "It cannot now", body = api::Problem, content_type = PROBLEM),
    ),
    security(()),
)]
async fn health<B: Broker + Clone>(State(app): State<App<B>>) -> Result<Json<Health>, ApiError> {
    match timeout(app.limits.observe.wait, app.store.control.queue_names()).await {
        Ok(Ok(_)) => Ok(Json(Health { status: "ok" })),
        // Whatever it is that fails: this server is of no use now.
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database failed");
            Err(ApiError::unavailable("the database fails", 1))
        }
        Err(_) => Err(ApiError::unavailable("the database does not answer in time", 1)),
    }
}

#[utoipa::path(
    get,
    path = "/health/live",
    tag = "service",
    summary = "Whether the process answers at all",
    responses((status = 200, description = "It does", body = Health)),
    security(()),
)]
async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// That a server can do its work, and what will trouble it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Ready {
    status: &'static str,
    #[schema(value_type = Vec<Object>)]
    warnings: Vec<Warning>,
}

#[derive(Debug, Serialize)]
struct Warning {
    detail: &'static str,
    #[serde(flatten)]
    hold: Hold,
}

#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "service",
    summary = "Whether everything is there that this server needs",
    description = "Its database, the tables of its version, its spool, its reader; what fails is \
        named. `warnings` names transactions elsewhere that have been open for long on the same \
        PostgreSQL (`kind`, `pid`, `application_name`, `state`, `age_seconds`): they slow the log \
        of messages down.",
    responses(
        (status = 200, description = "It is", body = Ready),
        (
            status = 503,
            description = "Something is missing",
            body = api::Problem,
            content_type = PROBLEM,
        ),
    ),
    security(()),
)]
async fn ready<B: Broker + Clone>(State(app): State<App<B>>) -> Result<Json<Ready>, ApiError> {
    let settings = app.intake.settings();
    let wait = app.limits.observe.wait;
    let (database, spool, reader, holds) = tokio::join!(
        timeout(wait, app.store.pending()),
        timeout(wait, settings.spool.probe()),
        timeout(wait, reader::can_start(&settings.exe)),
        timeout(wait, app.store.holds(app.limits.observe.holds())),
    );
    let mut failing = vec![];
    match database {
        Ok(Ok(0)) => {}
        Ok(Ok(n)) => failing.push(format!("the database's tables lack {n} changes")),
        Ok(Err(error)) => failing.push(told("the database fails", "", &error)),
        Err(_) => failing.push(late("the database does not answer", wait)),
    }
    match spool {
        Ok(Ok(())) => {}
        // Who asks need not know where it is; the log says it.
        Ok(Err(error)) => {
            let place = settings.spool.place();
            failing.push(format!(
                "{}: {}",
                told("the spool cannot be written", &place, &error),
                error.why()
            ));
        }
        Err(_) => failing.push(late("the spool does not answer", wait)),
    }
    match reader {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let path = settings.exe.display().to_string();
            failing.push(format!(
                "{}: {}",
                told("no reader can be started", &path, &error),
                error.kind()
            ));
        }
        Err(_) => failing.push(late("the reader's program does not answer", wait)),
    }
    if app.stop.is_cancelled() {
        failing.push("the server is stopping".to_owned());
    }
    if !failing.is_empty() {
        return Err(ApiError::unavailable(failing.join("; "), 1));
    }
    Ok(Json(Ready { status: "ok", warnings: warnings(holds) }))
}

/// Says in the log why a part fails, and answers what is told of it.
fn told(what: &str, place: &str, error: &dyn std::error::Error) -> String {
    tracing::warn!(%error, place, "not ready: {what}");
    what.to_owned()
}

fn late(what: &str, wait: Duration) -> String {
    format!("{what} within {}", humantime::format_duration(wait))
}

/// A look that fails is no warning of a transaction: if the database is at fault, that is said.
fn warnings(
    holds: Result<Result<Vec<Hold>, StoreError>, tokio::time::error::Elapsed>,
) -> Vec<Warning> {
    let holds = match holds {
        Ok(Ok(holds)) => holds,
        Ok(Err(error)) => {
            tracing::warn!(%error, "open transactions could not be looked for");
            vec![]
        }
        Err(_) => vec![],
    };
    let detail =
        "it keeps the database from forgetting old rows, which slows the log of messages down";
    holds.into_iter().map(|hold| Warning { detail, hold }).collect()
}
