//! What is compared: rows in one by one and by upload, messages worked off one by one and in a
//! batch; each by real requests to a real server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::json;
use serde_json::value::to_raw_value;
use tokio_util::sync::CancellationToken;

use super::error::BenchError;
use super::scene::{Place, Scene};
use super::server::IN_FLIGHT;
use crate::api::NewMessage;
use crate::client::{Client, RemoteSource, UploadOptions};
use crate::domain::Settled;
use crate::worker::{self, Observer, Sleep, Stop, WorkerLimits};

/// How much longer than the ideal a case may take before it counts as stuck.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// The delays of the original, for which its figures were published.
pub(super) const ORIGINAL_DELAYS: Delays =
    Delays { create: Duration::from_secs(3), consume: Duration::from_secs(5) };

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delays {
    /// Creating a row.
    pub(super) create: Duration,
    /// Working on a message.
    pub(super) consume: Duration,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// So many rows, a request each, one after another.
    OneByOne(u32),
    /// So many rows in one upload.
    Upload(u32),
    /// So many messages, worked off by the single consumer.
    Single(u32),
    /// So many messages, worked off by the batch consumer.
    Batch(u32),
}

impl Case {
    /// What it is, for a person.
    pub(super) fn what(self) -> String {
        match self {
            Self::OneByOne(n) => format!("{n} rows, a request each"),
            Self::Upload(n) => format!("{n} rows, one upload"),
            Self::Single(n) => format!("{n} messages, one by one"),
            Self::Batch(n) => format!("{n} messages, one batch"),
        }
    }

    /// What it is, for a program.
    pub(super) fn name(self) -> String {
        match self {
            Self::OneByOne(n) => format!("rows_one_by_one_{n}"),
            Self::Upload(n) => format!("rows_by_upload_{n}"),
            Self::Single(n) => format!("messages_one_by_one_{n}"),
            Self::Batch(n) => format!("messages_in_a_batch_{n}"),
        }
    }

    /// What it would take if nothing but the delays took time.
    pub(super) fn ideal(self, delays: Delays) -> Duration {
        let in_flight = u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX);
        match self {
            Self::OneByOne(n) => delays.create * n,
            Self::Upload(n) => delays.create * n.div_ceil(in_flight),
            Self::Single(n) => delays.consume * n,
            Self::Batch(_) => delays.consume,
        }
    }

    /// The published figure of the Python original, in seconds.
    pub(super) fn original(self) -> Option<f64> {
        match self {
            Self::OneByOne(21) => Some(65.23),
            Self::Upload(21) => Some(5.25),
            Self::Upload(1_000) => Some(43.26),
            _ => None,
        }
    }
}

/// Measures on one server.
pub(super) struct Measure<'a> {
    pub(super) scene: &'a mut Scene,
    pub(super) client: Client,
    pub(super) delays: Delays,
}

impl Measure<'_> {
    /// How long a case takes. Everything that it makes is in a topic and a queue of its own.
    pub(super) async fn run(&mut self, case: Case) -> Result<Duration, BenchError> {
        let place = self.scene.place().await?;
        let patience = case.ideal(self.delays) + PATIENCE;
        let measured = async {
            match case {
                Case::OneByOne(n) => self.one_by_one(&place, n).await,
                Case::Upload(n) => self.upload(&place, n).await,
                Case::Single(n) => self.consume(place, n, 1).await,
                Case::Batch(n) => self.consume(place, n, n as usize).await,
            }
        };
        let stuck = || BenchError::Wrong(format!("{} is stuck", case.what()));
        tokio::time::timeout(patience, measured).await.map_err(|_| stuck())?
    }

    async fn one_by_one(&self, place: &Place, n: u32) -> Result<Duration, BenchError> {
        let begun = Instant::now();
        for number in 1..=n {
            let topic = place.topic_name.as_str();
            let copies = self.client.publish(topic, message(number)?, None).await?;
            expect("copies", copies.len() as u64, 1)?;
        }
        Ok(begun.elapsed())
    }

    async fn upload(&mut self, place: &Place, n: u32) -> Result<Duration, BenchError> {
        let file = self.scene.home.path().join(format!("sample-{n}-items.xlsx"));
        crate::cli::sample::small(n)?.save(&file)?;
        let options = UploadOptions {
            topic: Some(place.topic_name.to_string()),
            wait: true,
            ..UploadOptions::default()
        };
        let begun = Instant::now();
        let upload = self.client.upload(&file, &options, &Arc::default()).await?;
        let took = begun.elapsed();
        self.scene.made(upload.id);
        expect("published rows", upload.counts.published, u64::from(n))?;
        Ok(took)
    }

    /// Publishes `n` messages, which is not measured, and works them off, `at_once` in flight.
    async fn consume(&self, place: Place, n: u32, at_once: usize) -> Result<Duration, BenchError> {
        let messages = (1..=n).map(message).collect::<Result<_, _>>()?;
        self.client.publish_many(place.topic_name.as_str(), messages, None).await?;
        let source = RemoteSource::new(self.client.clone(), place.queue.clone());
        let limits =
            WorkerLimits { concurrency: at_once, batch_size: at_once, ..WorkerLimits::default() };
        let stop = Stop::default();
        let tally = Arc::new(Tally {
            wanted: u64::from(n),
            done: AtomicU64::new(0),
            ended: OnceLock::new(),
            finished: stop.finished.clone(),
        });
        let handler = Arc::new(Sleep::new(self.delays.consume));
        let begun = Instant::now();
        let observer = Arc::clone(&tally);
        worker::run(Arc::new(source), place.queue, handler, limits, stop, observer).await?;
        expect("messages done", tally.done.load(Ordering::Relaxed), u64::from(n))?;
        let ended = tally.ended.get().copied().unwrap_or_else(Instant::now);
        Ok(ended.duration_since(begun))
    }
}

/// A row of the sample workbooks.
fn message(number: u32) -> Result<NewMessage, BenchError> {
    let row = json!({ "number": number, "data": format!("row {number}") });
    Ok(NewMessage { data: to_raw_value(&row)?, attributes: BTreeMap::new() })
}

fn expect(what: &str, came: u64, wanted: u64) -> Result<(), BenchError> {
    if came == wanted {
        return Ok(());
    }
    Err(BenchError::Wrong(format!("{came} {what}, not {wanted}")))
}

/// Sees when the last message is done.
struct Tally {
    wanted: u64,
    done: AtomicU64,
    /// When the last was settled.
    ended: OnceLock<Instant>,
    /// Ends the worker.
    finished: CancellationToken,
}

impl Observer for Tally {
    fn settled(&self, settled: &Settled) {
        let done = u64::from(settled.done);
        if self.done.fetch_add(done, Ordering::Relaxed) + done >= self.wanted {
            self.ended.get_or_init(Instant::now);
            self.finished.cancel();
        }
    }
}
