//! What a request says, taken apart at the edge: names in the path, the query, a JSON body. What
//! cannot be understood is answered here, with a problem document, before a handler sees it:
//! text that is no JSON 400, JSON that says something else than it should 422.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ApiError, App};
use crate::api::object::Object;
use crate::broker::Broker;

/// The one name in the path; 422 when it is none.
pub(super) struct PathName<T>(pub(super) T);

impl<S, T> FromRequestParts<S> for PathName<T>
where
    S: Send + Sync,
    T: FromStr<Err: Display>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error: PathRejection| ApiError::invalid(error.body_text()))?;
        text.parse().map(Self).map_err(|error| ApiError::invalid(format!("{error}")))
    }
}

/// The query; 422 when it is of another shape.
pub(super) struct QueryOf<T>(pub(super) T);

impl<S, T> FromRequestParts<S> for QueryOf<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(asked) = Query::from_request_parts(parts, state)
            .await
            .map_err(|error: QueryRejection| ApiError::invalid(error.body_text()))?;
        Ok(Self(asked))
    }
}

/// The bytes that bodies may take, all requests together: an extension of every request.
#[derive(Debug, Clone)]
pub(super) struct BodyRoom(Arc<Semaphore>);

impl BodyRoom {
    /// Room for so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Takes room for some more bytes, if there is any.
    fn more(&self, taken: &mut OwnedSemaphorePermit, bytes: usize) -> Result<(), ApiError> {
        let full = || ApiError::unavailable("too many large requests are under way", 1);
        let bytes = u32::try_from(bytes).map_err(|_| full())?;
        let more = Arc::clone(&self.0).try_acquire_many_owned(bytes).map_err(|_| full())?;
        taken.merge(more);
        Ok(())
    }
}

/// A body that is said to be JSON, as it was sent; 415 when it is said to be something else, 413
/// when it is over `body_bytes`, 408 when the client falls silent, 503 when there is no room for
/// it. With it goes its part of that room, until the request was handled.
pub(super) struct JsonText(pub(super) Bytes, pub(super) OwnedSemaphorePermit);

impl<B: Broker + Clone> FromRequest<App<B>> for JsonText {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App<B>) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(no_json());
        }
        Self::whatever(request, app).await
    }
}

impl JsonText {
    /// A body, whatever it is said to be.
    async fn whatever<B: Broker + Clone>(request: Request, app: &App<B>) -> Result<Self, ApiError> {
        let limits = &app.limits;
        let shared = request.extensions().get::<BodyRoom>().cloned();
        let room = shared.unwrap_or_else(|| BodyRoom::new(limits.bodies_bytes));
        read(request.into_body(), limits.body_bytes, limits.upload_silence, &room).await
    }

    /// What it says; 400 when it is no JSON, 422 when it is of another shape.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.0).map_err(|error| match error.classify() {
            Category::Data => ApiError::invalid(error.to_string()),
            Category::Syntax | Category::Eof | Category::Io => ApiError::new(
                StatusCode::BAD_REQUEST,
                "malformed-json",
                "The body is not JSON",
                error.to_string(),
            ),
        })
    }
}

/// A JSON object of a known shape; refusals as for [`JsonText`].
pub(super) struct JsonBody<T>(pub(super) T, pub(super) OwnedSemaphorePermit);

impl<B: Broker + Clone, T: DeserializeOwned> FromRequest<App<B>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App<B>) -> Result<Self, ApiError> {
        let text = JsonText::from_request(request, app).await?;
        text.parse().map(|object: Object<T>| Self(object.0, text.1))
    }
}

/// A JSON body that may be left out: one without a byte is none, whatever it is said to be.
/// Refusals of others as for [`JsonText`].
pub(super) struct MaybeJson<T>(pub(super) T);

impl<B: Broker + Clone, T: DeserializeOwned + Default> FromRequest<App<B>> for MaybeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App<B>) -> Result<Self, ApiError> {
        let is_json = is_json(request.headers());
        let text = JsonText::whatever(request, app).await?;
        match (text.0.is_empty(), is_json) {
            (true, _) => Ok(Self(T::default())),
            // `null` says nothing, too.
            (false, true) => text.parse().map(|said: Option<Object<T>>| {
                Self(said.map(|object| object.0).unwrap_or_default())
            }),
            (false, false) => Err(no_json()),
        }
    }
}

fn no_json() -> ApiError {
    ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "wrong-content-type",
        "The body is not of a type that is understood here",
        "send JSON, with the header `Content-Type: application/json`",
    )
}

/// Whether a body is said to be `application/json` or some `application/…+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = said.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    kind.to_ascii_lowercase()
        .strip_prefix("application/")
        .is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

