//! What bounds a worker, and what stops it. Every wait, batch and channel of the worker has its
//! name here.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Rate, WorkerError};
use crate::domain::{RetryPolicy, units};

/// Limits of one worker. The defaults suit a command of some seconds on one machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerLimits {
    /// Messages in hand without a verdict, and so handlers that run at once. 16.
    pub concurrency: usize,
    /// Messages asked for by one receive, at most. 100.
    pub batch_size: usize,
    /// Starts of handlers per second, over the whole worker. No limit.
    #[serde(with = "super::rate::or_none")]
    pub rate: Option<Rate>,
    /// How long one handler may take. No limit.
    #[serde(with = "units::time_or_none")]
    pub timeout: Option<Duration>,
    /// How long a receive waits for the first message. 5 s.
    #[serde(with = "units::time")]
    pub receive_wait: Duration,
    /// How long free permits are gathered before a receive of less than a batch. 2 ms.
    #[serde(with = "units::time")]
    pub receive_gather: Duration,
    /// How long a receive under way is waited for when draining begins, because what it has leased
    /// would otherwise be stuck until the deadline. 250 ms.
    #[serde(with = "units::time")]
    pub receive_grace: Duration,
    /// How long verdicts are gathered before a settle of less than a batch. 2 ms.
    #[serde(with = "units::time")]
    pub settle_gather: Duration,
    /// Verdicts in one settle call, at most. 500.
    pub settle_batch: usize,
    /// Verdicts waiting for the settler; handlers that end beyond them wait in turn. 1,000.
    pub settle_queue: usize,
    /// Leases in one extend call, at most. 500.
    pub extend_batch: usize,
    /// How long running handlers may take to end after draining began. 30 s.
    #[serde(with = "units::time")]
    pub drain_grace: Duration,
    /// How long a cancelled handler may take to wind down before it is dropped. 5 s.
    #[serde(with = "units::time")]
    pub cancel_grace: Duration,
    /// How long the last verdicts may take to be settled, after the handlers have ended. 10 s.
    #[serde(with = "units::time")]
    pub settle_grace: Duration,
    /// The waits between tries while the source fails. From 100 ms, doubling, up to 5 s.
    pub outage: RetryPolicy,
    /// Bytes of a reason that are kept: longer ones lose their middle. 4 KiB.
    #[serde(with = "units::size")]
    pub reason_bytes: usize,
    /// Bytes of an output (JSON text) that are kept: a longer one is recorded as a note of its
    /// size. 1 MiB.
    #[serde(with = "units::size")]
    pub output_bytes: usize,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            concurrency: 16,
            batch_size: 100,
            rate: None,
            timeout: None,
            receive_wait: Duration::from_secs(5),
            receive_gather: Duration::from_millis(2),
            receive_grace: Duration::from_millis(250),
            settle_gather: Duration::from_millis(2),
            settle_batch: 500,
            settle_queue: 1_000,
            extend_batch: 500,
            drain_grace: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(5),
            settle_grace: Duration::from_secs(10),
            outage: RetryPolicy {
                first: Duration::from_millis(100),
                factor: 2.0,
                most: Duration::from_secs(5),
            },
            reason_bytes: 4 * 1024,
            output_bytes: 1024 * 1024,
        }
    }
}

/// What the semaphore and the channel behind the limits can hold by far.
const MOST: usize = 1_000_000;

impl WorkerLimits {
    /// Whether a worker can run under these limits at all.
    pub(super) fn check(&self) -> Result<(), WorkerError> {
        for (name, value) in [
            ("concurrency", self.concurrency),
            ("batch size", self.batch_size),
            ("settle batch", self.settle_batch),
            ("settle queue", self.settle_queue),
            ("extend batch", self.extend_batch),
        ] {
            if !(1..=MOST).contains(&value) {
                return Err(WorkerError::Limit { name, value, most: MOST });
            }
        }
        Ok(())
    }

    /// How many messages one receive may ask for. A worker held to a rate takes no more than it
    /// starts in about a second: the rest is better left to others.
    pub(super) fn receive_most(&self) -> usize {
        let most = self.batch_size.min(self.concurrency);
        self.rate.map_or(most, |rate| most.min(rate.starts_in(Duration::from_secs(1))))
    }
}

/// How a worker is told to end. Clones share the signals.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Stop receiving, hand back what has not started, let what runs finish within `drain_grace`.
    pub drain: CancellationToken,
    /// Cancel what runs and hand it back.
    pub now: CancellationToken,
    /// The queue will never have more: as `drain`, but what runs has all the time it wants.
    pub finished: CancellationToken,
}

impl Stop {
    /// Whether one of the signals has come.
    pub(super) fn is_ending(&self) -> bool {
        [&self.drain, &self.now, &self.finished].iter().any(|token| token.is_cancelled())
    }

    /// Waits for the first of the signals.
    pub(super) async fn ending(&self) {
        tokio::select! {
            () = self.drain.cancelled() => {}
            () = self.now.cancelled() => {}
            () = self.finished.cancelled() => {}
        }
    }
}
