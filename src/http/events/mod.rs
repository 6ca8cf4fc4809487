//! `GET /events`: how all queues and the uploads under way stand, as server-sent events for
//! dashboards.
//!
//! Each event is the whole state of its kind, so who comes back needs no memory of what they saw.

mod board;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use axum::{Extension, Router};
use futures::{Stream, stream};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;

use super::extract::QueryOf;
use super::{ApiError, App};
use crate::api;
use crate::broker::Broker;
use board::{Board, Snapshot};

/// How often a stream without events says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn routes<B: Broker + Clone>(listeners: usize) -> Router<App<B>> {
    Router::new().route("/events", get(events::<B>)).layer(Extension(Board::new(listeners)))
}

#[derive(OpenApi)]
#[openapi(paths(events))]
struct Docs;

/// What this file adds to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Nothing {}

/// `event: queues` carries `{"data": [{id, ready, delayed, held, in_flight, dead, oldest_seconds,
/// published_per_second, ended_per_second}]}` of all queues, `event: uploads` carries `{"data": [{id,
/// filename, status, counts}]}` of the uploads that are under way or ended in the last minute. Both
/// come at once, and then each when something of it has changed.
#[utoipa::path(
    get,
    path = "/events",
    tag = "service",
    summary = "Queues and uploads as they change",
    responses(
        (status = 200, description = "Server-sent events, until the server stops",
            body = String, content_type = "text/event-stream"),
        (status = 422, description = "There are no parameters",
            body = api::Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many listen, the server stops, or the database is away",
            body = api::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["read"])),
)]
async fn events<B: Broker + Clone>(
    State(app): State<App<B>>,
    Extension(board): Extension<Board>,
    QueryOf(Nothing {}): QueryOf<Nothing>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let seat = board.seat()?;
    let listener = Listener {
        changes: board.listen(&app).await?,
        stop: app.stop.clone(),
        every: app.limits.event_every,
        told: Told::default(),
        next: Instant::now(),
        ready: VecDeque::new(),
        _seat: seat,
    };
    Ok(Sse::new(listener.events()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// What the listener was told last.
#[derive(Default)]
struct Told {
    queues: Option<Arc<str>>,
    uploads: Option<Arc<str>>,
}

struct Listener {
    changes: watch::Receiver<Option<Snapshot>>,
    stop: CancellationToken,
    every: Duration,
    told: Told,
    /// When the next may be told.
    next: Instant,
    /// What is to be told now: one of each kind at most.
    ready: VecDeque<Event>,
    _seat: OwnedSemaphorePermit,
}

impl Listener {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut listener| {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        })
    }

    /// The next event; `None` when the server stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            tokio::select! {
                () = sleep_until(self.next) => {}
                () = self.stop.cancelled() => return None,
            }
            let now = self.changes.borrow_and_update().clone();
            if let Some(Snapshot { queues, uploads }) = now {
                for (kind, now, told) in [
                    ("queues", queues, &mut self.told.queues),
                    ("uploads", uploads, &mut self.told.uploads),
                ] {
                    if told.as_ref() != Some(&now) {
                        self.ready.push_back(Event::default().event(kind).data(&*now));
                        *told = Some(now);
                    }
                }
            }
            if !self.ready.is_empty() {
                self.next = Instant::now() + self.every;
                continue;
            }
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = self.stop.cancelled() => return None,
            }
        }
    }
}
