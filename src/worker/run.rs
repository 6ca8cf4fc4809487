//! The worker's loop: wait for free permits, receive, start a handler on each message; and in the
//! end, see everything in hand through to its settling.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::leases::{LeaseBook, keep};
use super::outage::Outage;
use super::rate::Pace;
use super::settler::{Ended, settle_all};
use super::verdict::{panicked, tidy};
use super::{Handler, Observer, Stop, WorkerLimits};
use crate::broker::{BrokerError, Source};
use crate::domain::{Delivery, Lease, QueueName, Settlement, Verdict};

/// Why a worker did not run, or ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// A limit that no worker can run under.
    #[error("the {name} is {value}: it must be 1 to {most}")]
    Limit {
        /// Which.
        name: &'static str,
        /// What it was set to.
        value: usize,
        /// What it may be at most.
        most: usize,
    },
    /// What trying again cannot mend, such as a queue that does not exist. What was in hand has
    /// been seen to its end.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A part of the worker broke down, which is a defect.
    #[error("the worker broke down: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// What a worker did, from its start to its end. Numbers of messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Came from the source.
    pub received: u64,
    /// Were started on.
    pub started: u64,
    /// Settled as done.
    pub done: u64,
    /// Died: rejected, or failed at their last attempt.
    pub dead: u64,
    /// Will come again: failed, or handed back.
    pub again: u64,
    /// Handed back because the worker stopped; also counted in `again` or `stale`.
    pub released: u64,
    /// Could not be settled, because their lease had run out.
    pub stale: u64,
    /// Were not started, because their lease had run out.
    pub skipped: u64,
    /// Had a verdict that the source did not take within the grace period. They come again.
    pub unsettled: u64,
}

/// What the tasks of one worker share.
struct Shared<H, O> {
    handler: Arc<H>,
    observer: Arc<O>,
    limits: WorkerLimits,
    book: Arc<LeaseBook>,
    verdicts: mpsc::Sender<Ended>,
    /// Ends the handlers.
    cancel: CancellationToken,
}

/// Works on a queue until it is stopped: receives, handles, settles. Returns when everything that
/// it had in hand has been settled, or could not be within the grace periods.
///
/// Cancellation safety: dropped half-way, it starts nothing more, and in the background cancels
/// what runs and hands it back.
///
/// # Errors
/// [`WorkerError`]. A source that fails for a while is no error: it is tried until it works.
pub async fn run<S: Source, H: Handler, O: Observer>(
    source: Arc<S>,
    queue: QueueName,
    handler: Arc<H>,
    limits: WorkerLimits,
    stop: Stop,
    observer: Arc<O>,
) -> Result<Summary, WorkerError> {
    limits.check()?;
    let (verdicts, inbox) = mpsc::channel(limits.settle_queue);
    let book = Arc::new(LeaseBook::default());
    let (cancel, give_up, settled) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let _cancel = cancel.clone().drop_guard();

    let keeper = {
        let (source, book, limits) = (source.clone(), book.clone(), limits.clone());
        let settled = settled.clone();
        tokio::spawn(async move { keep(&*source, &book, &limits, &settled).await })
    };
    let mut settler = {
        let (source, book, limits) = (source.clone(), book.clone(), limits.clone());
        let (observer, give_up) = (observer.clone(), give_up.clone());
        tokio::spawn(async move {
            // The keeper is needed as long as there is something to settle, and no longer.
            let _settled = settled.drop_guard();
            settle_all(&*source, inbox, &book, &*observer, &limits, &give_up).await
        })
    };

    let shared = Arc::new(Shared { handler, observer, limits, book, verdicts, cancel });
    let tasks = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(shared.limits.concurrency));
    let mut intake = Intake { shared, tasks, permits, summary: Summary::default() };
    let ended = intake.take(&*source, &queue, &stop).await;
    let Intake { shared, tasks, summary, .. } = intake;
    tasks.close();

    let grace_is_over = async {
        stop.drain.cancelled().await;
        sleep(shared.limits.drain_grace).await;
    };
    tokio::select! {
        () = tasks.wait() => {}
        () = grace_is_over => tracing::warn!("what still runs is cancelled and handed back"),
        () = stop.now.cancelled() => {}
    }
    shared.cancel.cancel();
    let patience = shared.limits.cancel_grace + shared.limits.settle_grace;
    let mut closing = pin!(async {
        tasks.wait().await;
        // The last sender: without it the settler ends when it has settled what there is.
        drop(shared);
        (&mut settler).await
    });
    let settled = tokio::select! {
        settled = &mut closing => settled?,
        () = sleep(patience) => {
            give_up.cancel();
            closing.await?
        }
    };
    keeper.await?;
    ended?;
    let Summary { received, started, skipped, .. } = summary;
    Ok(Summary { received, started, skipped, ..settled })
}

/// The receiving half of a worker.
struct Intake<H, O> {
    shared: Arc<Shared<H, O>>,
    tasks: TaskTracker,
    permits: Arc<Semaphore>,
    summary: Summary,
}

