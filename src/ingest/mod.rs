//! From a file to published messages.
//!
//! ```text
//! reader child ─frames─▶ [feed] ─rows─▶ channel of 400 ─▶ [batch] ─batches─▶ producers ─▶ broker
//! ```
//!
//! `feed` takes frames from the reader's process and leaves out rows that an earlier attempt has
//! committed; `batch` cuts what comes into batches, in row order, and reserves their places;
//! several producers publish batches at once. Where rows have keys, or correct others, `sieve` stands
//! before the producers and holds back what is there already. Each stage waits for the next, so a slow database
//! slows the reader, and memory holds no more than the channels do.
//!
//! What an upload has committed is the set of its batches' row ranges. Going on after a crash means
//! to read the file again and skip what is covered: no checkpoint is kept beside it that could be
//! wrong.

mod batch;
pub mod corrects;
mod coverage;
pub mod dates;
mod feed;
pub mod intake;
mod keys;
mod lease;
mod look;
mod patient;
pub mod reader;
mod resumed;
mod sieve;
pub mod spool;
pub mod taken;
mod twice;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use coverage::Coverage;
pub use sieve::Sieve;

use crate::broker::{Broker, BrokerError, Publishing, RowBatch};
use crate::domain::{Problem, RetryPolicy, units};
use crate::workbook::{SheetHead, Totals};
use feed::{Fed, Feed};
use patient::Patient;
use reader::Reader;

/// Sizes and waits of ingestion.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestLimits {
    /// Rows between the reader and the batcher.
    pub queued_rows: usize,
    /// Rows of a batch at most; no more than a block of ids has.
    pub batch_rows: usize,
    /// Bytes of a batch's rows at most, unless a single row has more.
    #[serde(with = "units::size")]
    pub batch_bytes: usize,
    /// How long the batcher waits for more rows before it publishes what it has.
    #[serde(with = "units::time")]
    pub batch_wait: Duration,
    /// Batches that are published at the same time.
    pub producers: usize,
    /// Duplicates told of by their address; the rest is counted.
    pub duplicates_told: usize,
    /// The waits between tries while the broker does not answer.
    pub outage: RetryPolicy,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self {
            queued_rows: 400,
            batch_rows: 500,
            batch_bytes: 4 << 20,
            batch_wait: Duration::from_millis(5),
            producers: 4,
            duplicates_told: 100,
            outage: RetryPolicy {
                first: Duration::from_millis(50),
                factor: 2.0,
                most: Duration::from_secs(2),
            },
        }
    }
}

/// Rows that ingestions have handled, all of them together, since they were first counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Came from readers; those of an ingestion that goes on, once more.
    pub read: AtomicU64,
    /// Committed as messages.
    pub published: AtomicU64,
    /// Became none; counted when their file was read to its end.
    pub rejected: AtomicU64,
}

/// What has been done so far, for whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows that came from the reader, those of earlier attempts among them.
    pub read: AtomicU64,
    /// Messages committed, by this attempt and by earlier ones.
    pub published: AtomicU64,
    /// Those of them that no queue takes.
    pub unrouted: AtomicU64,
    /// Where it is counted together with that of others.
    pub all: Arc<Counts>,
}

impl Progress {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// How an ingestion ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ingested {
    /// The whole file is published.
    Published(Totals),
    /// The file has a fault; nothing of it is published.
    Failed(Problem),
}

