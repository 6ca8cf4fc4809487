//! The calls on the log that are joined: receives of one queue, and settles.

use std::sync::Arc;

use tokio::runtime::Handle;
use uuid::Uuid;

use super::join::Joined;
use super::wake::Bell;
use crate::domain::{Settled, Settlement, Verdict};
use crate::store::Store;
use crate::store::log::{Emptiness, HandedLease, LogError, QueueId, Received};

/// A failure that several callers are told of.
pub(super) type SharedError = Arc<LogError>;

/// What one of several receives brought.
#[derive(Debug)]
pub(super) enum Share {
    /// Some leases.
    Leases(Parcel),
    /// Nothing: the others got all that this step took. There may be more.
    Short,
    /// Nothing, for nobody.
    Empty(Emptiness),
}

/// Leases on their way to a caller. Dropped before it was opened, because the caller has gone away,
/// it hands them back: they need not wait for their deadline.
#[derive(Debug)]
pub(super) struct Parcel {
    leases: Vec<HandedLease>,
    store: Store,
    bell: Bell,
}

impl Parcel {
    /// What is in it.
    pub(super) fn leases(&self) -> &[HandedLease] {
        &self.leases
    }

    /// The caller has it.
    pub(super) fn open(mut self) -> Vec<HandedLease> {
        std::mem::take(&mut self.leases)
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        let leases = std::mem::take(&mut self.leases);
        if leases.is_empty() {
            return;
        }
        // Without a runtime the process is at its end, and deadlines do the rest.
        let Ok(runtime) = Handle::try_current() else { return };
        let (store, bell) = (self.store.clone(), self.bell.clone());
        runtime.spawn(async move {
            let released: Vec<(Uuid, Vec<Settlement>)> = leases
                .iter()
                .map(|lease| {
                    let release = |position| Settlement { position, verdict: Verdict::Release };
                    let positions = lease.messages.iter().map(|message| message.position);
                    (lease.receipt, positions.map(release).collect())
                })
                .collect();
            match store.log.settle(&released, &mut fastrand::f64).await {
                Ok(_) => bell.ring(),
                Err(error) => {
                    tracing::warn!(%error, "messages that nobody waits for come at their deadline");
                }
            }
        });
    }
}

/// Receives: those that ask the same number of messages of the same queue go together.
#[derive(Debug)]
pub(super) struct Receives {
    pub(super) store: Store,
    /// Rings when what was received is handed back.
    pub(super) bell: Bell,
}

impl Joined for Receives {
    type Ask = (QueueId, usize);
    type Answer = Result<Share, SharedError>;

    fn fits(&self, group: &[Self::Ask], next: &Self::Ask) -> bool {
        group.first() == Some(next)
    }

    async fn step(&self, group: Vec<Self::Ask>) -> Vec<Self::Answer> {
        let Some(&(queue, max)) = group.first() else { return vec![] };
        let leases = match self.store.log.receive(queue, max, group.len()).await {
            Ok(Received::Leases(leases)) => leases,
            Ok(Received::Empty(why)) => {
                return group.iter().map(|_| Ok(Share::Empty(why))).collect();
            }
            Err(error) => {
                let error = Arc::new(error);
                return group.iter().map(|_| Err(Arc::clone(&error))).collect();
            }
        };
        let mut shares: Vec<Vec<HandedLease>> = group.iter().map(|_| vec![]).collect();
        for lease in leases {
            match shares.get_mut(lease.consumer) {
                Some(share) => share.push(lease),
                None => tracing::error!(receipt = %lease.receipt, "a lease for nobody"),
            }
        }
        let answer = |leases: Vec<HandedLease>| {
            if leases.is_empty() {
                return Share::Short;
            }
            let (store, bell) = (self.store.clone(), self.bell.clone());
            Share::Leases(Parcel { leases, store, bell })
        };
        shares.into_iter().map(|share| Ok(answer(share))).collect()
    }
}

/// One call of settle.
#[derive(Debug)]
pub(super) struct Settle {
    leases: Vec<(Uuid, Vec<Settlement>)>,
    /// Whether all of each lease is acked, as far as can be told from here.
    whole: bool,
}

impl Settle {
    pub(super) fn new(leases: Vec<(Uuid, Vec<Settlement>)>) -> Self {
        let acked = |(at, settlement): (usize, &Settlement)| {
            usize::from(settlement.position) == at
                && matches!(settlement.verdict, Verdict::Done { .. })
        };
        let whole = leases.iter().all(|(_, all)| all.iter().enumerate().all(acked));
        Self { leases, whole }
    }
}

/// Settles. A lease is settled once in a step, so that each call has its own answer about it. Leases
/// that are acked whole go apart from those that are not: the log does the two in two transactions,
/// and a step should be applied or not.
#[derive(Debug)]
pub(super) struct Settles(pub(super) Store);

impl Joined for Settles {
    type Ask = Settle;
    type Answer = Result<Vec<Settled>, SharedError>;

    fn fits(&self, group: &[Self::Ask], next: &Self::Ask) -> bool {
        let mut asked = group.iter().flat_map(|settle| &settle.leases).map(|(receipt, _)| receipt);
        group.iter().all(|settle| settle.whole == next.whole)
            && !asked.any(|receipt| next.leases.iter().any(|(other, _)| other == receipt))
    }

    async fn step(&self, group: Vec<Self::Ask>) -> Vec<Self::Answer> {
        let sizes: Vec<usize> = group.iter().map(|settle| settle.leases.len()).collect();
        let asked: Vec<_> = group.into_iter().flat_map(|settle| settle.leases).collect();
        match self.0.log.settle(&asked, &mut fastrand::f64).await {
            Ok(settled) => {
                let mut settled = settled.into_iter();
                sizes.iter().map(|size| Ok(settled.by_ref().take(*size).collect())).collect()
            }
            Err(error) if sizes.len() == 1 => vec![Err(Arc::new(error))],
            // What is wrong with one call may not fail the others: each alone, then.
            Err(_) => {
                let mut answers = vec![];
                let mut asked = asked.as_slice();
                for size in sizes {
                    let (own, rest) = asked.split_at(size);
                    asked = rest;
                    let settled = self.0.log.settle(own, &mut fastrand::f64).await;
                    answers.push(settled.map_err(Arc::new));
                }
                answers
            }
        }
    }
}
