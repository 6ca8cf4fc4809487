//! Receiving, and looking without taking.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api;
use crate::broker::Broker;
use crate::domain::QueueName;
use crate::http::delivery::deliveries;
use crate::http::extract::{PathName, QueryOf};
use crate::http::messages::shown;
use crate::http::openapi::PROBLEM;
use crate::http::refusals::UNSUPPORTED;
use crate::http::workers::WorkerName;
use crate::http::{ApiError, App};

/// What each consumer gets is another's no more: such answers are not to be kept by anybody.
const NOT_KEPT: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReceiveQuery {
    /// How many messages at most. 1 unless told.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
    /// How long to wait for the first, in seconds. Not at all unless told.
    #[param(minimum = 0, maximum = 30)]
    wait: Option<f64>,
}

#[utoipa::path(
    get,
    path = "/queues/{queue}/messages",
    tag = "queues",
    summary = "Receives messages",
    description = "Each is the consumer's until its deadline; settled by then, or it comes again.",
    params(("queue" = String, Path, description = "Its name"), ReceiveQuery),
    responses(
        (status = 200, description = "They; none if none came in time", body = api::Data<api::Delivery>),
        (status = 404, description = "There is no such queue", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The name or a parameter cannot be", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["consume"])),
)]
pub(super) async fn receive<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(queue): PathName<QueueName>,
    QueryOf(asked): QueryOf<ReceiveQuery>,
    worker: WorkerName,
) -> Result<([(HeaderName, &'static str); 1], Json<api::Data<api::Delivery>>), ApiError> {
    let limit = limit_of(asked.limit.unwrap_or(1), app.limits.messages)?;
    let longest = app.limits.receive_wait;
    let wait = seconds(asked.wait.unwrap_or(0.0), longest).ok_or_else(|| {
        let longest = longest.as_secs_f64();
        ApiError::invalid(format!("`wait` is 0 to {longest} seconds"))
    })?;
    // Who waits for messages is there, too.
    if app.broker.number_of(&queue).await.is_ok() {
        app.workers.received(&worker, &queue, &[], app.store.clock.now_ms());
    }
    let leases = tokio::select! {
        leases = app.broker.receive(&queue, limit, wait) => leases?,
        // What it may have leased by then is handed back by the broker.
        () = app.stop.cancelled() => vec![],
    };
    let now_ms = app.store.clock.now_ms();
    app.workers.received(&worker, &queue, &leases, now_ms);
    let answer = |lease| deliveries(lease, &queue, now_ms);
    let data = leases.into_iter().flat_map(answer).collect::<Result<_, _>>()?;
    Ok((NOT_KEPT, Json(api::Data { data })))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PeekQuery {
    /// How many messages at most. 10 unless told.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
}

#[utoipa::path(
    get,
    path = "/queues/{queue}/messages/peek",
    tag = "queues",
    summary = "Looks at messages that wait, without taking them",
    description = "Those first that would be delivered first.",
    params(("queue" = String, Path, description = "Its name"), PeekQuery),
    responses(
        (status = 200, description = "They", body = api::Data<api::Message>),
        (status = 404, description = "There is no such queue", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The name or a parameter cannot be", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
pub(super) async fn peek<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(queue): PathName<QueueName>,
    QueryOf(asked): QueryOf<PeekQuery>,
) -> Result<([(HeaderName, &'static str); 1], Json<api::Data<api::Message>>), ApiError> {
    let limit = asked.limit.unwrap_or(app.limits.queue.peek_default);
    let found = app.broker.peek(&queue, limit_of(limit, app.limits.messages)?).await?;
    let data = found.into_iter().map(shown).collect::<Result<_, _>>()?;
    Ok((NOT_KEPT, Json(api::Data { data })))
}

fn limit_of(limit: usize, most: usize) -> Result<usize, ApiError> {
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(ApiError::invalid(format!("`limit` is 1 to {most}, not {limit}")))
}

/// Seconds as a duration, if they are 0 to `most`.
pub(super) fn seconds(seconds: f64, most: Duration) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= most)
}
