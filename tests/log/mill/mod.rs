//! Publishers, consumers, sweepers and those who purge, redrive and change routes, all at once on
//! one log, by the real clock, with deadlines short enough to be missed.

mod consume;
mod publish;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use rowmill::domain::{RetryPolicy, RowNumber, Settlement, Verdict};
use rowmill::store::Store;
use rowmill::store::control::{NewQueue, NewUpload};
use rowmill::store::log::{
    BLOCK, Emptiness, Fence, HandedLease, Log, LogError, NewBatch, NewMessage, NewSegment,
    PausedBy, QueueId, Received, RowsOf, Taken, TopicId,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::ledger::{Held, Ledger, Terms};
use crate::tables::Tables;
use crate::violation::{Checked, Violation, check, check_eq};

/// How much goes on, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) publishers: u64,
    pub(crate) consumers: u64,
    pub(crate) sweepers: u64,
    pub(crate) publishing: Duration,
    /// Whether the server may fail under it: then an error is no violation, and its answer unknown.
    pub(crate) failing: bool,
}

const DEADLINE: Duration = Duration::from_millis(250);
/// Before a server that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(5);
/// Rows of a batch of an upload, and batches of an upload.
const ROWS: u32 = 20;
const BATCHES: u32 = 40;

pub(crate) struct Mill {
    store: Store,
    log: Log,
    ledger: Ledger,
    topic: TopicId,
    queues: Vec<Terms>,
    first_queue: NewQueue,
    size: Size,
    /// No more is published; consumers only ack.
    draining: AtomicBool,
    /// A redrive that is under way may bring something back to a queue that is empty.
    meddling: AtomicBool,
    ended: AtomicBool,
}

/// `None` when the server failed and it may: what was asked may have been done or not.
type Answer<T> = Checked<Option<T>>;

impl Mill {
    pub(crate) async fn new(store: Store, log: Log, size: Size) -> Checked<Arc<Self>> {
        let control = &store.control;
        let topic = control.ensure_topic(&"rows".parse().unwrap()).await?;
        let mut queues = vec![];
        let mut first_queue = None;
        // (deliveries, dead queue, purged and redriven, expires)
        for (at, (max_deliveries, dead, tidied, expires)) in
            [(4, true, false, false), (3, true, true, false), (5, false, false, true)]
                .into_iter()
                .enumerate()
        {
            let dead_queue = if dead {
                let new = NewQueue::new(format!("dead-{at}").parse().unwrap());
                Some(control.ensure_queue(&new).await?)
            } else {
                None
            };
            let new = NewQueue {
                topic: Some(topic),
                dead_queue,
                deadline: DEADLINE,
                max_deliveries,
                retry: RetryPolicy {
                    first: Duration::from_millis(20),
                    factor: 2.0,
                    most: Duration::from_millis(100),
                },
                ..NewQueue::new(format!("work-{at}").parse().unwrap())
            };
            let queue = control.ensure_queue(&new).await?.0;
            first_queue.get_or_insert(new);
            queues.push(Terms {
                queue,
                dead_queue: dead_queue.map(|queue| queue.0),
                max_deliveries,
                purged: tidied,
                redriven: tidied,
                expires,
            });
        }
        Ok(Arc::new(Self {
            log,
            ledger: Ledger::new(queues.clone()),
            topic,
            queues,
            first_queue: first_queue.unwrap(),
            size,
            draining: AtomicBool::new(false),
            meddling: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            store,
        }))
    }

