//! `GET /queues/{queue}/ws`: a consumer behind a WebSocket. The server pushes, up to a credit; the
//! client acks, nacks, rejects and extends by id; whatever it holds when it is gone goes back at
//! once. The protocol is told in the description of the operation, below.
//!
//! A browser lets any page open a WebSocket to any server, so a request that names another origin
//! than this server is refused.

mod consumer;
mod frame;
mod hands;
mod line;
mod work;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::OpenApi;

use super::extract::{PathName, QueryOf};
use super::openapi::PROBLEM;
use super::workers::WorkerName;
use super::{ApiError, App};
use crate::api;
use crate::broker::Broker;
use crate::domain::{QueueName, units};
use consumer::Consumer;

/// Deliveries that a client may hold, unless it says so.
const CREDIT: usize = 100;
/// Bytes that are read from a socket at once.
const READ_BYTES: usize = 8 << 10;

/// What bounds WebSockets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WsLimits {
    /// Open at once. 1,000.
    pub sockets: usize,
    /// Bytes of a frame that a client sends. 1 MiB.
    #[serde(with = "units::size")]
    pub frame_bytes: usize,
    /// How often a client is asked whether it is there; one that is silent for two of these is gone.
    /// 15 s.
    #[serde(with = "units::time")]
    pub ping_every: Duration,
    /// How long a client may read nothing of what is sent to it. 10 s.
    #[serde(with = "units::time")]
    pub write: Duration,
    /// How long one receive waits before it asks anew, and so finds that its queue is gone. 5 s.
    #[serde(with = "units::time")]
    pub look: Duration,
}

impl Default for WsLimits {
    fn default() -> Self {
        Self {
            sockets: 1_000,
            frame_bytes: 1 << 20,
            ping_every: Duration::from_secs(15),
            write: Duration::from_secs(10),
            look: Duration::from_secs(5),
        }
    }
}

/// The sockets that are open. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Sockets {
    free: Arc<Semaphore>,
    all: u32,
}

impl Sockets {
    pub(super) fn new(most: usize) -> Self {
        let all = u32::try_from(most.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { free: Arc::new(Semaphore::new(all as usize)), all }
    }

    fn seat(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let full = |_| ApiError::unavailable("too many WebSockets are open", 5);
        Arc::clone(&self.free).try_acquire_owned().map_err(full)
    }

    /// Waits until none is open. For a server that stops: sockets outlive the requests that they
    /// began as, and hand back what their clients hold.
    pub(super) async fn all_closed(&self) {
        // The semaphore is never closed.
        let _ = self.free.acquire_many(self.all).await;
    }
}

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new().route("/queues/{queue}/ws", get(connect::<B>))
}

#[derive(OpenApi)]
#[openapi(paths(connect))]
struct Docs;

/// What this file adds to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

/// Who acks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acks {
    ByClient,
    /// Each delivery as soon as it was written to the socket.
    ByServer,
}

/// What a client asked for.
#[derive(Debug, Clone, Copy)]
struct Terms {
    credit: usize,
    acks: Acks,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConnectQuery {
    credit: Option<usize>,
    auto_ack: bool,
}

/// The server sends text frames of JSON:
/// `{"type":"message", …}` with the fields of a delivery as `GET /queues/{queue}/messages` answers
/// it; `{"type":"settled","id":…,"status":"done"|"again"|"dead"|"stale"}` for each verdict;
/// `{"type":"extended","id":…,"deadline_seconds":…}` for each extend;
/// `{"type":"error","detail":…,"id":…}` for what cannot be understood or done. It closes with 1001
/// when it stops and with 1000 when the queue is gone.
///
/// The client sends `{"type":"ack","id":…,"output":…}`, `{"type":"nack","id":…,"delay_seconds":…,
/// "reason":…}`, `{"type":"reject","id":…,"reason":…}`, `{"type":"extend","id":…,"seconds":…}` (1 to
/// 43,200; the deadline of what was delivered along with it moves too, and is never made shorter) and
/// `{"type":"credit","credit":…}` (0 pauses). Output, delay and reason may be left out. An id names a
/// delivery that this socket holds.
///
/// What a client holds when it closes, or is gone, is delivered again at once. A message that it
/// holds beyond its deadline comes again elsewhere, no longer counts against the credit, and a late
/// verdict on it is answered `stale`.
#[utoipa::path(
    get,
    path = "/queues/{queue}/ws",
    tag = "queues",
    summary = "Consume over a WebSocket",
    params(
        ("queue" = String, Path, description = "The queue", pattern = "^[A-Za-z0-9._-]{1,128}$"),
        ("credit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "Deliveries in the client's hands at most; 100 unless told"),
        ("auto_ack" = Option<bool>, Query,
            description = "Ack every delivery as soon as it was written to the socket"),
    ),
    responses(
        (status = 101, description = "The WebSocket begins"),
        (status = 400, description = "No WebSocket is asked for, or not rightly",
            body = api::Problem, content_type = PROBLEM),
        (status = 404, description = "There is no such queue",
            body = api::Problem, content_type = PROBLEM),
        (status = 405, description = "Not by HEAD",
            body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The name or the query cannot be",
            body = api::Problem, content_type = PROBLEM),
        (status = 426, description = "The connection cannot become a WebSocket",
            body = api::Problem, content_type = PROBLEM),
        (status = 503, description = "Too many are open, or the server stops",
            body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["consume"])),
)]
async fn connect<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(queue): PathName<QueueName>,
    QueryOf(asked): QueryOf<ConnectQuery>,
    worker: WorkerName,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let most = app.limits.messages;
    let credit = asked.credit.unwrap_or(CREDIT.min(most));
    if !(1..=most).contains(&credit) {
        return Err(ApiError::invalid(format!("`credit` is 1 to {most}, not {credit}")));
    }
    let acks = if asked.auto_ack { Acks::ByServer } else { Acks::ByClient };
    let upgrade = upgrade.map_err(no_websocket)?;
    if app.store.control.queue(&queue).await?.is_none() {
        return Err(ApiError::missing("queue", queue));
    }
    if app.stop.is_cancelled() {
        return Err(ApiError::unavailable("the server stops", 5));
    }
    let seat = app.sockets.seat()?;
    let bytes = app.limits.ws.frame_bytes;
    Ok(upgrade
        .max_message_size(bytes)
        .max_frame_size(bytes)
        .read_buffer_size(READ_BYTES)
        .on_upgrade(move |socket| async move {
            Consumer::new(app, queue, worker, Terms { credit, acks }, socket).run().await;
            drop(seat);
        }))
}

fn no_websocket(rejection: WebSocketUpgradeRejection) -> ApiError {
    let detail = rejection.body_text();
    let title = "That is not how a WebSocket begins";
    ApiError::new(rejection.into_response().status(), "no-websocket", title, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_are_counted() {
        let sockets = Sockets::new(1);
        let seat = sockets.seat().unwrap();
        assert_eq!(sockets.seat().unwrap_err().problem.status, 503);
        assert!(futures::FutureExt::now_or_never(sockets.all_closed()).is_none());
        drop(seat);
        sockets.all_closed().await;
    }
}
