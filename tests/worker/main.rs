//! The worker's own rules, on a queue in memory that records what it is asked and fails on request.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rowmill::domain::{Delivery, QueueName, Verdict};
use rowmill::worker::handler::from_fn;
use rowmill::worker::{
    Handler, NoObserver, Observer, Rate, Sleep, Stop, Summary, WorkerError, WorkerLimits, run,
};
use tokio::sync::{Barrier, Notify, Semaphore};
use tokio_util::sync::CancellationToken;

mod ends;
#[path = "../support/memory.rs"]
mod memory;
mod outages;
mod work;

use memory::{Memory, UntilEnded};

const DONE: Verdict = Verdict::Done { output: None };

fn queue() -> QueueName {
    "rows".parse().unwrap()
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn limits(concurrency: usize) -> WorkerLimits {
    WorkerLimits { concurrency, ..WorkerLimits::default() }
}

/// Runs until so many messages have ended.
async fn run_all(
    source: &Arc<Memory>,
    handler: impl Handler,
    limits: WorkerLimits,
    messages: u64,
) -> Summary {
    let stop = Stop::default();
    let observer = UntilEnded::new(messages, &stop.finished);
    let work = run(source.clone(), queue(), Arc::new(handler), limits, stop, observer);
    tokio::time::timeout(millis(30_000), work).await.expect("the worker does not end").unwrap()
}

/// Runs in the background until it is stopped.
fn start<H: Handler>(
    source: &Arc<Memory>,
    handler: H,
    limits: WorkerLimits,
    stop: &Stop,
) -> impl Future<Output = Summary> + use<H> {
    let (source, stop) = (source.clone(), stop.clone());
    let task = tokio::spawn(async move {
        run(source, queue(), Arc::new(handler), limits, stop, Arc::new(NoObserver)).await
    });
    async move {
        let ended = tokio::time::timeout(millis(30_000), task).await;
        ended.expect("the worker does not end").unwrap().unwrap()
    }
}

#[tokio::test]
async fn limits_that_cannot_work_are_refused() {
    let (source, handler) = (Arc::new(Memory::new(0)), Arc::new(Sleep::new(millis(1))));
    let limits = limits(0);
    let ended = run(source, queue(), handler, limits, Stop::default(), Arc::new(NoObserver)).await;
    assert_eq!(ended.unwrap_err().to_string(), "the concurrency is 0: it must be 1 to 1000000");
}
