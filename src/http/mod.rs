//! The HTTP API: a file a resource, each with its requests, one call on what is below, and its
//! answers. Wire types are in [`crate::api`]; what goes wrong becomes `application/problem+json`
//! in [`error`], in one place; what can be wrong with any request is found in `extract`. [`server`]
//! is the process around it.

mod accept;
mod bounds;
mod connection;
mod delivery;
mod docs;
pub mod error;
mod events;
mod extract;
mod guard;
mod health;
pub mod limits;
mod marks;
mod messages;
pub mod observe;
pub mod openapi;
mod output;
mod page;
mod publish;
mod queues;
mod refusals;
mod refuse;
mod results;
mod rules;
mod safety;
pub mod server;
mod session;
mod time;
mod topics;
mod uploads;
mod watch;
pub mod webhook;
mod workers;
mod ws;

use std::sync::Arc;

use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::{Extension, Router};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::domain::{MessageKey, units};
use crate::export::ExportLimits;
use crate::ingest::intake::Intake;
use crate::store::{Store, StoreError};

pub use error::ApiError;
use extract::BodyRoom;
use limits::{MessageLimits, QueueLimits};
pub use safety::SafetyLimits;
use webhook::WebhookLimits;
use workers::{WorkersLimits, WorkersSeen};
pub use ws::WsLimits;

/// What bounds requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpLimits {
    /// Bytes of a file. 1 GiB.
    #[serde(with = "units::size")]
    pub file_bytes: u64,
    /// Files in one request. 20.
    pub files: usize,
    /// Bytes of any other request's body. 16 MiB.
    #[serde(with = "units::size")]
    pub body_bytes: usize,
    /// Bytes of such bodies in memory, all requests together. 256 MiB.
    #[serde(with = "units::size")]
    pub bodies_bytes: usize,
    /// Bytes of a topic's rules, as JSON. 64 KiB.
    #[serde(with = "units::size")]
    pub rules_bytes: usize,
    /// Messages in one publish, settle or receive. 1,000.
    pub messages: usize,
    /// The longest `wait` of a receive. 30 s.
    #[serde(with = "units::time")]
    pub receive_wait: std::time::Duration,
    /// Items on a page at most. 1,000.
    pub page: usize,
    /// How long a client may send nothing while it uploads. 30 s.
    #[serde(with = "units::time")]
    pub upload_silence: std::time::Duration,
    /// The shortest time between two events of one stream. 250 ms.
    #[serde(with = "units::time")]
    pub event_every: std::time::Duration,
    /// Those who listen to `GET /events` at once. 100.
    pub listeners: usize,
    /// Those of WebSockets.
    pub ws: WsLimits,
    /// What may be said of queues.
    pub queue: QueueLimits,
    /// What may be in a message, and said of one.
    pub message: MessageLimits,
    /// What holds before a request is understood.
    pub safety: SafetyLimits,
    /// Uploads that are watched by event streams at the same time. 256.
    pub watched_uploads: usize,
    /// How often a watched upload is looked at on which nothing happens. 1 s.
    #[serde(with = "units::time")]
    pub watch_idle: std::time::Duration,
    /// How often a stream without events says that it lives. 15 s.
    #[serde(with = "units::time")]
    pub keep_alive: std::time::Duration,
    /// Uploads of a page whose numbers are looked up at once. 4.
    pub uploads_at_once: usize,
    /// Bytes of rows on a page, unless a single one has more. 8 MiB.
    #[serde(with = "units::size")]
    pub page_bytes: usize,
    /// How much of a file that is too large is passed over for the sake of those after it. 16 MiB.
    #[serde(with = "units::size")]
    pub passed_bytes: u64,
    /// What is read, and dropped, of a body after it was answered; then the connection is closed.
    /// 64 MiB.
    #[serde(with = "units::size")]
    pub linger_bytes: u64,
    /// How long at most. 10 s.
    #[serde(with = "units::time")]
    pub linger_time: std::time::Duration,
    /// Writing results.
    pub exports: ExportLimits,
    /// What looking after the server may cost, and what it warns of.
    pub observe: observe::ObserveLimits,
    /// Telling the ends of uploads.
    pub webhook: WebhookLimits,
    /// What is remembered of workers.
    pub workers: WorkersLimits,
}

