//! What became of messages: a list of those that ended, and any one by its id.
//!
//! A cursor is the id of a message: it carries the queue and the number after which the next page
//! begins, and the check that makes it one of this installation.
//!
//! One message is answered as JSON, or, when that is what `Accept` asks for, its output alone as a
//! person reads it. While there is no output yet, those forms are 409, and JSON says how it stands.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use utoipa::OpenApi;
use uuid::Uuid;

use super::accept::{Form, choose};
use super::extract::{PathName, QueryOf};
use super::time::rfc3339;
use super::{ApiError, App, output};
use crate::api;
use crate::broker::Broker;
use crate::domain::{MessageId, QueueName};
use crate::store::log::{Found, OutcomeKind, OutcomeQuery, QueueId, UploadId, Whereabouts};
use crate::store::{Store, StoreError};

/// Results on a page, unless told.
const PAGE: usize = 100;
/// The forms of one result; the first unless asked for another.
const FORMS: [Form; 3] = [("application", "json"), ("text", "plain"), ("text", "html")];

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new().route("/results", get(list::<B>)).route("/results/{message}", get(one::<B>))
}

#[derive(OpenApi)]
#[openapi(paths(list, one))]
struct Docs;

/// What this file adds to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListQuery {
    queue: Option<String>,
    upload: Option<Uuid>,
    status: Option<api::State>,
    after: Option<String>,
    limit: Option<usize>,
}

/// Messages that have ended, by queue and in the order of their publishing. A page may hold fewer than
/// asked for, or none, and not be the last: the last has no `next`.
#[utoipa::path(
    get,
    path = "/results",
    tag = "results",
    summary = "Messages that have ended",
    params(
        ("queue" = Option<String>, Query, description = "Of this queue",
            pattern = "^[A-Za-z0-9._-]{1,128}$"),
        ("upload" = Option<Uuid>, Query, description = "Of this upload"),
        ("status" = Option<String>, Query,
            description = "That ended so: `done`, `dead`, `expired` or `cancelled`",
            pattern = "^(done|dead|expired|cancelled)$"),
        ("after" = Option<String>, Query, description = "What `next` of the page before said"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "Results on the page at most; 100 unless told"),
    ),
    responses(
        (status = 200, description = "A page", body = api::Page<api::Outcome>),
        (status = 404, description = "There is no such queue or upload",
            body = api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The query says something that cannot be",
            body = api::Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer",
            body = api::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["read"])),
)]
async fn list<B: Broker + Clone>(
    State(app): State<App<B>>,
    QueryOf(asked): QueryOf<ListQuery>,
) -> Result<Json<api::Page<api::Outcome>>, ApiError> {
    let most = app.limits.page;
    let limit = asked.limit.unwrap_or(PAGE.min(most));
    if !(1..=most).contains(&limit) {
        return Err(ApiError::invalid(format!("`limit` is 1 to {most}, not {limit}")));
    }
    let query = OutcomeQuery {
        kind: asked.status.map(kind_of).transpose()?,
        after: asked.after.map(|cursor| begin_of(&app, &cursor)).transpose()?,
        queue: match asked.queue {
            Some(name) => Some(queue_of(&app.store, &name).await?),
            None => None,
        },
        upload: match asked.upload {
            Some(id) => Some(upload_of(&app.store, id).await?),
            None => None,
        },
    };
    let (found, next) = app.store.log.outcomes(query, limit).await?;
    let mut names = Names::read(&app.store).await?;
    let mut data = Vec::with_capacity(found.len());
    for found in found {
        data.extend(outcome(&app, &mut names, found).await?);
    }
    let next = next.map(|(queue, message)| id_of(&app, queue, message));
    Ok(Json(api::Page { data, next }))
}

/// As JSON how a message stands, with its output once it is done. As `text/plain` the output alone: the
/// text of one that is a string; what a command printed, stdout and then stderr; any other as its JSON;
/// of a dead message its error. As `text/html` the same in a page, with its ANSI colours.
#[utoipa::path(
    get,
    path = "/results/{message}",
    tag = "results",
    summary = "What became of a message",
    params(("message" = String, Path, description = "The message's id")),
    responses(
        (status = 200, description = "How it stands, or its output", content(
            (api::Outcome = "application/json"),
            (String = "text/plain"),
            (String = "text/html"),
        )),
        (status = 404, description = "There is no such message",
            body = api::Problem, content_type = "application/problem+json"),
        (status = 406, description = "`Accept` takes none of these forms",
            body = api::Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has not ended, so there is no output to be read",
            body = api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The path cannot be",
            body = api::Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer",
            body = api::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["read"])),
)]
async fn one<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(text): PathName<String>,
    headers: HeaderMap,
) -> Response {
    let answer = in_form(&app, &text, &headers).await;
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    // Of refusals too: what is refused depends on it.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    response
}

async fn in_form<B: Broker + Clone>(
    app: &App<B>,
    text: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let form = FORMS[choose(headers, &FORMS)?];
    let found = look_up(app, text).await?;
    let open = matches!(found.status, api::State::Waiting | api::State::InFlight);
    match form {
        ("text", _) if open => Err(ApiError::conflict(
            "the message has not ended, so there is no output; as JSON it says how it stands",
        )),
        ("text", "plain") => Ok(output::plain(&found)),
        ("text", _) => Ok(output::page(&found)),
        _ => Ok(Json(found).into_response()),
    }
}

