//! One message by its id: looking at it, and ending or lengthening the delivery that it is in.
//!
//! An id says no more than which message it is. So these end the current delivery, whoever has it in
//! hands: its receipt is looked up and settled. Between the two it may have been swept or settled;
//! then the message is looked at anew, a few times at most.

mod view;

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::{get, put};
use axum::{Json, Router};
use utoipa::OpenApi;

use super::extract::{MaybeJson, PathName};
use super::limits::MessageLimits;
use super::openapi::PROBLEM;
use super::refusals::{OfBody, OfHands, UNSUPPORTED};
use super::{ApiError, App};
use crate::api;
use crate::broker::Broker;
use crate::domain::{MessageId, MessageState, Receipt, Settlement, Verdict};

pub(super) use view::shown;

/// How often a message is looked at anew because its delivery changed hands meanwhile.
const LOOKS: u32 = 5;

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new()
        .route("/messages/{message}", get(show::<B>))
        .route("/messages/{message}/ack", put(ack::<B>))
        .route("/messages/{message}/nack", put(nack::<B>))
        .route("/messages/{message}/reject", put(reject::<B>))
        .route("/messages/{message}/extend", put(extend::<B>))
}

#[derive(OpenApi)]
#[openapi(paths(show, ack, nack, reject, extend))]
struct Docs;

/// What this file adds to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

#[utoipa::path(
    get,
    path = "/messages/{message}",
    tag = "messages",
    summary = "A message, wherever it is",
    params(("message" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "It", body = api::Message),
        (status = 404, description = "There is no such message, or it is gone", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The id is no text", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
async fn show<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(text): PathName<String>,
) -> Result<([(HeaderName, &'static str); 1], Json<api::Message>), ApiError> {
    let id = id_of(&text)?;
    let found = app.broker.message(id).await?.ok_or_else(|| missing(&text))?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(shown(found)?)))
}

#[utoipa::path(
    put,
    path = "/messages/{message}/ack",
    tag = "messages",
    summary = "Acks a message: it is done",
    description = "Ends its current delivery, whoever has it in hands. Said again it does no harm.",
    params(("message" = String, Path, description = "Its id")),
    request_body = Option<api::AckOne>,
    responses(
        (status = 204, description = "It is done"),
        OfBody,
        OfHands,
    ),
    security(("key" = ["consume"])),
)]
async fn ack<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(text): PathName<String>,
    MaybeJson(asked): MaybeJson<api::AckOne>,
) -> Result<StatusCode, ApiError> {
    settle(&app, &text, Verdict::Done { output: asked.output.map(Into::into) }).await
}

#[utoipa::path(
    put,
    path = "/messages/{message}/nack",
    tag = "messages",
    summary = "Nacks a message: it comes again, or is dead if this was its last delivery",
    description = "Ends its current delivery, whoever has it in hands.",
    params(("message" = String, Path, description = "Its id")),
    request_body = Option<api::NackOne>,
    responses(
        (status = 204, description = "Its delivery has ended"),
        OfBody,
        OfHands,
    ),
    security(("key" = ["consume"])),
)]
async fn nack<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(text): PathName<String>,
    MaybeJson(asked): MaybeJson<api::NackOne>,
) -> Result<StatusCode, ApiError> {
    let after = delay(asked.delay_seconds, &app.limits.message)?;
    settle(&app, &text, Verdict::Retry { reason: asked.reason.into(), after }).await
}

#[utoipa::path(
    put,
    path = "/messages/{message}/reject",
    tag = "messages",
    summary = "Rejects a message: it is dead, and goes to the dead queue if there is one",
    description = "Ends its current delivery, whoever has it in hands.",
    params(("message" = String, Path, description = "Its id")),
    request_body = Option<api::RejectOne>,
    responses(
        (status = 204, description = "It is dead"),
        OfBody,
        OfHands,
    ),
    security(("key" = ["consume"])),
)]
async fn reject<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(text): PathName<String>,
    MaybeJson(asked): MaybeJson<api::RejectOne>,
) -> Result<StatusCode, ApiError> {
    settle(&app, &text, Verdict::Reject { reason: asked.reason.into() }).await
}

