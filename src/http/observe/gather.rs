//! What stands in the database, looked up within a time and kept for a moment.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::broker::Broker;
use crate::domain::{QueueName, QueueStats};
use crate::http::App;
use crate::store::StoreError;
use crate::store::control::UploadState;
use crate::store::watch::Hold;

/// What a scrape has found. `None` is what could not be had.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) queues: Option<Queues>,
    pub(super) uploads: Option<Vec<(UploadState, u64)>>,
    pub(super) transactions: Option<Transactions>,
}

/// The queues, and how those stand that are told of.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) all: usize,
    /// Whether all that are to be told of are here.
    pub(super) complete: bool,
    pub(super) stats: Vec<(QueueName, QueueStats)>,
}

/// Who holds old rows back.
#[derive(Debug)]
pub(super) struct Transactions {
    /// `None` on SQLite.
    pub(super) oldest: Option<Duration>,
    pub(super) holds: Vec<Hold>,
}

/// The last look, which the scrapes of a moment share. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Gathered(Arc<Mutex<Option<Look>>>);

/// When it was, and what was found.
type Look = (Instant, Arc<Snapshot>);

impl Gathered {
    /// What stands now, or stood a moment ago.
    ///
    /// Cancellation safety: dropped half-way, the next scrape looks anew.
    pub(super) async fn get<B: Broker + Clone>(&self, app: &App<B>) -> Arc<Snapshot> {
        // Held while it looks: whoever asks meanwhile waits for this look instead of making another.
        let mut last = self.0.lock().await;
        if let Some((at, snapshot)) = &*last
            && at.elapsed() < app.limits.observe.fresh
        {
            return Arc::clone(snapshot);
        }
        let snapshot = Arc::new(look(app).await);
        *last = Some((Instant::now(), Arc::clone(&snapshot)));
        snapshot
    }
}

async fn look<B: Broker + Clone>(app: &App<B>) -> Snapshot {
    let until = Instant::now() + app.limits.observe.wait;
    let (queues, uploads, transactions) = tokio::join!(
        timeout_at(until, queues(app, until)),
        timeout_at(until, app.store.control.uploads_by_state()),
        timeout_at(until, transactions(app)),
    );
    Snapshot {
        queues: had("queues", queues),
        uploads: had("uploads", uploads),
        transactions: had("transactions", transactions),
    }
}

fn had<T>(
    part: &'static str,
    looked: Result<Result<T, StoreError>, tokio::time::error::Elapsed>,
) -> Option<T> {
    match looked {
        Ok(Ok(found)) => return Some(found),
        Ok(Err(error)) => tracing::warn!(part, %error, "metrics are incomplete"),
        Err(_) => tracing::warn!(part, "metrics are incomplete: the database took too long"),
    }
    None
}

async fn queues<B: Broker + Clone>(app: &App<B>, until: Instant) -> Result<Queues, StoreError> {
    let limits = &app.limits.observe;
    let names = app.store.control.queue_names().await?;
    let all = names.len();
    let mut names: Vec<QueueName> = names.into_values().filter_map(|n| n.parse().ok()).collect();
    names.sort_unstable();
    names.truncate(limits.queues);
    let wanted = names.len();
    let look = |name: QueueName| async move {
        match app.broker.stats(&name).await {
            Ok(stats) => Some((name, stats)),
            Err(error) => {
                tracing::debug!(queue = %name, %error, "a queue's numbers could not be had");
                None
            }
        }
    };
    // It ends a little before the caller's patience, with what there is by then.
    let stats: Vec<_> = stream::iter(names)
        .map(look)
        .buffer_unordered(limits.queues_at_once.max(1))
        .take_until(sleep_until(until - limits.wait / 10))
        .filter_map(std::future::ready)
        .collect()
        .await;
    Ok(Queues { all, complete: stats.len() == wanted, stats })
}

async fn transactions<B: Broker + Clone>(app: &App<B>) -> Result<Transactions, StoreError> {
    Ok(Transactions {
        oldest: app.store.oldest_transaction().await?,
        holds: app.store.holds(app.limits.observe.holds()).await?,
    })
}
