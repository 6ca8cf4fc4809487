//! Topics: making, changing, listing and deleting them. What is published to them is in `publish`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::extract::{JsonBody, PathName, QueryOf};
use super::openapi::PROBLEM;
use super::refusals::OfBody;
use super::rules;
use super::time::rfc3339;
use super::{ApiError, App};
use crate::api;
use crate::broker::Broker;
use crate::domain::TopicName;
use crate::store::control::Topic;

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new()
        .route("/topics", get(list::<B>).post(create::<B>))
        .route("/topics/{topic}", get(show::<B>).put(replace::<B>).delete(delete::<B>))
}

#[derive(OpenApi)]
#[openapi(paths(list, create, show, replace, delete))]
struct Docs;

/// What this file adds to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Slice {
    /// How many to pass over. 0 unless told.
    #[param(minimum = 0, maximum = 2_147_483_647)]
    offset: Option<u32>,
    /// How many at most. 100 unless told.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
}

impl Slice {
    /// Items on a page, unless told.
    const LIMIT: usize = 100;

    /// How many to pass over, and how many to answer.
    pub(super) fn bounds(&self, most: usize) -> Result<(u64, u64), ApiError> {
        let limit = self.limit.unwrap_or(Self::LIMIT.min(most));
        if !(1..=most).contains(&limit) {
            return Err(ApiError::invalid(format!("`limit` is 1 to {most}, not {limit}")));
        }
        let offset = self.offset.unwrap_or(0);
        if i32::try_from(offset).is_err() {
            return Err(ApiError::invalid(format!("`offset` is 0 to {}, not {offset}", i32::MAX)));
        }
        Ok((u64::from(offset), limit as u64))
    }
}

#[utoipa::path(
    get,
    path = "/topics",
    tag = "topics",
    summary = "Topics, in the order of their names",
    params(Slice),
    responses(
        (status = 200, description = "They", body = api::Data<api::Topic>),
        (status = 422, description = "A parameter cannot be", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
async fn list<B: Broker + Clone>(
    State(app): State<App<B>>,
    QueryOf(asked): QueryOf<Slice>,
) -> Result<Json<api::Data<api::Topic>>, ApiError> {
    let (offset, limit) = asked.bounds(app.limits.page)?;
    let found = app.store.control.topic_records(offset, limit).await?;
    Ok(Json(api::Data { data: found.into_iter().map(|topic| shown(topic, None)).collect() }))
}

#[utoipa::path(
    post,
    path = "/topics",
    tag = "topics",
    summary = "Makes a topic",
    request_body = api::NewTopic,
    responses(
        (status = 201, description = "It was made", body = api::Topic),
        OfBody,
        (status = 409, description = "The name is another topic's", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The body says something that cannot be", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
async fn create<B: Broker + Clone>(
    State(app): State<App<B>>,
    JsonBody(asked, _room): JsonBody<api::NewTopic>,
) -> Result<(StatusCode, Json<api::Topic>), ApiError> {
    let name: TopicName =
        asked.id.parse().map_err(|error| ApiError::invalid(format!("`id`: {error}")))?;
    let kept = rules::taken(asked.rules, app.limits.rules_bytes)?;
    let made = app.store.control.create_topic_with(&name, kept.clone()).await?;
    app.broker.names_changed();
    app.rules.forget();
    Ok((StatusCode::CREATED, Json(shown(made, rules::shown(kept)?))))
}

#[utoipa::path(
    get,
    path = "/topics/{topic}",
    tag = "topics",
    summary = "A topic",
    params(("topic" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "It", body = api::Topic),
        (status = 404, description = "There is no such topic", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "That is no name", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
async fn show<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(name): PathName<TopicName>,
) -> Result<Json<api::Topic>, ApiError> {
    let found = app.store.control.topic_record(&name).await?;
    let topic = found.ok_or_else(|| ApiError::missing("topic", name))?;
    let kept = app.store.control.topic_rules(topic.id).await?;
    Ok(Json(shown(topic, rules::shown(kept)?)))
}

#[utoipa::path(
    put,
    path = "/topics/{topic}",
    tag = "topics",
    summary = "Gives a topic other terms, all of them",
    description = "An upload is read by the rules that its topic has at its start; messages are \
        checked by new ones within a second. What was published before stays as it is.",
    params(("topic" = String, Path, description = "Its name")),
    request_body = api::TopicTerms,
    responses(
        (status = 200, description = "It as it is now", body = api::Topic),
        OfBody,
        (status = 404, description = "There is no such topic", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The request says something that cannot be", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
async fn replace<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(name): PathName<TopicName>,
    JsonBody(asked, _room): JsonBody<api::TopicTerms>,
) -> Result<Json<api::Topic>, ApiError> {
    let kept = rules::taken(asked.rules, app.limits.rules_bytes)?;
    let changed = app.store.control.set_topic_rules(&name, kept.clone()).await?;
    app.rules.forget();
    let topic = changed.ok_or_else(|| ApiError::missing("topic", name))?;
    Ok(Json(shown(topic, rules::shown(kept)?)))
}

#[utoipa::path(
    delete,
    path = "/topics/{topic}",
    tag = "topics",
    summary = "Deletes a topic",
    description = "Its name is free at once, and its queues stay, with what they hold, without a \
        topic. An upload that is being read into it goes on; no queue takes its rows from then on.",
    params(("topic" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such topic", body = api::Problem, content_type = PROBLEM),
        (status = 409, description = "Something else was changed at the same time", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "That is no name", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
async fn delete<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(name): PathName<TopicName>,
) -> Result<StatusCode, ApiError> {
    if !app.store.control.delete_topic(&name).await? {
        return Err(ApiError::missing("topic", name));
    }
    app.broker.names_changed();
    app.rules.forget();
    Ok(StatusCode::NO_CONTENT)
}

fn shown(topic: Topic, rules: Option<api::Rules>) -> api::Topic {
    api::Topic { id: topic.name, created_at: rfc3339(topic.created_at), rules }
}