impl Default for HttpLimits {
    fn default() -> Self {
        use std::time::Duration;
        Self {
            file_bytes: 1 << 30,
            files: 20,
            body_bytes: 16 << 20,
            bodies_bytes: 256 << 20,
            rules_bytes: 64 << 10,
            messages: 1_000,
            receive_wait: Duration::from_secs(30),
            page: 1_000,
            upload_silence: Duration::from_secs(30),
            event_every: Duration::from_millis(250),
            listeners: 100,
            ws: WsLimits::default(),
            queue: QueueLimits::default(),
            message: MessageLimits::default(),
            safety: SafetyLimits::default(),
            watched_uploads: 256,
            watch_idle: Duration::from_secs(1),
            keep_alive: Duration::from_secs(15),
            uploads_at_once: 4,
            page_bytes: 8 << 20,
            passed_bytes: 16 << 20,
            linger_bytes: 64 << 20,
            linger_time: Duration::from_secs(10),
            exports: ExportLimits::default(),
            observe: observe::ObserveLimits::default(),
            webhook: WebhookLimits::default(),
            workers: WorkersLimits::default(),
        }
    }
}

/// What every request can reach. Cheap to clone.
#[derive(Debug)]
pub struct App<B> {
    parts: Arc<Parts<B>>,
    sockets: ws::Sockets,
    rules: rules::KnownRules,
    workers: WorkersSeen,
}

/// The parts of an [`App`].
#[derive(Debug)]
pub struct Parts<B> {
    /// The database.
    pub store: Store,
    /// What carries messages.
    pub broker: B,
    /// What makes and checks message ids.
    pub key: MessageKey,
    /// What takes files in.
    pub intake: Intake<B>,
    /// What bounds requests.
    pub limits: HttpLimits,
    /// Fires when the server stops: long answers (polls, event streams) end then.
    pub stop: CancellationToken,
}

impl<B> Clone for App<B> {
    fn clone(&self) -> Self {
        Self {
            parts: Arc::clone(&self.parts),
            sockets: self.sockets.clone(),
            rules: self.rules.clone(),
            workers: self.workers.clone(),
        }
    }
}

impl<B> std::ops::Deref for App<B> {
    type Target = Parts<B>;

    fn deref(&self) -> &Parts<B> {
        &self.parts
    }
}

impl<B: Broker + Clone> App<B> {
    /// An app of these parts.
    pub fn new(parts: Parts<B>) -> Self {
        let sockets = ws::Sockets::new(parts.limits.ws.sockets);
        let workers = WorkersSeen::new(&parts.limits.workers);
        Self { parts: Arc::new(parts), sockets, rules: rules::KnownRules::default(), workers }
    }

    /// All routes.
    pub fn router(self) -> Router {
        let room = BodyRoom::new(self.limits.bodies_bytes);
        let bounds = bounds::Bounds::new(&self.limits, self.stop.clone());
        let guard = guard::Guard::new(&self);
        let routes = Router::new()
            .merge(docs::routes::<B>())
            .merge(events::routes::<B>(self.limits.listeners))
            .merge(health::routes::<B>())
            .merge(messages::routes::<B>())
            .merge(observe::routes::<B>())
            .merge(openapi::routes::<B>())
            .merge(page::routes::<B>())
            .merge(publish::routes::<B>())
            .merge(queues::routes::<B>())
            .merge(results::routes::<B>())
            .merge(session::routes::<B>())
            .merge(topics::routes::<B>())
            .merge(uploads::routes::<B>())
            .merge(workers::routes::<B>())
            .merge(ws::routes::<B>())
            .fallback(no_such_path)
            .method_not_allowed_fallback(no_such_method)
            .layer(Extension(room))
            .with_state(self)
            .layer(from_fn_with_state(guard, guard::stand))
            .layer(from_fn_with_state(bounds, bounds::keep));
        marks::over(observe::Observed::new().over(watch::over(routes)))
    }
}

async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::missing("path", uri.path())
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "That cannot be done there",
        format!("{method} cannot be done on {}", uri.path()),
    )
}

/// JSON that the database keeps, to be answered as it is.
fn kept_json(text: Box<str>) -> Result<Box<RawValue>, StoreError> {
    let damaged = |error| StoreError::Damaged(format!("what should be JSON is not: {error}"));
    RawValue::from_string(text.into()).map_err(damaged)
}
