//! What one socket's client holds: which delivery each id names, and until when it may be kept.
//!
//! A delivery whose deadline passed comes again elsewhere, so it no longer counts against the credit.
//! It is remembered for a while all the same: a late verdict on it is tried, and answered truthfully.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{Attempt, MessageId, Receipt, Settlement, Verdict};

/// Deliveries that are remembered beyond their deadline at most; older ones are forgotten.
const LAPSED: usize = 1_000;

/// A delivery in the client's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) receipt: Receipt,
    pub(super) position: u16,
    pub(super) attempt: Attempt,
    /// When it comes again if it has not been settled.
    pub(super) until: Instant,
}

/// The deliveries of one client, by message.
#[derive(Debug, Default)]
pub(super) struct Hands {
    held: HashMap<MessageId, Held>,
    lapsed: VecDeque<(MessageId, Held)>,
}

impl Hands {
    /// How many it holds whose deadline has not passed.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// A delivery came. One of the same message that was here before is void by that.
    pub(super) fn add(&mut self, id: MessageId, held: Held) {
        self.lapsed.retain(|(lapsed, _)| *lapsed != id);
        self.held.insert(id, held);
    }

    /// Takes the delivery that an id names, for a verdict on it.
    pub(super) fn take(&mut self, id: MessageId) -> Option<Held> {
        self.held.remove(&id).or_else(|| {
            let at = self.lapsed.iter().position(|(lapsed, _)| *lapsed == id)?;
            self.lapsed.remove(at).map(|(_, held)| held)
        })
    }

    /// Takes back a delivery whose verdict could not be carried out.
    pub(super) fn put_back(&mut self, id: MessageId, held: Held) {
        self.held.entry(id).or_insert(held);
    }

    /// The delivery that an id names.
    pub(super) fn get(&self, id: MessageId) -> Option<Held> {
        let lapsed = || self.lapsed.iter().find(|(lapsed, _)| *lapsed == id).map(|(_, held)| *held);
        self.held.get(&id).copied().or_else(lapsed)
    }

    /// How long a lease has to last so that a delivery may be kept for `wanted`, and none of the
    /// others is taken away sooner than promised: a lease has one deadline for all of it.
    pub(super) fn lasting(&self, receipt: Receipt, wanted: Duration, now: Instant) -> Duration {
        let left = self.held.values().filter(|held| held.receipt == receipt);
        left.map(|held| held.until.saturating_duration_since(now)).fold(wanted, Duration::max)
    }

    /// A lease lasts until then.
    pub(super) fn extended(&mut self, receipt: Receipt, until: Instant) {
        let mut of_lease = vec![];
        self.lapsed.retain(|(id, held)| {
            let again = held.receipt == receipt;
            if again {
                of_lease.push((*id, *held));
            }
            !again
        });
        for (id, held) in of_lease {
            self.held.entry(id).or_insert(held);
        }
        for held in self.held.values_mut().filter(|held| held.receipt == receipt) {
            held.until = until;
        }
    }

    /// A lease is known to be over.
    pub(super) fn lost(&mut self, receipt: Receipt) {
        self.lapse_where(|held| held.receipt == receipt);
    }

    /// When the next deadline passes.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.held.values().map(|held| held.until).min()
    }

    /// Sets aside what is past its deadline.
    pub(super) fn lapse(&mut self, now: Instant) {
        self.lapse_where(|held| held.until <= now);
    }

    fn lapse_where(&mut self, over: impl Fn(&Held) -> bool) {
        let lapsed: Vec<_> = self.held.extract_if(|_, held| over(held)).collect();
        self.lapsed.extend(lapsed);
        let surplus = self.lapsed.len().saturating_sub(LAPSED);
        self.lapsed.drain(..surplus);
    }

    /// Everything, to be handed back. What is past its deadline goes along: it may not have been
    /// swept yet.
    pub(super) fn release_all(&mut self) -> Vec<(Receipt, Vec<Settlement>)> {
        let mut leases: HashMap<Receipt, Vec<Settlement>> = HashMap::new();
        for (_, held) in self.held.drain().chain(self.lapsed.drain(..)) {
            let release = Settlement { position: held.position, verdict: Verdict::Release };
            leases.entry(held.receipt).or_default().push(release);
        }
        leases.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::MessageKey;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(n: u64) -> MessageId {
        MessageKey::new(b"k").id(1, n)
    }

    fn held(lease: u128, position: u16, until: Instant) -> Held {
        Held { receipt: Receipt(Uuid::from_u128(lease)), position, attempt: 1, until }
    }

    #[test]
    fn credit_comes_back_at_the_deadline_and_the_delivery_is_remembered() {
        let (mut hands, now) = (Hands::default(), Instant::now());
        hands.add(id(1), held(1, 0, now + SECOND));
        hands.add(id(2), held(1, 1, now + SECOND * 3));
        assert_eq!(hands.next_deadline(), Some(now + SECOND));
        hands.lapse(now + SECOND);
        assert_eq!((hands.len(), hands.next_deadline()), (1, Some(now + SECOND * 3)));
        assert_eq!(hands.take(id(1)).map(|held| held.position), Some(0));
        assert_eq!(hands.take(id(1)), None);
        assert_eq!(hands.take(id(3)), None);
    }

    #[test]
    fn a_message_that_comes_again_is_named_by_its_newest_delivery() {
        let (mut hands, now) = (Hands::default(), Instant::now());
        hands.add(id(1), held(1, 0, now));
        hands.lapse(now);
        hands.add(id(1), held(2, 5, now + SECOND));
        assert_eq!(hands.take(id(1)).map(|held| held.position), Some(5));
        assert_eq!(hands.take(id(1)), None);
    }

    #[test]
    fn a_lease_is_never_made_shorter_by_one_of_its_messages() {
        let (mut hands, now) = (Hands::default(), Instant::now());
        let receipt = held(1, 0, now).receipt;
        hands.add(id(1), held(1, 0, now + SECOND * 10));
        hands.add(id(2), held(1, 1, now + SECOND * 10));
        assert_eq!(hands.lasting(receipt, SECOND, now), SECOND * 10);
        assert_eq!(hands.lasting(receipt, SECOND * 60, now), SECOND * 60);
        hands.extended(receipt, now + SECOND * 60);
        assert_eq!(hands.next_deadline(), Some(now + SECOND * 60));
        hands.lost(receipt);
        assert_eq!(hands.len(), 0);
    }

    #[test]
    fn everything_is_handed_back_and_forgetting_is_bounded() {
        let (mut hands, now) = (Hands::default(), Instant::now());
        for n in 0..LAPSED as u64 + 5 {
            hands.add(id(n), held(u128::from(n), 0, now));
        }
        hands.lapse(now);
        hands.add(id(1_000_000), held(0, 7, now + SECOND));
        let released = hands.release_all();
        let settlements: usize = released.iter().map(|(_, all)| all.len()).sum();
        assert_eq!(settlements, LAPSED + 1);
        assert!(
            released.iter().flat_map(|(_, all)| all).all(|one| one.verdict == Verdict::Release)
        );
        assert!(hands.release_all().is_empty());
    }
}
