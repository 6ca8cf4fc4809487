//! Settles verdicts: those that arrive within a few milliseconds go into one durable call, because
//! a commit costs the same for one as for hundreds.
//!
//! A call that fails is made again, unchanged, until it succeeds or the worker gives up: asking
//! twice is safe by the contract. If the answer to a call that was applied is lost, its verdicts
//! are reported stale by the second, although they count.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::leases::LeaseBook;
use super::outage::Outage;
use super::{Observer, Summary, WorkerLimits};
use crate::broker::{BrokerError, Source};
use crate::domain::{Receipt, Settled, Settlement, Verdict};

/// The verdict on one delivery, on its way to being settled.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) receipt: Receipt,
    pub(super) settlement: Settlement,
}

/// Settles everything that comes out of `inbox` until its senders are gone; after `give_up`, drops
/// it and counts it as unsettled. Answers the counts of what was settled; the rest of the summary
/// is zero.
pub(super) async fn settle_all<S: Source, O: Observer>(
    source: &S,
    mut inbox: mpsc::Receiver<Ended>,
    book: &LeaseBook,
    observer: &O,
    limits: &WorkerLimits,
    give_up: &CancellationToken,
) -> Summary {
    let mut summary = Summary::default();
    let mut outage = Outage::new("settle", limits.outage);
    while let Some(first) = inbox.recv().await {
        let mut pending = vec![first];
        gather(&mut inbox, &mut pending, limits.settle_batch, limits.settle_gather).await;
        let released = pending.iter().filter(|e| e.settlement.verdict == Verdict::Release).count();
        let messages = pending.len();
        let batch = by_lease(pending);
        let settled = give_up.run_until_cancelled(settle(source, batch.clone(), &mut outage)).await;
        match settled {
            None => summary.unsettled += messages as u64,
            Some(answers) => {
                summary.released += released as u64;
                for settled in &answers {
                    summary.done += u64::from(settled.done);
                    summary.dead += u64::from(settled.dead);
                    summary.again += u64::from(settled.again);
                    summary.stale += settled.stale.len() as u64;
                    observer.settled(settled);
                }
            }
        }
        for (receipt, settlements) in &batch {
            book.settled(*receipt, settlements.len());
        }
    }
    summary
}

/// Adds to `pending` what arrives in the given time, up to `most` in all.
async fn gather(
    inbox: &mut mpsc::Receiver<Ended>,
    pending: &mut Vec<Ended>,
    most: usize,
    time: Duration,
) {
    let until = Instant::now() + time;
    while pending.len() < most {
        let room = most - pending.len();
        match timeout_at(until, inbox.recv_many(pending, room)).await {
            Ok(n) if n > 0 => {}
            // The time is over, or there will be no more.
            _ => return,
        }
    }
}

fn by_lease(ended: Vec<Ended>) -> Vec<(Receipt, Vec<Settlement>)> {
    let mut places = HashMap::new();
    let mut leases: Vec<(Receipt, Vec<Settlement>)> = Vec::new();
    for Ended { receipt, settlement } in ended {
        let place = *places.entry(receipt).or_insert_with(|| {
            leases.push((receipt, Vec::new()));
            leases.len() - 1
        });
        leases[place].1.push(settlement);
    }
    leases
}

async fn settle<S: Source>(
    source: &S,
    batch: Vec<(Receipt, Vec<Settlement>)>,
    outage: &mut Outage,
) -> Vec<Settled> {
    loop {
        match source.settle(batch.clone()).await {
            Ok(answers) => {
                outage.worked();
                return answers;
            }
            Err(
                error @ (BrokerError::NoQueue(_)
                | BrokerError::NotAllowed(_)
                | BrokerError::Unsupported { .. }),
            ) => {
                // The queue was deleted, and its messages with it; or they come again for somebody
                // who may settle them, or where they can be settled.
                tracing::warn!(%error, "results are void");
                let positions = |(_, s): &(Receipt, Vec<Settlement>)| Settled {
                    stale: s.iter().map(|settlement| settlement.position).collect(),
                    ..Settled::default()
                };
                return batch.iter().map(positions).collect();
            }
            Err(error) => sleep(outage.failed(&error)).await,
        }
    }
}