/// A whole body of `most` bytes at most, sent with no silence longer than `silence`.
///
/// Of a longer one as much again is read and thrown away: a connection that is closed while the
/// client still writes takes the answer with it.
async fn read(
    body: Body,
    most: usize,
    silence: Duration,
    room: &BodyRoom,
) -> Result<JsonText, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut text = BytesMut::new();
    let mut taken = Arc::clone(&room.0)
        .try_acquire_many_owned(0)
        .map_err(|_| ApiError::unavailable("the server is stopping", 1))?;
    let mut beyond = 0;
    while let Some(chunk) =
        tokio::time::timeout(silence, chunks.next()).await.map_err(|_| silent(silence))?
    {
        let chunk = chunk.map_err(|_| broken_off())?;
        if beyond == 0 && chunk.len() <= most - text.len() {
            room.more(&mut taken, chunk.len())?;
            text.extend_from_slice(&chunk);
            continue;
        }
        text = BytesMut::new();
        beyond += chunk.len();
        if beyond > most {
            break;
        }
    }
    if beyond > 0 { Err(too_large(most)) } else { Ok(JsonText(text.freeze(), taken)) }
}

fn too_large(most: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        "The request passes a limit",
        format!("the body has more than {most} bytes"),
    )
}

fn silent(silence: Duration) -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "client-silent",
        "The client stopped sending",
        format!("nothing of the body came for {} s", silence.as_secs_f64()),
    )
}

fn broken_off() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "broken-off",
        "The body broke off",
        "the connection ended, or what came is no HTTP, before the body was whole",
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use futures::stream;

    use super::*;

    fn parts(sizes: &[usize]) -> Body {
        let chunks: Vec<_> = sizes
            .iter()
            .map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *size])))
            .collect();
        Body::from_stream(stream::iter(chunks))
    }

    async fn read_parts(sizes: &[usize], room: &BodyRoom) -> Result<JsonText, ApiError> {
        read(parts(sizes), 7, Duration::from_secs(5), room).await
    }

    #[tokio::test]
    async fn a_body_is_taken_up_to_its_limit() {
        let room = BodyRoom::new(1_000);
        assert_eq!(read_parts(&[3, 4], &room).await.ok().unwrap().0.len(), 7);
        assert_eq!(read_parts(&[], &room).await.ok().unwrap().0.len(), 0);
        // The last: a small part after a large one does not make it whole again.
        for over in [&[8][..], &[7, 1], &[4, 4], &[100, 100], &[5, 3, 1]] {
            assert_eq!(read_parts(over, &room).await.err().unwrap().problem.status, 413);
        }
    }

    #[tokio::test]
    async fn an_array_is_no_object() {
        #[derive(serde::Deserialize)]
        struct Asked {
            #[allow(dead_code, reason = "it only has to be read")]
            n: Option<u8>,
        }
        let room = BodyRoom::new(100);
        for (text, status) in
            [(r#"{"n":1}"#, None), ("[null]", Some(422)), (" [1]", Some(422)), ("{", Some(400))]
        {
            let text =
                read(Body::from(text), 100, Duration::from_secs(5), &room).await.ok().unwrap();
            let refused = text.parse::<Object<Asked>>().err().map(|error| error.problem.status);
            assert_eq!(refused, status);
        }
    }

    #[tokio::test]
    async fn bodies_share_their_room_and_give_it_back() {
        let room = BodyRoom::new(10);
        let first = read_parts(&[2, 4], &room).await.ok().unwrap();
        let refused = read_parts(&[4, 1], &room).await.err().unwrap();
        assert_eq!((refused.problem.status, refused.retry_after), (503, Some(1)));
        let second = read_parts(&[4], &room).await.ok().unwrap();
        drop(first);
        assert!(read_parts(&[6], &room).await.is_ok());
        drop(second);
        assert_eq!(room.0.available_permits(), 10);
    }

    #[tokio::test]
    async fn a_client_that_falls_silent_is_told() {
        let body = Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
        let refused = read(body, 7, Duration::from_millis(5), &BodyRoom::new(9)).await;
        assert_eq!(refused.err().unwrap().problem.status, 408);
    }

    #[test]
    fn json_is_known_by_its_type() {
        let said = |text: &'static str| {
            is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(text))]))
        };
        assert!(said("application/json"));
        assert!(said("Application/JSON; charset=utf-8"));
        assert!(said("application/cloudevents+json"));
        assert!(!said("text/plain"));
        assert!(!said("application/jsonp"));
        assert!(!is_json(&HeaderMap::new()));
    }
}