#[utoipa::path(
    put,
    path = "/messages/{message}/extend",
    tag = "messages",
    summary = "Gives a message's consumer longer",
    description = "Extends the whole lease that the message is in: all messages that were received \
        with it.",
    params(("message" = String, Path, description = "Its id")),
    request_body = Option<api::ExtendOne>,
    responses(
        (status = 200, description = "How long it lasts now", body = api::ExtendedOne),
        OfBody,
        OfHands,
    ),
    security(("key" = ["consume"])),
)]
async fn extend<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(text): PathName<String>,
    MaybeJson(asked): MaybeJson<api::ExtendOne>,
) -> Result<Json<api::ExtendedOne>, ApiError> {
    let id = id_of(&text)?;
    let lasting = lasting(asked.seconds, &app.limits.message)?;
    for _ in 0..LOOKS {
        if let Some((receipt, _)) = app.broker.holder(id).await? {
            let extended = extend_leases(&app, vec![receipt], lasting).await?;
            if let Some(left) = extended.into_iter().flatten().next() {
                return Ok(Json(api::ExtendedOne { deadline_seconds: left.as_secs_f64() }));
            }
        }
        if let Some(state) = unheld(&app, id, &text).await? {
            return Err(out_of_hands(state));
        }
    }
    Err(busy())
}

/// Ends the delivery that a message is in.
async fn settle<B: Broker + Clone>(
    app: &App<B>,
    text: &str,
    verdict: Verdict,
) -> Result<StatusCode, ApiError> {
    let id = id_of(text)?;
    for _ in 0..LOOKS {
        if let Some((receipt, position)) = app.broker.holder(id).await? {
            let settlement = Settlement { position, verdict: verdict.clone() };
            let settled = app.broker.settle(vec![(receipt, vec![settlement])]).await?;
            if settled.iter().all(|settled| settled.stale.is_empty()) {
                return Ok(StatusCode::NO_CONTENT);
            }
        }
        match unheld(app, id, text).await? {
            Some(MessageState::Done) if matches!(verdict, Verdict::Done { .. }) => {
                return Ok(StatusCode::NO_CONTENT);
            }
            Some(state) => return Err(out_of_hands(state)),
            None => {}
        }
    }
    Err(busy())
}

/// How a message stands that was in nobody's hands; nothing when it is in somebody's by now.
async fn unheld<B: Broker + Clone>(
    app: &App<B>,
    id: MessageId,
    text: &str,
) -> Result<Option<MessageState>, ApiError> {
    let found = app.broker.message(id).await?.ok_or_else(|| missing(text))?;
    Ok(Some(found.state).filter(|state| *state != MessageState::InFlight))
}

/// Extends leases: for as long as is asked, or by their queue's ack deadline.
pub(super) async fn extend_leases<B: Broker + Clone>(
    app: &App<B>,
    leases: Vec<Receipt>,
    lasting: Option<Duration>,
) -> Result<Vec<Option<Duration>>, ApiError> {
    Ok(match lasting {
        Some(lasting) => app.broker.extend_for(leases, lasting).await?,
        None => app.broker.extend(leases).await?,
    })
}

/// How long an extend asks for; 422 when that is too much, or nothing.
pub(super) fn lasting(
    asked: Option<u32>,
    limits: &MessageLimits,
) -> Result<Option<Duration>, ApiError> {
    let lasting = |asked: u32| limits.lasting(asked.into()).map_err(ApiError::invalid);
    asked.map(lasting).transpose()
}

/// The delay that a nack asks for; 422 when there can be none such.
pub(super) fn delay(
    asked: Option<f64>,
    limits: &MessageLimits,
) -> Result<Option<Duration>, ApiError> {
    asked.map(|asked| limits.delay(asked).map_err(ApiError::invalid)).transpose()
}

fn id_of(text: &str) -> Result<MessageId, ApiError> {
    text.parse().map_err(|_| missing(text))
}

fn missing(text: &str) -> ApiError {
    ApiError::missing("message", text.chars().take(64).collect::<String>())
}

fn out_of_hands(state: MessageState) -> ApiError {
    let ended = match state {
        MessageState::Done => "it was acked",
        MessageState::Dead => "it is dead",
        MessageState::Expired => "it expired",
        MessageState::Cancelled => "it was cancelled",
        MessageState::Waiting | MessageState::Held | MessageState::InFlight => {
            return ApiError::conflict("the message waits: nobody has it in hands");
        }
    };
    ApiError::new(
        StatusCode::GONE,
        "message-ended",
        "The message has ended",
        format!("{ended}, and is in nobody's hands any more"),
    )
}

fn busy() -> ApiError {
    ApiError::conflict("the message changes hands all the time: settle it by its receipt")
}