/// Why an ingestion stopped before its end. What it committed stays, and it can go on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// It was told to.
    #[error("stopped before the end of the file")]
    Stopped,
    /// The broker failed, or the upload has another owner now.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// What the reader said cannot be written down.
    #[error("what the reader said has no JSON form: {0}")]
    Words(#[from] serde_json::Error),
    /// A second reader could not be started.
    #[error(transparent)]
    CannotStart(#[from] reader::CannotStart),
    /// A stage ended without a word; it has a bug.
    #[error("a stage of the ingestion died: {0}")]
    Died(#[from] tokio::task::JoinError),
}

/// What an ingestion works on.
#[derive(Debug)]
pub struct Job<'a> {
    /// For whom is published, and how.
    pub publishing: Publishing,
    /// What earlier attempts have committed.
    pub coverage: Coverage,
    /// What holds rows back, if anything does.
    pub sieve: Option<Sieve>,
    /// The reader's first word.
    pub first: SheetHead,
    /// Counts what is done.
    pub progress: &'a std::sync::Arc<Progress>,
}

/// Reads to the end and publishes: all of the file in the end, or nothing.
///
/// Cancellation safety: a future dropped half-way leaves what it had committed, as a crash would.
///
/// # Errors
/// [`IngestError`]; what was committed stays, held, and another attempt goes on from there.
pub async fn ingest<B: Broker + Clone>(
    reader: Reader,
    broker: &B,
    job: Job<'_>,
    limits: &IngestLimits,
    stop: &CancellationToken,
) -> Result<Ingested, IngestError> {
    let broker = Patient::new(broker.clone(), limits.outage, stop.clone());
    let turn = job.coverage.batches();
    let (rows, queued) = mpsc::channel(limits.queued_rows.max(1));
    let (mut batches, ready) = mpsc::channel(limits.producers.max(1));
    let sieve = job.sieve.map(|sieve| {
        let (unsifted, all) = mpsc::channel(1);
        let sifted = std::mem::replace(&mut batches, unsifted);
        AbortOnDropHandle::new(tokio::spawn(sieve.run(broker.clone(), all, sifted)))
    });
    let batcher = AbortOnDropHandle::new(tokio::spawn(batch::run(
        broker.clone(),
        queued,
        batches,
        limits.clone(),
        turn,
    )));
    let feed = Feed {
        reader,
        coverage: job.coverage,
        rows,
        progress: std::sync::Arc::clone(job.progress),
        stop: stop.clone(),
        fence: job.publishing.fence,
    };
    let publishing = &job.publishing;
    let ready = Mutex::new(ready);
    let producers = (0..limits.producers.max(1))
        .map(|_| produce(&broker, &ready, publishing, job.progress))
        .collect::<Vec<_>>();
    let published = futures::future::try_join_all(producers);
    let fed = feed.run(&broker, job.first);
    // When publishing fails, the feed is dropped here and the reader's process ends with it. When
    // the feed ends, the channels close one after another and publishing runs dry.
    let (fed, _) = futures::future::try_join(fed, published).await?;
    batcher.await??;
    if let Some(sieve) = sieve {
        sieve.await??;
    }
    match fed {
        Fed::End(totals) => {
            let rows = job.progress.published.load(Ordering::Relaxed);
            tracing::info!(step = "published", rows, "every row of an upload is published");
            let json = serde_json::to_string(&totals)?;
            broker.release(publishing.fence, &json).await?;
            tracing::info!(step = "released", rows, "an upload is there for workers");
            Ok(Ingested::Published(totals))
        }
        Fed::Fault(problem) => {
            // What the problem says may be the file's own words.
            tracing::info!(step = "failed", why = problem.kind.title(), "a file has a fault");
            let json = serde_json::to_string(&problem)?;
            broker.discard(publishing.fence, &json).await?;
            Ok(Ingested::Failed(problem))
        }
        Fed::Stopped => Err(IngestError::Stopped),
    }
}

/// Publishes batches, one after another, until there are no more.
async fn produce<B: Broker>(
    broker: &Patient<B>,
    ready: &Mutex<mpsc::Receiver<RowBatch>>,
    to: &Publishing,
    progress: &Progress,
) -> Result<(), IngestError> {
    loop {
        let next = ready.lock().await.recv().await;
        let Some(batch) = next else { return Ok(()) };
        let published = broker.publish(to, batch).await?;
        Progress::add(&progress.published, published.routed + published.unrouted);
        Progress::add(&progress.all.published, published.routed + published.unrouted);
        Progress::add(&progress.unrouted, published.unrouted);
    }
}
