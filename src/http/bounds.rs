//! How much is done at once, and for how long.
//!
//! Requests that are answered at once and requests that take their time (uploads, long polls, event
//! streams, sockets) are counted apart, so that many of the second kind never keep the first from
//! being answered. Beyond either number a request is told at once to come again: who waits in line
//! only makes the line longer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::Slot;
use super::refuse::refuse;
use super::uploads::linger::Linger;
use super::{ApiError, HttpLimits, SafetyLimits};

/// Counts requests. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Bounds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: SafetyLimits,
    receive_wait: Duration,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    linger: Linger,
}

/// What kind of request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Answered at once.
    Short,
    /// Waits for a message.
    Poll,
    /// Takes as long as it keeps sending, and may wait until all is published.
    Upload,
    /// Begins at once and goes on until one side ends it.
    Live,
}

impl Class {
    fn of(method: &Method, template: &str) -> Self {
        let receive = template.starts_with("/queues/{") && template.ends_with("}/messages");
        match template {
            "/file/upload" => Self::Upload,
            _ if receive && method == Method::GET => Self::Poll,
            _ if template.ends_with("/events") || template.ends_with("/ws") => Self::Live,
            // A file of results takes as long as it is read.
            _ if template.contains("}/results.") || template.contains("}/failures.") => Self::Live,
            _ => Self::Short,
        }
    }
}

/// Lets a request in if there is room, and sees to it that it is answered in time.
pub(super) async fn keep(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let inner = &*bounds.0;
    if let Err(refused) = head(&inner.limits, request.uri(), request.headers()) {
        return refuse(request, refused, &inner.linger);
    }
    let template = request.extensions().get::<MatchedPath>();
    let class = template.map_or(Class::Short, |path| Class::of(request.method(), path.as_str()));
    let room = if class == Class::Short { &inner.requests } else { &inner.streams };
    let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
        let full = ApiError::unavailable("too many requests are under way", 1);
        return refuse(request, full, &inner.linger);
    };
    let slot = request.extensions().get::<Slot>().cloned();
    let most = match class {
        Class::Short | Class::Live => inner.limits.request_time,
        Class::Poll => inner.receive_wait + inner.limits.request_time,
        Class::Upload => Duration::MAX,
    };
    let Ok(answer) = timeout(most, next.run(request)).await else {
        tracing::warn!(?most, "a request took too long, and was given up");
        return ApiError::unavailable("the server did not come to an end of it in time", 1)
            .into_response();
    };
    match (class, answer.status()) {
        (Class::Live, StatusCode::SWITCHING_PROTOCOLS) => {
            if let Some(slot) = slot {
                slot.hold(permit);
            }
            answer
        }
        (Class::Live, StatusCode::OK) => held(answer, permit),
        _ => answer,
    }
}

/// An answer whose permit is given back when it has been sent, or broken off.
fn held(answer: Response, permit: OwnedSemaphorePermit) -> Response {
    let (parts, body) = answer.into_parts();
    let pieces = body.into_data_stream().map(move |piece| {
        let _held = &permit;
        piece
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// Looks at the size of a head. What is far larger was refused before, without a word (431).
fn head(limits: &SafetyLimits, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let too_large = |detail: String| {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Err(ApiError::new(status, "head-too-large", "The request's head passes a limit", detail))
    };
    if headers.len() > limits.headers {
        return too_large(format!(
            "it has {} headers, more than {}",
            headers.len(),
            limits.headers
        ));
    }
    let query = uri.query().map_or(0, str::len);
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let bytes = uri.path().len() + query + lines.sum::<usize>();
    if bytes > limits.head_bytes {
        return too_large(format!("it has more than {} bytes", limits.head_bytes));
    }
    Ok(())
}

impl Bounds {
    /// Those of an app.
    pub(super) fn new(limits: &HttpLimits, stop: CancellationToken) -> Self {
        let room = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        let safety = limits.safety.clone();
        Self(Arc::new(Inner {
            receive_wait: limits.receive_wait,
            requests: room(safety.requests_at_once),
            streams: room(safety.streams_at_once),
            limits: safety,
            linger: Linger::new(limits, stop),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_its_time_is_known_by_its_path() {
        let class = |method, path| Class::of(&method, path);
        assert_eq!(class(Method::POST, "/file/upload"), Class::Upload);
        assert_eq!(class(Method::GET, "/queues/{queue}/messages"), Class::Poll);
        assert_eq!(class(Method::GET, "/queues/{queue}/ws"), Class::Live);
        assert_eq!(class(Method::GET, "/uploads/{id}/events"), Class::Live);
        assert_eq!(class(Method::GET, "/events"), Class::Live);
        assert_eq!(class(Method::GET, "/queues/{queue}/messages/peek"), Class::Short);
        assert_eq!(class(Method::POST, "/topics/{topic}/messages"), Class::Short);
    }

    #[test]
    fn a_head_has_its_limits() {
        let limits = SafetyLimits { head_bytes: 100, headers: 3, ..SafetyLimits::default() };
        let of = |path: &str, headers: &[(&'static str, usize)]| {
            let header = |(name, size): &(&'static str, usize)| {
                let name = axum::http::HeaderName::from_static(name);
                (name, "v".repeat(*size).parse::<axum::http::HeaderValue>().unwrap())
            };
            let headers = headers.iter().map(header).collect();
            head(&limits, &path.parse().unwrap(), &headers).map_err(|error| error.problem.status)
        };
        assert_eq!(of("/a?b", &[("a", 10), ("b", 10), ("c", 10)]), Ok(()));
        assert_eq!(of("/", &[("a", 1), ("b", 1), ("c", 1), ("d", 1)]), Err(431));
        assert_eq!(of("/", &[("a", 100)]), Err(431));
        assert_eq!(of(&format!("/{}", "p".repeat(100)), &[]), Err(431));
    }
}