impl<H: Handler, O: Observer> Intake<H, O> {
    /// Receives and starts until it is told to end.
    async fn take<S: Source>(
        &mut self,
        source: &S,
        queue: &QueueName,
        stop: &Stop,
    ) -> Result<(), BrokerError> {
        let limits = self.shared.limits.clone();
        let pace = limits.rate.and_then(Pace::new);
        let mut outage = Outage::new("receive", limits.outage);
        loop {
            let permits = tokio::select! {
                biased;
                () = stop.ending() => return Ok(()),
                // The settler has broken down: what would be received could not be settled.
                () = self.shared.verdicts.closed() => return Ok(()),
                permits = self.free_permits() => permits,
            };
            let Some(permits) = permits else { return Ok(()) };
            let mut receive =
                pin!(source.receive(queue, permits.num_permits(), limits.receive_wait));
            let received = tokio::select! {
                biased;
                received = &mut receive => received,
                () = stop.ending() => {
                    // When the queue is finished there is nothing that could be stuck.
                    let grace =
                        if stop.finished.is_cancelled() { Duration::ZERO } else { limits.receive_grace };
                    match timeout(grace, receive).await {
                        Ok(received) => received,
                        Err(_) => return Ok(()),
                    }
                }
            };
            match received {
                Ok(leases) => {
                    outage.worked();
                    self.start_all(leases, permits, pace.as_ref(), stop).await;
                }
                Err(error @ (BrokerError::NoQueue(_) | BrokerError::NotAllowed(_))) => {
                    return Err(error);
                }
                Err(error) => {
                    let wait = outage.failed(&error);
                    tokio::select! {
                        () = stop.ending() => return Ok(()),
                        () = sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// As many permits as one receive may use; at least one, once one is free. Handlers that end
    /// together free theirs within a moment, which is waited for: a receive of a hundred costs
    /// hardly more than one of one.
    async fn free_permits(&self) -> Option<OwnedSemaphorePermit> {
        let most = self.shared.limits.receive_most();
        let mut permits = self.permits.clone().acquire_owned().await.ok()?;
        if self.permits.available_permits() + 1 < most {
            sleep(self.shared.limits.receive_gather).await;
        }
        // Nobody else takes permits, so those that are available stay so.
        let more = self.permits.available_permits().min(most - 1);
        if let Ok(more) = u32::try_from(more)
            && let Ok(more) = self.permits.clone().try_acquire_many_owned(more)
        {
            permits.merge(more);
        }
        Some(permits)
    }

    /// Starts what was received, at its pace. From the moment the worker is told to end, the rest
    /// is handed back instead.
    async fn start_all(
        &mut self,
        leases: Vec<Lease>,
        mut permits: OwnedSemaphorePermit,
        pace: Option<&Pace>,
        stop: &Stop,
    ) {
        // All are in the book before the first is waited for, so that all are extended.
        leases.iter().for_each(|lease| self.shared.book.add(lease));
        let messages = leases.iter().map(|lease| lease.deliveries.len()).sum::<usize>();
        if messages > 0 {
            self.summary.received += messages as u64;
            self.shared.observer.received(messages);
        }
        for delivery in leases.into_iter().flat_map(|lease| lease.deliveries) {
            let permit = match permits.split(1) {
                Some(permit) => Some(permit),
                // The source gave more than was asked for.
                None => tokio::select! {
                    () = stop.ending() => None,
                    permit = self.permits.clone().acquire_owned() => permit.ok(),
                },
            };
            let paced = async {
                if let Some(pace) = pace {
                    pace.wait().await;
                }
            };
            tokio::select! {
                biased;
                () = stop.ending() => {}
                () = paced => {}
            }
            match permit {
                Some(permit) if !stop.is_ending() => self.start(delivery, permit),
                _ => {
                    self.shared.observer.not_started();
                    self.shared.pass_on(&delivery, Verdict::Release).await;
                }
            }
        }
    }

    fn start(&mut self, delivery: Delivery, permit: OwnedSemaphorePermit) {
        let shared = self.shared.clone();
        if shared.book.is_lost(delivery.receipt) {
            // Somebody else has it, or will.
            self.summary.skipped += 1;
            shared.observer.not_started();
            shared.book.ended(delivery.receipt);
            shared.book.settled(delivery.receipt, 1);
            return;
        }
        self.summary.started += 1;
        shared.observer.started();
        self.tasks.spawn(async move {
            let begun = Instant::now();
            let judged = AssertUnwindSafe(shared.judge(&delivery)).catch_unwind().await;
            let verdict = judged.unwrap_or_else(|panic| panicked(&*panic));
            shared.observer.handled(&verdict, begun.elapsed());
            shared.pass_on(&delivery, tidy(verdict, &shared.limits)).await;
            drop(permit);
        });
    }
}

impl<H: Handler, O> Shared<H, O> {
    /// Runs the handler within its time.
    async fn judge(&self, delivery: &Delivery) -> Verdict {
        let cancel = self.cancel.child_token();
        let mut handling = pin!(self.handler.handle(delivery, cancel.clone()));
        let time_is_up = async {
            match self.limits.timeout {
                Some(limit) => {
                    sleep(limit).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        let interrupted = tokio::select! {
            // In this order: what has ended was not interrupted.
            biased;
            verdict = &mut handling => return verdict,
            () = self.cancel.cancelled() => Verdict::Release,
            limit = time_is_up => Verdict::Retry {
                reason: format!("timed out after {} s", limit.as_secs_f64()).into(),
                after: None,
            },
        };
        cancel.cancel();
        match timeout(self.limits.cancel_grace, handling).await {
            Ok(ended @ (Verdict::Done { .. } | Verdict::Reject { .. })) => ended,
            Ok(Verdict::Retry { .. } | Verdict::Release) | Err(_) => interrupted,
        }
    }

    async fn pass_on(&self, delivery: &Delivery, verdict: Verdict) {
        self.book.ended(delivery.receipt);
        let settlement = Settlement { position: delivery.position, verdict };
        // It fails only if the settler has broken down, which `run` reports.
        let _ = self.verdicts.send(Ended { receipt: delivery.receipt, settlement }).await;
    }
}