    /// Runs it to the end, or to the first violation. Answers how many outcomes were compared.
    pub(crate) async fn run(self: Arc<Self>, seed: u64) -> Checked<usize> {
        let mut rng = Rng::with_seed(seed);
        let mut publishing = JoinSet::new();
        let mut tasks = JoinSet::new();
        for _ in 0..self.size.publishers {
            publishing.spawn(Arc::clone(&self).publish_small(rng.fork()));
        }
        publishing.spawn(Arc::clone(&self).publish_uploads(rng.fork()));
        for _ in 0..self.size.consumers {
            tasks.spawn(Arc::clone(&self).consume(rng.fork()));
        }
        for _ in 0..self.size.sweepers {
            tasks.spawn(Arc::clone(&self).sweep());
        }
        tasks.spawn(Arc::clone(&self).meddle(rng.fork()));
        tasks.spawn(Arc::clone(&self).steer(rng.fork()));
        tasks.spawn(Arc::clone(&self).watch());
        let mut left = publishing.len();
        // Whoever ends first with a violation ends it for all: dropping the sets aborts the others.
        while left > 0 {
            tokio::select! {
                Some(done) = publishing.join_next() => {
                    done.unwrap()?;
                    left -= 1;
                }
                Some(done) = tasks.join_next() => done.unwrap()?,
            }
        }
        self.draining.store(true, Ordering::SeqCst);
        let watched = Arc::clone(&self);
        tasks.spawn(async move { watched.until_empty().await });
        while let Some(done) = tasks.join_next().await {
            done.unwrap()?;
        }
        self.ledger.check_end(&Tables::read(&self.store).await?.places()?)
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    fn answer<T>(&self, answer: Result<T, LogError>) -> Answer<T> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(LogError::Database(error)) if self.size.failing && is_lost(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn until_empty(&self) -> Checked {
        let began = Instant::now();
        loop {
            let mut left = u64::from(self.meddling.load(Ordering::SeqCst));
            for terms in &self.queues {
                let depth = self.answer(self.log.depth(QueueId(terms.queue)).await)?;
                left += depth.map_or(1, |depth| depth.total());
            }
            if left == 0 {
                break;
            }
            check!(
                began.elapsed() < Duration::from_secs(60),
                "{left} messages are never worked off"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.ended.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn sweep(self: Arc<Self>) -> Checked {
        while !self.ended() {
            let swept = self.answer(self.log.sweep(5).await)?;
            self.answer(self.log.expire(3).await)?;
            if swept.is_none_or(|swept| swept.is_empty()) {
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
        Ok(())
    }

    /// Purges, redrives and changes routes now and then.
    async fn meddle(self: Arc<Self>, mut rng: Rng) -> Checked {
        while !self.draining() {
            for terms in &self.queues {
                if terms.redriven
                    && let Some(dead) = terms.dead_queue
                {
                    let (dead, queue) = (QueueId(dead), QueueId(terms.queue));
                    self.answer(self.log.redrive(dead, queue, rng.u32(1..30)).await)?;
                }
                if terms.purged && rng.u8(0..8) == 0 {
                    self.answer(self.log.purge(QueueId(terms.queue)).await)?;
                }
            }
            if rng.u8(0..5) == 0 {
                let changed = self.store.control.ensure_queue(&self.first_queue).await;
                check!(changed.is_ok() || self.size.failing, "routes: {changed:?}");
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(50..200))).await;
        }
        self.meddling.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Pauses uploads, whether they are read still or published, and goes on with them.
    async fn steer(self: Arc<Self>, mut rng: Rng) -> Checked {
        while !self.draining() {
            let uploads = self.store.control.uploads(None, 3).await;
            check!(uploads.is_ok() || self.size.failing, "uploads: {uploads:?}");
            for upload in uploads.unwrap_or_default() {
                if rng.bool() {
                    self.answer(self.log.pause(upload.id, PausedBy::Hand).await)?;
                    tokio::time::sleep(Duration::from_millis(rng.u64(0..40))).await;
                }
                if rng.bool() {
                    self.answer(self.log.resume(upload.id).await)?;
                }
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(5..50))).await;
        }
        // What was paused once, and is not resumed, would never be worked off.
        for upload in self.store.control.uploads(None, 1_000).await.unwrap_or_default() {
            self.answer(self.log.resume(upload.id).await)?;
        }
        Ok(())
    }

    /// Looks at the tables again and again.
    async fn watch(self: Arc<Self>) -> Checked {
        while !self.ended() {
            let known = self.ledger.known();
            match Tables::read(&self.store).await {
                Ok(tables) => self.ledger.check_snapshot(&known, &tables.places()?)?,
                Err(Violation(_)) if self.size.failing => {}
                Err(violation) => return Err(violation),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// Whether an error says no more than that the server went away.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolTimedOut => true,
        // admin_shutdown, crash_shutdown, cannot_connect_now
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some("57P01" | "57P02" | "57P03"))
        }
        _ => false,
    }
}
