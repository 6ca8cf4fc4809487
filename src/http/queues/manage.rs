//! Making, listing, changing and deleting queues.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::terms::{shown, terms_of};
use crate::api;
use crate::broker::Broker;
use crate::domain::QueueName;
use crate::http::extract::{JsonBody, PathName, QueryOf};
use crate::http::openapi::PROBLEM;
use crate::http::refusals::{OfBody, UNSUPPORTED};
use crate::http::topics::Slice;
use crate::http::{ApiError, App};

#[utoipa::path(
    get,
    path = "/queues",
    tag = "queues",
    summary = "Queues, in the order of their names",
    params(Slice),
    responses(
        (status = 200, description = "They", body = api::Data<api::Queue>),
        (status = 422, description = "A parameter cannot be", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
pub(super) async fn list<B: Broker + Clone>(
    State(app): State<App<B>>,
    QueryOf(asked): QueryOf<Slice>,
) -> Result<Json<api::Data<api::Queue>>, ApiError> {
    let (offset, limit) = asked.bounds(app.limits.page)?;
    let found = app.store.control.queue_records(offset, limit).await?;
    Ok(Json(api::Data { data: found.into_iter().map(shown).collect() }))
}

#[utoipa::path(
    post,
    path = "/queues",
    tag = "queues",
    summary = "Makes a queue",
    request_body = api::NewQueue,
    responses(
        (status = 201, description = "It was made", body = api::Queue),
        OfBody,
        (status = 409, description = "The name is another queue's, or the dead queue cannot be its", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The body says something that cannot be", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
pub(super) async fn create<B: Broker + Clone>(
    State(app): State<App<B>>,
    JsonBody(asked, _room): JsonBody<api::NewQueue>,
) -> Result<(StatusCode, Json<api::Queue>), ApiError> {
    let (id, terms) = asked.into_parts();
    let name: QueueName =
        id.parse().map_err(|error| ApiError::invalid(format!("`id`: {error}")))?;
    let terms = terms_of(terms, &app.limits.queue, &app.limits.message)?;
    app.broker.could_have(&name, &terms).await?;
    let made = app.store.control.create_queue(&name, &terms).await?;
    app.broker.names_changed();
    app.broker.queue_made(&name).await?;
    Ok((StatusCode::CREATED, Json(shown(made))))
}

#[utoipa::path(
    get,
    path = "/queues/{queue}",
    tag = "queues",
    summary = "A queue",
    params(("queue" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "It", body = api::Queue),
        (status = 404, description = "There is no such queue", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "That is no name", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
pub(super) async fn show<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(name): PathName<QueueName>,
) -> Result<Json<api::Queue>, ApiError> {
    let found = app.store.control.queue_record(&name).await?;
    found.map(|queue| Json(shown(queue))).ok_or_else(|| ApiError::missing("queue", name))
}

#[utoipa::path(
    put,
    path = "/queues/{queue}",
    tag = "queues",
    summary = "Gives a queue other terms, all of them",
    description = "Topic, filters, delay and retention hold for what is published from then on; \
        deadline, deliveries and back-off for what is delivered from then on.",
    params(("queue" = String, Path, description = "Its name")),
    request_body = api::QueueTerms,
    responses(
        (status = 200, description = "It as it is now", body = api::Queue),
        OfBody,
        (status = 404, description = "There is no such queue", body = api::Problem, content_type = PROBLEM),
        (status = 409, description = "The topic or the dead queue cannot be its", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The request says something that cannot be", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
pub(super) async fn replace<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(name): PathName<QueueName>,
    JsonBody(asked, _room): JsonBody<api::QueueTerms>,
) -> Result<Json<api::Queue>, ApiError> {
    let terms = terms_of(asked, &app.limits.queue, &app.limits.message)?;
    if app.store.control.queue_record(&name).await?.is_none() {
        return Err(ApiError::missing("queue", name));
    }
    // What the broker refuses must not stand in the database.
    app.broker.could_have(&name, &terms).await?;
    let changed = app.store.control.replace_queue(&name, &terms).await?;
    app.broker.names_changed();
    app.broker.queue_made(&name).await?;
    Ok(Json(shown(changed)))
}

#[utoipa::path(
    delete,
    path = "/queues/{queue}",
    tag = "queues",
    summary = "Deletes a queue, with all that it holds",
    description = "Its name is free at once. A queue whose dead queue it was has none from then on.",
    params(("queue" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such queue", body = api::Problem, content_type = PROBLEM),
        (status = 409, description = "Something else was changed at the same time", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "That is no name", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
pub(super) async fn delete<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(name): PathName<QueueName>,
) -> Result<StatusCode, ApiError> {
    if !app.store.control.delete_queue(&name).await? {
        return Err(ApiError::missing("queue", name));
    }
    app.broker.names_changed();
    app.broker.queue_deleted(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
