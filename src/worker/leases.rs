//! The leases in hand, and the keeper that extends those whose messages have not ended.
//!
//! A lease is extended when half of its time is over; leases that are nearly as old go along in the
//! same call. One that could not be extended has been swept: its messages come again elsewhere.
//! Handlers that work on them go on, because stopping them would undo nothing, and their late
//! verdicts are reported stale; but a message of it that has not started is not started any more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::WorkerLimits;
use super::outage::Outage;
use crate::broker::{BrokerError, Source};
use crate::domain::{Lease, Receipt};

#[derive(Debug)]
struct Held {
    /// Messages without a verdict.
    running: usize,
    /// Messages whose verdict has not been settled, the running ones among them.
    unsettled: usize,
    /// When it may be extended along with others.
    early: Instant,
    /// When it is to be extended.
    due: Instant,
    lost: bool,
}

impl Held {
    fn renew(&mut self, deadline: Duration) {
        let now = Instant::now();
        self.due = now + deadline / 2;
        self.early = now + deadline * 3 / 8;
    }
}

/// The leases whose messages have not all been settled. Their number is bounded by the worker's
/// concurrency and its settle queue.
#[derive(Debug, Default)]
pub(super) struct LeaseBook {
    held: Mutex<HashMap<Receipt, Held>>,
    added: Notify,
}

impl LeaseBook {
    fn held(&self) -> MutexGuard<'_, HashMap<Receipt, Held>> {
        // No code panics while holding it, and its numbers would still be the best there are.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease came, just now.
    pub(super) fn add(&self, lease: &Lease) {
        let messages = lease.deliveries.len();
        if messages == 0 {
            return;
        }
        let now = Instant::now();
        let mut held =
            Held { running: messages, unsettled: messages, early: now, due: now, lost: false };
        held.renew(lease.deadline);
        self.held().insert(lease.receipt, held);
        self.added.notify_one();
    }

    /// One of the lease's messages has its verdict.
    pub(super) fn ended(&self, receipt: Receipt) {
        if let Some(held) = self.held().get_mut(&receipt) {
            held.running = held.running.saturating_sub(1);
        }
    }

    /// So many verdicts of the lease have been settled, or given up.
    pub(super) fn settled(&self, receipt: Receipt, verdicts: usize) {
        let mut all = self.held();
        if let Some(held) = all.get_mut(&receipt) {
            held.unsettled = held.unsettled.saturating_sub(verdicts);
            if held.unsettled == 0 {
                all.remove(&receipt);
            }
        }
    }

    /// Whether the lease is known to have been swept.
    pub(super) fn is_lost(&self, receipt: Receipt) -> bool {
        self.held().get(&receipt).is_some_and(|held| held.lost)
    }

    fn next_due(&self) -> Option<Instant> {
        self.held().values().filter(|held| !held.lost).map(|held| held.due).min()
    }

    fn to_extend(&self, most: usize) -> Vec<Receipt> {
        let now = Instant::now();
        let all = self.held();
        let mut due: Vec<_> = all.iter().filter(|(_, h)| !h.lost && h.early <= now).collect();
        due.sort_by_key(|(_, held)| held.due);
        due.into_iter().take(most).map(|(receipt, _)| *receipt).collect()
    }

    fn extended(&self, receipt: Receipt, deadline: Option<Duration>) {
        // One that has meanwhile been settled is no longer here, and nobody's concern.
        if let Some(held) = self.held().get_mut(&receipt) {
            match deadline {
                Some(deadline) => held.renew(deadline),
                None => {
                    held.lost = true;
                    // With no message running, its settle may just have closed it.
                    if held.running > 0 {
                        let running = held.running;
                        tracing::warn!(
                            %receipt, running,
                            "a lease ran out: its messages come again, and their results here are void"
                        );
                    }
                }
            }
        }
    }
}

/// Extends the leases in the book, until `stop`.
pub(super) async fn keep<S: Source>(
    source: &S,
    book: &LeaseBook,
    limits: &WorkerLimits,
    stop: &CancellationToken,
) {
    let mut outage = Outage::new("extend", limits.outage);
    let work = async {
        loop {
            match book.next_due() {
                None => {
                    book.added.notified().await;
                    continue;
                }
                Some(due) => tokio::select! {
                    // A lease with a shorter deadline may have come.
                    () = book.added.notified() => continue,
                    () = sleep_until(due) => {}
                },
            }
            let receipts = book.to_extend(limits.extend_batch);
            if receipts.is_empty() {
                continue;
            }
            match source.extend(receipts.clone()).await {
                Ok(deadlines) => {
                    outage.worked();
                    for (receipt, deadline) in receipts.into_iter().zip(deadlines) {
                        book.extended(receipt, deadline);
                    }
                }
                Err(error @ BrokerError::Unsupported { .. }) => {
                    tracing::info!(%error, "messages that take longer than their deadline may come again");
                    return;
                }
                Err(error) => sleep(outage.failed(&error)).await,
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Delivery, MessageKey};

    fn lease(n: u128, messages: u16, deadline: Duration) -> Lease {
        let receipt = Receipt(Uuid::from_u128(n));
        let id = MessageKey::new(b"k").id(1, 1);
        let delivery = |position| Delivery {
            receipt,
            position,
            id,
            attempt: 1,
            origin: None,
            data: "{}".into(),
            attributes: None,
            created_ms: 0,
            expires_ms: None,
        };
        Lease { receipt, deadline, deliveries: (0..messages).map(delivery).collect() }
    }

    #[test]
    fn a_lease_is_held_until_its_last_message_is_settled() {
        let book = LeaseBook::default();
        let lease = lease(1, 3, Duration::ZERO);
        book.add(&lease);
        book.settled(lease.receipt, 2);
        assert_eq!(book.to_extend(9), [lease.receipt]);
        book.extended(lease.receipt, None);
        assert!(book.is_lost(lease.receipt));
        assert_eq!(book.next_due(), None);
        book.settled(lease.receipt, 1);
        assert!(!book.is_lost(lease.receipt) && book.held().is_empty());
    }

    #[test]
    fn the_oldest_go_first_and_an_extended_one_waits_anew() {
        let book = LeaseBook::default();
        for n in 1..=3 {
            book.add(&lease(n, 1, Duration::ZERO));
        }
        let receipt = |n| Receipt(Uuid::from_u128(n));
        assert_eq!(book.to_extend(2).len(), 2);
        book.extended(receipt(1), Some(Duration::from_secs(60)));
        assert!(!book.to_extend(9).contains(&receipt(1)));
        book.extended(receipt(9), Some(Duration::ZERO));
        assert_eq!(book.held().len(), 3);
    }
}
