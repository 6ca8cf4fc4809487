//! `GET /uploads/{id}/events`: an upload as it changes, as server-sent events.
//!
//! `progress` carries the JSON that `GET /uploads/{id}` answers, at once and then whenever it has
//! changed; `end` carries it once more when the upload is over. An event's id is a fingerprint of
//! what it says: who comes back with the last one they saw, to this server or to another, is told
//! only what is new, and who comes back after the end is told to stay away (204).

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::params::Params;
use super::watchers::{Snapshot, Watchers};
use super::{find, view};
use crate::api;
use crate::broker::Broker;
use crate::http::extract::PathName;
use crate::http::openapi::PROBLEM;
use crate::http::{ApiError, App};

/// What the id of the last event ends with.
const END: &str = "-end";

#[utoipa::path(
    get,
    path = "/uploads/{id}/events",
    tag = "uploads",
    summary = "An upload as it changes, as server-sent events",
    description = "`progress` carries the upload at once and whenever it has changed, `end` once more when it is over.",
    params(
        ("id" = Uuid, Path, description = "The upload's id"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event seen: only what is new is told"),
    ),
    responses(
        (status = 200, description = "Events until it is over", body = String, content_type = "text/event-stream"),
        (status = 204, description = "Its end was seen: there is nothing more to tell"),
        (status = 404, description = "There is no such upload", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The id is none, or a parameter cannot be", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
pub(super) async fn events<B: Broker + Clone>(
    State(app): State<App<B>>,
    Extension(watchers): Extension<Watchers>,
    PathName(id): PathName<Uuid>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    Params::of(&uri)?.end()?;
    let upload = find(&app, id).await?;
    let now = Snapshot::of(&view::view(&app, &upload).await?)?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    if now.over && seen.as_deref().is_some_and(|seen| seen.ends_with(END)) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let listener = Listener {
        changes: watchers.listen(&app, upload.public_id, now)?,
        stop: app.stop.clone(),
        every: app.limits.event_every,
        seen,
        next: Instant::now(),
        phase: Phase::Live,
    };
    Ok(Sse::new(listener.events())
        .keep_alive(KeepAlive::new().interval(app.limits.keep_alive))
        .into_response())
}

struct Listener {
    changes: watch::Receiver<Snapshot>,
    stop: CancellationToken,
    every: Duration,
    /// The id of the last event.
    seen: Option<String>,
    /// When the next may be sent.
    next: Instant,
    phase: Phase,
}

enum Phase {
    Live,
    /// Only the end is left to be told.
    Ending(Snapshot),
    Over,
}

impl Listener {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut listener| {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        })
    }

    /// The next event; `None` after the end, and when the server stops.
    async fn next(&mut self) -> Option<Event> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Over => return None,
            Phase::Ending(last) => return Some(self.end(&last)),
            Phase::Live => {}
        }
        loop {
            tokio::select! {
                () = sleep_until(self.next) => {}
                () = self.stop.cancelled() => return None,
            }
            let now = self.changes.borrow_and_update().clone();
            let told = self.seen.as_deref() == Some(&*now.id);
            if told && now.over {
                return Some(self.end(&now));
            }
            if !told {
                let event = Event::default().event("progress").id(&*now.id).data(&*now.json);
                self.seen = Some(now.id.to_string());
                self.next = Instant::now() + self.every;
                self.phase = if now.over { Phase::Ending(now) } else { Phase::Live };
                return Some(event);
            }
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = self.stop.cancelled() => return None,
            }
        }
    }

    fn end(&mut self, last: &Snapshot) -> Event {
        Event::default().event("end").id(format!("{}{END}", last.id)).data(&*last.json)
    }
}
