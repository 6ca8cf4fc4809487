//! How a queue stands, and what is done with all that waits in it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api;
use crate::broker::{Broker, BrokerError};
use crate::domain::{QueueName, QueueStats};
use crate::http::extract::{JsonBody, PathName};
use crate::http::openapi::PROBLEM;
use crate::http::refusals::{OfBody, UNSUPPORTED};
use crate::http::{ApiError, App};

#[utoipa::path(
    get,
    path = "/queues/{queue}/stats",
    tag = "queues",
    summary = "How a queue stands",
    params(("queue" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "Its numbers", body = api::QueueStats),
        (status = 404, description = "There is no such queue", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "That is no name", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
pub(super) async fn stats<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(queue): PathName<QueueName>,
) -> Result<Json<api::QueueStats>, ApiError> {
    Ok(Json(shown(app.broker.stats(&queue).await?)))
}

fn shown(stats: QueueStats) -> api::QueueStats {
    let QueueStats { depth, dead, oldest, published_per_second, ended_per_second } = stats;
    api::QueueStats {
        num_undelivered_messages: depth.ready + depth.delayed,
        oldest_unacked_message_age_seconds: oldest.map_or(0, |age| age.as_secs()),
        num_in_flight_messages: depth.in_flight,
        num_delayed_messages: depth.delayed,
        num_held_messages: depth.held,
        num_dead_messages: dead,
        published_per_second,
        ended_per_second,
    }
}

#[utoipa::path(
    put,
    path = "/queues/{queue}/purge",
    tag = "queues",
    summary = "Cancels what waits in a queue",
    description = "What is in consumers' hands stays there.",
    params(("queue" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It was cancelled"),
        (status = 404, description = "There is no such queue", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "That is no name", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
pub(super) async fn purge<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(queue): PathName<QueueName>,
) -> Result<StatusCode, ApiError> {
    app.broker.purge(&queue).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    put,
    path = "/queues/{queue}/redrive",
    tag = "queues",
    summary = "Moves what waits in a queue to another, for a new life there",
    description = "Each begins anew: no deliveries so far, the delay and the retention of its new \
        queue. A message that the other queue has, or had to another end than death, stays.",
    params(("queue" = String, Path, description = "The queue that they leave")),
    request_body = api::Redrive,
    responses(
        (status = 204, description = "They were moved"),
        OfBody,
        (status = 404, description = "There is no such queue", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The destination is not there, or is the same queue", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
pub(super) async fn redrive<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(from): PathName<QueueName>,
    JsonBody(asked, _room): JsonBody<api::Redrive>,
) -> Result<StatusCode, ApiError> {
    let refused = |detail: String| ApiError::invalid(format!("`destination_queue_id`: {detail}"));
    let to: QueueName =
        asked.destination_queue_id.parse().map_err(|error| refused(format!("{error}")))?;
    app.broker.number_of(&from).await?;
    if to == from {
        return Err(refused("that is the queue that they wait in already".into()));
    }
    app.broker.redrive(&from, &to).await.map_err(|error| match error {
        BrokerError::NoQueue(name) if name == to => refused(format!("there is no queue `{to}`")),
        error => error.into(),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::Depth;

    #[test]
    fn what_is_delayed_is_undelivered_too() {
        let stats = QueueStats {
            depth: Depth { ready: 3, delayed: 2, held: 7, in_flight: 5 },
            dead: 1,
            oldest: Some(Duration::from_millis(2_900)),
            ..QueueStats::default()
        };
        let shown = shown(stats);
        assert_eq!((shown.num_undelivered_messages, shown.num_delayed_messages), (5, 2));
        assert_eq!(shown.oldest_unacked_message_age_seconds, 2);
        assert_eq!((shown.num_in_flight_messages, shown.num_held_messages), (5, 7));
        assert_eq!(shown.num_dead_messages, 1);
    }
}
