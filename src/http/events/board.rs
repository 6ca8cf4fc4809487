//! The state that `GET /events` tells. However many listen, one task looks; it begins with the first
//! listener and ends with the last, or with the server.
//!
//! It looks more rarely while nothing happens, and never for more than a part of the time, so that a
//! dashboard does not slow down what it shows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};

use crate::api::{Data, QueueNow, UploadNow};
use crate::broker::Broker;
use crate::domain::{QueueName, QueueStats};
use crate::http::{ApiError, App, uploads};

/// How often is looked while nothing changes.
const IDLE: Duration = Duration::from_secs(1);
/// The pause after a look is at least so many times as long as it took.
const REST: u32 = 4;
/// How long an upload that has ended is told of.
const ENDED: Duration = Duration::from_secs(60);
/// Queues told of at most, by name.
const QUEUES: usize = 1_000;
/// Uploads told of at most: the newest.
const UPLOADS: u64 = 100;
/// Queues or uploads that are looked at side by side.
const AT_ONCE: usize = 4;

/// The state at one moment, each kind as the JSON that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) queues: Arc<str>,
    pub(super) uploads: Arc<str>,
}

/// Nothing before the first look.
type Shown = watch::Sender<Option<Snapshot>>;

/// Where the state is shown. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Board {
    shown: Arc<Mutex<Weak<Shown>>>,
    seats: Arc<Semaphore>,
}

impl Board {
    /// For so many listeners at most.
    pub(super) fn new(listeners: usize) -> Self {
        let seats = Arc::new(Semaphore::new(listeners.min(Semaphore::MAX_PERMITS)));
        Self { shown: Arc::default(), seats }
    }

    /// A place among the listeners.
    ///
    /// # Errors
    /// 503 when there is none.
    pub(super) fn seat(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let full = |_| ApiError::unavailable("too many listen to events", 5);
        Arc::clone(&self.seats).try_acquire_owned().map_err(full)
    }

    /// Listens, from a state that is there at once.
    ///
    /// # Errors
    /// 503 when the state cannot be seen, or the server stops.
    pub(super) async fn listen<B: Broker + Clone>(
        &self,
        app: &App<B>,
    ) -> Result<watch::Receiver<Option<Snapshot>>, ApiError> {
        let mut changes = self.subscribe(app);
        let first = async { changes.wait_for(Option::is_some).await.is_ok() };
        match app.stop.run_until_cancelled(first).await {
            Some(true) => Ok(changes),
            Some(false) => Err(ApiError::unavailable("the database does not answer; try again", 1)),
            None => Err(ApiError::unavailable("the server stops", 5)),
        }
    }

    fn subscribe<B: Broker + Clone>(&self, app: &App<B>) -> watch::Receiver<Option<Snapshot>> {
        let mut shown = self.lock();
        if let Some(sender) = shown.upgrade() {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        *shown = Arc::downgrade(&sender);
        tokio::spawn(self.clone().keep_looking(app.clone(), sender));
        receiver
    }

    async fn keep_looking<B: Broker + Clone>(self, app: App<B>, sender: Arc<Shown>) {
        let every = app.limits.event_every;
        let mut pause = every;
        loop {
            let began = Instant::now();
            let looked = tokio::select! {
                looked = look(&app) => looked,
                () = sender.closed() => break,
                () = app.stop.cancelled() => break,
            };
            match looked {
                Ok(now) => {
                    let changed = sender.send_if_modified(|shown| {
                        let changed = shown.as_ref() != Some(&now);
                        *shown = Some(now);
                        changed
                    });
                    pause = if changed { every } else { (pause * 2).min(IDLE).max(every) };
                }
                // Who has seen nothing yet is told so; the others wait until it can be seen again.
                Err(error) => {
                    tracing::debug!(?error, "queues and uploads cannot be looked at");
                    if sender.borrow().is_none() {
                        break;
                    }
                    pause = IDLE.max(every);
                }
            }
            tokio::select! {
                () = sleep(pause.max(began.elapsed() * REST)) => {}
                () = sender.closed() => {}
                () = app.stop.cancelled() => break,
            }
            // Under the lock, so that nobody begins to listen to a task that ends.
            let mut shown = self.lock();
            if sender.receiver_count() == 0 {
                *shown = Weak::new();
                return;
            }
        }
        *self.lock() = Weak::new();
    }

    /// It is only ever replaced whole, so what a panic left behind is good.
    fn lock(&self) -> MutexGuard<'_, Weak<Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look<B: Broker + Clone>(app: &App<B>) -> Result<Snapshot, ApiError> {
    let (queues, uploads) = tokio::try_join!(queues(app), live_uploads(app))?;
    Ok(Snapshot { queues: json(queues)?, uploads: json(uploads)? })
}

async fn queues<B: Broker + Clone>(app: &App<B>) -> Result<Vec<QueueNow>, ApiError> {
    let names = app.store.control.queue_names().await?;
    // A deleted queue goes by what is no name of a queue.
    let mut names: Vec<QueueName> = names.values().filter_map(|name| name.parse().ok()).collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.truncate(QUEUES);
    let looks = stream::iter(names).map(|name| async move {
        match app.broker.stats(&name).await {
            Ok(stats) => Some(queue(&name, &stats)),
            // One that was deleted since, or cannot be looked at, is left out.
            Err(error) => {
                tracing::debug!(queue = %name, %error, "a queue is not told of");
                None
            }
        }
    });
    Ok(looks.buffered(AT_ONCE).filter_map(std::future::ready).collect().await)
}

fn queue(name: &QueueName, stats: &QueueStats) -> QueueNow {
    // To a tenth, so that a rate that stands still is not a change.
    let rate = |rate: f64| (rate * 10.0).round() / 10.0;
    QueueNow {
        id: name.to_string(),
        ready: stats.depth.ready,
        delayed: stats.depth.delayed,
        held: stats.depth.held,
        in_flight: stats.depth.in_flight,
        dead: stats.dead,
        oldest_seconds: stats.oldest.map(|oldest| oldest.as_secs()),
        published_per_second: rate(stats.published_per_second),
        ended_per_second: rate(stats.ended_per_second),
    }
}

async fn live_uploads<B: Broker + Clone>(app: &App<B>) -> Result<Vec<UploadNow>, ApiError> {
    let live = app.store.control.live_uploads(ENDED, UPLOADS).await?;
    let looks = stream::iter(live).map(|upload| async move {
        let now = uploads::view(app, &upload).await?;
        Ok::<_, ApiError>(UploadNow {
            id: now.id,
            filename: now.filename,
            status: now.status,
            paused: now.paused.is_some(),
            counts: now.counts,
        })
    });
    looks.buffered(AT_ONCE).try_collect().await
}

fn json<T: Serialize>(data: Vec<T>) -> Result<Arc<str>, ApiError> {
    let text = serde_json::to_string(&Data { data })
        .map_err(|error| ApiError::unavailable(format!("the state: {error}"), 1))?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_told_in_whole_seconds_and_tenths() {
        let stats = QueueStats {
            dead: 3,
            oldest: Some(Duration::from_millis(61_900)),
            published_per_second: 1.0 / 60.0,
            ended_per_second: 12.345,
            ..QueueStats::default()
        };
        let told = queue(&"rows".parse().unwrap(), &stats);
        assert_eq!((told.dead, told.oldest_seconds), (3, Some(61)));
        assert_eq!((told.published_per_second, told.ended_per_second), (0.0, 12.3));
    }
}