async fn look_up<B: Broker + Clone>(app: &App<B>, text: &str) -> Result<api::Outcome, ApiError> {
    let missing = || ApiError::missing("message", text.chars().take(64).collect::<String>());
    let (queue, message) = opened(app, text).ok_or_else(missing)?;
    let found = app.store.log.find(queue, message).await?.ok_or_else(missing)?;
    let mut names = Names::read(&app.store).await?;
    outcome(app, &mut names, found).await?.ok_or_else(missing)
}

/// The queue and the number of the message with this id, if it is one of this installation.
fn opened<B: Broker + Clone>(app: &App<B>, text: &str) -> Option<(QueueId, i64)> {
    let id: MessageId = text.parse().ok()?;
    let (queue, message) = app.key.open(id)?;
    Some((QueueId(i32::try_from(queue).ok()?), i64::try_from(message).ok()?))
}

fn id_of<B: Broker + Clone>(app: &App<B>, queue: QueueId, message: i64) -> String {
    app.key.id(queue.0.cast_unsigned(), message.cast_unsigned()).to_string()
}

fn begin_of<B: Broker + Clone>(app: &App<B>, cursor: &str) -> Result<(QueueId, i64), ApiError> {
    let bad = || ApiError::invalid("`after` is what `next` of the page before said, nothing else");
    opened(app, cursor).ok_or_else(bad)
}

fn kind_of(status: api::State) -> Result<OutcomeKind, ApiError> {
    match status {
        api::State::Done => Ok(OutcomeKind::Done),
        api::State::Dead => Ok(OutcomeKind::Dead),
        api::State::Expired => Ok(OutcomeKind::Expired),
        api::State::Cancelled => Ok(OutcomeKind::Cancelled),
        api::State::Waiting | api::State::InFlight => Err(ApiError::invalid(
            "only messages that have ended are listed: `status` is done, dead, expired or cancelled",
        )),
    }
}

fn state_of(kind: OutcomeKind) -> api::State {
    match kind {
        OutcomeKind::Done => api::State::Done,
        OutcomeKind::Dead => api::State::Dead,
        OutcomeKind::Expired => api::State::Expired,
        OutcomeKind::Cancelled => api::State::Cancelled,
    }
}

async fn queue_of(store: &Store, name: &str) -> Result<QueueId, ApiError> {
    let name: QueueName = name.parse().map_err(|error| ApiError::invalid(format!("{error}")))?;
    let found = store.control.queue(&name).await?;
    found.map(|queue| queue.id).ok_or_else(|| ApiError::missing("queue", name))
}

async fn upload_of(store: &Store, id: Uuid) -> Result<UploadId, ApiError> {
    let found = store.control.upload_by_public_id(id).await?;
    found.map(|upload| upload.id).ok_or_else(|| ApiError::missing("upload", id))
}

/// What numbers are called outside: queues all at once, because they are few; uploads as they come.
struct Names {
    queues: HashMap<QueueId, String>,
    uploads: HashMap<UploadId, Option<Uuid>>,
}

impl Names {
    async fn read(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { queues: store.control.queue_names().await?, uploads: HashMap::new() })
    }

    /// The id of an upload; nothing when it was deleted since its message was found.
    async fn upload(&mut self, store: &Store, id: UploadId) -> Result<Option<Uuid>, StoreError> {
        if let Some(known) = self.uploads.get(&id) {
            return Ok(*known);
        }
        let public_id = match store.control.upload(id).await {
            Ok(upload) => Some(upload.public_id),
            Err(StoreError::Damaged(_)) => None,
            Err(error) => return Err(error),
        };
        self.uploads.insert(id, public_id);
        Ok(public_id)
    }
}

/// A found message as it is answered; nothing when its queue was deleted since.
async fn outcome<B: Broker + Clone>(
    app: &App<B>,
    names: &mut Names,
    found: Found,
) -> Result<Option<api::Outcome>, ApiError> {
    let Some(queue) = names.queues.get(&found.queue).cloned() else { return Ok(None) };
    let upload_id = match found.upload {
        Some(id) => names.upload(&app.store, id).await?,
        None => None,
    };
    let mut answer = api::Outcome {
        id: id_of(app, found.queue, found.id),
        queue,
        status: api::State::Waiting,
        upload_id,
        row: found.row.map(|row| row.0),
        attempts: None,
        output: None,
        error: None,
        finished_at: None,
    };
    match found.at {
        Whereabouts::Waiting => {}
        Whereabouts::InFlight => answer.status = api::State::InFlight,
        Whereabouts::Ended(ended) => {
            answer.status = state_of(ended.kind);
            answer.attempts = Some(ended.attempts);
            answer.output = ended.output.map(super::kept_json).transpose()?;
            answer.error = ended.error.map(String::from);
            answer.finished_at = Some(rfc3339(ended.at_ms));
        }
    }
    Ok(Some(answer))
}
