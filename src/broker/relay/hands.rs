//! What this process has in hands: which deliveries of the carrier each receipt stands for.
//!
//! A receipt bears the mark of the process that made it, so that one of another process is told from
//! one that is over. The map is bounded: what is long past its deadline is forgotten, and a process
//! that has too much in hands takes no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::broker::carrier::Handle;
use crate::domain::{Attempt, Receipt};
use crate::store::control::QueueRecord;
use crate::store::log::{QueueId, UploadId};

/// Bytes of a receipt that say which process made it.
const MARK: usize = 6;
/// How often what is long over is looked for, at most.
const TIDY: Duration = Duration::from_secs(1);

/// A message in somebody's hands.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) number: i64,
    pub(super) upload: Option<UploadId>,
    pub(super) attempt: Attempt,
    pub(super) handle: Handle,
}

#[derive(Debug)]
struct HeldLease {
    queue: Arc<QueueRecord>,
    /// By position; nothing where it was settled, or is being settled.
    messages: Vec<Option<Held>>,
    until: Instant,
}

#[derive(Debug)]
struct Leases {
    leases: HashMap<Uuid, HeldLease>,
    holders: HashMap<(QueueId, i64), (Uuid, u16)>,
    tidied: Instant,
}

/// The leases of one process.
#[derive(Debug)]
pub(super) struct Hands {
    mark: [u8; MARK],
    most: usize,
    late: Duration,
    leases: Mutex<Leases>,
}

/// What a receipt was for, of the positions asked.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) receipt: Receipt,
    /// The queue; nothing when the receipt is over.
    pub(super) queue: Option<Arc<QueueRecord>>,
    /// In the order asked; nothing where there is nothing to settle any more.
    pub(super) messages: Vec<(u16, Option<Held>)>,
}

/// What of a receipt is not settled: its queue, and its deliveries.
type Open = (Arc<QueueRecord>, Vec<Handle>);

/// The receipt was made by another process.
#[derive(Debug)]
pub(super) struct OfAnother;

impl Hands {
    pub(super) fn new(most: usize, late: Duration) -> Self {
        let mut mark = [0; MARK];
        mark.copy_from_slice(&Uuid::new_v4().as_bytes()[..MARK]);
        let leases =
            Leases { leases: HashMap::new(), holders: HashMap::new(), tidied: Instant::now() };
        Self { mark, most, late, leases: Mutex::new(leases) }
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        // Changed entry by entry, so one that a panic left behind is still good.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, receipt: Receipt) -> Result<(), OfAnother> {
        if receipt.0.as_bytes().starts_with(&self.mark) { Ok(()) } else { Err(OfAnother) }
    }

    /// How many more messages there is room for.
    pub(super) fn room(&self) -> usize {
        let mut all = self.leases();
        if all.tidied.elapsed() >= TIDY {
            all.tidied = Instant::now();
            all.tidy(self.late);
        }
        self.most.saturating_sub(all.holders.len())
    }

    /// Takes messages of a queue in, and makes their receipt.
    pub(super) fn add(&self, queue: Arc<QueueRecord>, messages: Vec<Held>) -> Receipt {
        let mut id = *Uuid::new_v4().as_bytes();
        id[..MARK].copy_from_slice(&self.mark);
        let id = Uuid::from_bytes(id);
        let until = Instant::now() + queue.terms.deadline;
        let mut all = self.leases();
        for (position, held) in (0..).zip(&messages) {
            all.holders.insert((queue.id, held.number), (id, position));
        }
        let messages = messages.into_iter().map(Some).collect();
        all.leases.insert(id, HeldLease { queue, messages, until });
        Receipt(id)
    }

    /// Takes out what is to be settled; until it is put back, nobody else can settle it.
    pub(super) fn claim(
        &self,
        receipt: Receipt,
        positions: impl Iterator<Item = u16>,
    ) -> Result<Claimed, OfAnother> {
        self.check(receipt)?;
        let mut all = self.leases();
        let Leases { leases, holders, .. } = &mut *all;
        let Some(lease) = leases.get_mut(&receipt.0) else {
            let messages = positions.map(|position| (position, None)).collect();
            return Ok(Claimed { receipt, queue: None, messages });
        };
        let mut take = |position: u16| {
            let held = lease.messages.get_mut(usize::from(position))?.take()?;
            let key = (lease.queue.id, held.number);
            if holders.get(&key) == Some(&(receipt.0, position)) {
                holders.remove(&key);
            }
            Some(held)
        };
        let messages = positions.map(|position| (position, take(position))).collect();
        let queue = Some(Arc::clone(&lease.queue));
        if lease.messages.iter().all(Option::is_none) {
            leases.remove(&receipt.0);
        }
        Ok(Claimed { receipt, queue, messages })
    }

