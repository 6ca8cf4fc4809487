//! Publishing messages that are no rows of an upload.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use utoipa::OpenApi;

use super::extract::{JsonText, PathName};
use super::limits::MessageLimits;
use super::openapi::PROBLEM;
use super::refusals::OfBody;
use super::time::rfc3339;
use super::{ApiError, App, rules};
use crate::api;
use crate::broker::{Broker, CopyOf, MessageBody, Once};
use crate::domain::TopicName;

/// The header that makes a publish happen once, however often it is sent.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Characters of an idempotency key at most.
const KEY_CHARACTERS: usize = 255;

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new().route("/topics/{topic}/messages", post(publish::<B>))
}

#[derive(OpenApi)]
#[openapi(paths(publish))]
struct Docs;

/// What this file adds to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

#[utoipa::path(
    post,
    path = "/topics/{topic}/messages",
    tag = "topics",
    summary = "Publishes a message, or several in one step",
    description = "One message is answered with the copy made for each queue that takes it; \
        several with the ids of each, in the order sent. With an `Idempotency-Key` it is done once, \
        however often it is sent within a day.",
    params(
        ("topic" = String, Path, description = "The topic's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Visible ASCII", min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$"),
    ),
    request_body = api::Publish,
    responses(
        (status = 201, description = "It was published; no copies if no queue takes it", body = api::Published),
        OfBody,
        (status = 404, description = "There is no such topic", body = api::Problem, content_type = PROBLEM),
        (status = 409, description = "The key was used for another request", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The request says something that cannot be, or the topic's schema does not take a message: then none is published", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["publish"])),
)]
async fn publish<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(topic): PathName<TopicName>,
    headers: HeaderMap,
    text: JsonText,
) -> Result<(StatusCode, Json<api::Published>), ApiError> {
    let once = once(&headers, &topic, &text.0)?;
    let answer = match text.parse()? {
        api::Publish::One(message) => {
            let body = body_of(message.clone(), "", &app.limits.message)?;
            let bodies = vec![body];
            rules::check(&app, &topic, &bodies, false).await?;
            let copies = app.broker.publish_messages(&topic, bodies, once).await?;
            let now = app.store.clock.now_ms();
            let copies = copies.into_iter().flatten().map(|copy| copy_of(copy, &message, now));
            api::Published::One { data: copies.collect() }
        }
        api::Publish::Many(messages) => {
            let most = app.limits.messages;
            if !(1..=most).contains(&messages.len()) {
                let sent = messages.len();
                return Err(ApiError::invalid(format!(
                    "one request publishes 1 to {most} messages, not {sent}"
                )));
            }
            let bodies = messages
                .into_iter()
                .enumerate()
                .map(|(at, message)| {
                    body_of(message, &format!("message {at}: "), &app.limits.message)
                })
                .collect::<Result<Vec<_>, _>>()?;
            rules::check(&app, &topic, &bodies, true).await?;
            let copies = app.broker.publish_messages(&topic, bodies, once).await?;
            let ids = |copies: Vec<CopyOf>| api::Accepted {
                ids: copies.iter().map(|copy| copy.id.to_string()).collect(),
            };
            api::Published::Many { messages: copies.into_iter().map(ids).collect() }
        }
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// A message as the broker takes it; `place` says in a refusal which one it is.
fn body_of(
    message: api::NewMessage,
    place: &str,
    limits: &MessageLimits,
) -> Result<MessageBody, ApiError> {
    // Raw JSON carries no space at either end.
    if !message.data.get().starts_with('{') {
        return Err(ApiError::invalid(format!("{place}`data` has to be a JSON object")));
    }
    let (bytes, most) = (message.data.get().len(), limits.data_bytes);
    if bytes > most {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The request passes a limit",
            format!("{place}`data` has {most} bytes at most, not {bytes}"),
        ));
    }
    let (n, most) = (message.attributes.len(), limits.attributes);
    if n > most {
        return Err(ApiError::invalid(format!("{place}it has {most} attributes at most, not {n}")));
    }
    let mut faults = message.attributes.iter().filter_map(|(name, value)| {
        limits.name_fault(name).or_else(|| limits.value_fault(name, value))
    });
    if let Some(fault) = faults.next() {
        return Err(ApiError::invalid(format!("{place}{fault}")));
    }
    let data: Box<str> = message.data.into();
    Ok(MessageBody { data: Bytes::from(String::from(data)), attributes: message.attributes })
}

fn copy_of(copy: CopyOf, message: &api::NewMessage, now_ms: i64) -> api::Copy {
    let later = |by: std::time::Duration| {
        rfc3339(now_ms.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    };
    let data: Box<RawValue> = message.data.clone();
    api::Copy {
        id: copy.id.to_string(),
        queue_id: copy.queue.to_string(),
        data,
        attributes: message.attributes.clone(),
        delivery_attempts: 0,
        created_at: rfc3339(now_ms),
        scheduled_at: later(copy.delay),
        // Retention runs from publishing, whatever the delay.
        expired_at: copy.retention.map(later),
        updated_at: rfc3339(now_ms),
    }
}

/// What the idempotency key says, if there is one. The same key must come with the same request:
/// the same bytes, to the same topic.
fn once(headers: &HeaderMap, topic: &TopicName, body: &[u8]) -> Result<Option<Once>, ApiError> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let bytes = key.as_bytes();
    let fits = (1..=KEY_CHARACTERS).contains(&bytes.len())
        && bytes.iter().all(u8::is_ascii_graphic)
        && keys.next().is_none();
    if !fits {
        return Err(ApiError::invalid(format!(
            "an Idempotency-Key is sent once and has 1 to {KEY_CHARACTERS} visible ASCII characters"
        )));
    }
    let mut hash = Sha256::new();
    hash.update(topic.as_str());
    // No name has a line end, so no other topic and body come to the same text.
    hash.update("\n");
    hash.update(body);
    Ok(Some(Once {
        key: String::from_utf8_lossy(bytes).into_owned(),
        fingerprint: hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_visible_ascii_and_short() {
        let topic: TopicName = "rows".parse().unwrap();
        let of = |key: &str| {
            let value = HeaderValue::from_bytes(key.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY.parse().unwrap(), value)]);
            once(&headers, &topic, b"{}")
        };
        for good in ["a", "7f1e-\"quoted\"", &"k".repeat(255)] {
            assert_eq!(of(good).unwrap().unwrap().key, good);
        }
        for bad in ["", "two words", "schlüssel", &"k".repeat(256)] {
            assert_eq!(of(bad).unwrap_err().problem.status, 422, "{bad:?} was taken");
        }
        assert_eq!(once(&HeaderMap::new(), &topic, b"{}").unwrap(), None);
    }

    #[test]
    fn the_fingerprint_is_of_topic_and_body() {
        let headers = HeaderMap::from_iter([(
            IDEMPOTENCY_KEY.parse().unwrap(),
            HeaderValue::from_static("k"),
        )]);
        let of = |topic: &str, body: &[u8]| {
            once(&headers, &topic.parse().unwrap(), body).unwrap().unwrap().fingerprint
        };
        let first = of("rows", b"{}");
        assert_eq!(first.len(), 64);
        assert_eq!(first, of("rows", b"{}"));
        assert_ne!(first, of("rows", b"{ }"));
        assert_ne!(first, of("other", b"{}"));
    }
}