    /// Takes back what could not be settled.
    pub(super) fn put_back(&self, claimed: Claimed) {
        let Some(queue) = claimed.queue else { return };
        let id = claimed.receipt.0;
        let mut all = self.leases();
        for (position, held) in claimed.messages {
            let Some(held) = held else { continue };
            all.holders.entry((queue.id, held.number)).or_insert((id, position));
            let lease = all.leases.entry(id).or_insert_with(|| HeldLease {
                queue: Arc::clone(&queue),
                messages: vec![],
                until: Instant::now(),
            });
            let at = usize::from(position);
            if lease.messages.len() <= at {
                lease.messages.resize(at + 1, None);
            }
            lease.messages[at] = Some(held);
        }
    }

    /// The deliveries of a receipt that are not settled; none when it is over.
    pub(super) fn handles(&self, receipt: Receipt) -> Result<Option<Open>, OfAnother> {
        self.check(receipt)?;
        let all = self.leases();
        Ok(all.leases.get(&receipt.0).map(|lease| {
            let handles = lease.messages.iter().flatten().map(|held| held.handle.clone());
            (Arc::clone(&lease.queue), handles.collect())
        }))
    }

    /// A receipt lasts for so long from now.
    pub(super) fn extended(&self, receipt: Receipt, lasting: Duration) {
        if let Some(lease) = self.leases().leases.get_mut(&receipt.0) {
            lease.until = Instant::now() + lasting;
        }
    }

    /// A receipt is known to be over.
    pub(super) fn over(&self, receipt: Receipt) {
        let mut all = self.leases();
        all.leases.remove(&receipt.0);
        all.holders.retain(|_, (id, _)| *id != receipt.0);
    }

    /// Who has a message in hands, in this process.
    pub(super) fn holder(&self, queue: QueueId, number: i64) -> Option<(Receipt, u16)> {
        let (id, position) = *self.leases().holders.get(&(queue, number))?;
        Some((Receipt(id), position))
    }
}

impl Leases {
    fn tidy(&mut self, late: Duration) {
        let now = Instant::now();
        self.leases.retain(|_, lease| lease.until + late > now);
        let Self { leases, holders, .. } = self;
        holders.retain(|_, (id, _)| leases.contains_key(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::control::QueueTerms;

    fn queue() -> Arc<QueueRecord> {
        Arc::new(QueueRecord {
            id: QueueId(1),
            name: "rows".parse().unwrap(),
            terms: QueueTerms { deadline: Duration::from_secs(10), ..QueueTerms::default() },
            created_at: 0,
            updated_at: 0,
        })
    }

    fn held(number: i64) -> Held {
        Held { number, upload: None, attempt: 1, handle: Handle(number.to_string()) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_position_is_settled_once_and_what_failed_can_be_tried_again() {
        let hands = Hands::new(10, Duration::from_secs(5));
        let receipt = hands.add(queue(), vec![held(7), held(8)]);
        assert_eq!((hands.room(), hands.holder(QueueId(1), 8)), (8, Some((receipt, 1))));
        let claimed = hands.claim(receipt, [1, 1, 5].into_iter()).unwrap();
        let there: Vec<bool> = claimed.messages.iter().map(|(_, held)| held.is_some()).collect();
        assert_eq!(there, [true, false, false]);
        assert_eq!(hands.holder(QueueId(1), 8), None);
        let all = hands.claim(receipt, [0].into_iter()).unwrap();
        hands.put_back(claimed);
        hands.put_back(all);
        assert_eq!(hands.handles(receipt).unwrap().unwrap().1.len(), 2);
        assert_eq!(hands.room(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receipt_is_known_for_a_while_after_its_deadline() {
        let hands = Hands::new(1, Duration::from_secs(5));
        let receipt = hands.add(queue(), vec![held(7)]);
        tokio::time::advance(Duration::from_secs(14)).await;
        assert_eq!(hands.room(), 0);
        assert!(hands.handles(receipt).unwrap().is_some(), "it may be late");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(hands.room(), 1);
        assert!(hands.handles(receipt).unwrap().is_none());
        let other = Hands::new(1, Duration::ZERO).add(queue(), vec![held(1)]);
        assert!(hands.handles(other).is_err() && hands.claim(other, [0].into_iter()).is_err());
    }
}
