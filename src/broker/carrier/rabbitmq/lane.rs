//! A channel that deliveries come on, and what is in hands of it.
//!
//! The server knows a delivery by its channel and a number. A lane remembers what it brought until
//! that is settled: the message, because giving it back later or to the dead means sending it anew,
//! and until when it may be held, because RabbitMQ knows no such deadline. One lane serves one queue
//! and one take at a time; what earlier takes brought may be in hands meanwhile.
//!
//! A lane does not last. The server may believe that it sent something which never came, and returns
//! it only when the channel is closed: so a lane that is old, or on which a number was missing, serves
//! no more takes, and is closed as soon as nothing is in hands of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lapin::message::Delivery;
use lapin::types::DeliveryTag;
use lapin::{BasicProperties, Channel, Consumer};
use tokio::time::Instant;

use super::lost::Lost;
use super::settle::{self, Asked};
use crate::domain::QueueName;

/// How deliveries end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// They never come again.
    Ack,
    /// They are the next to come again.
    Requeue,
}

/// A channel of one queue.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) id: u64,
    pub(super) generation: u64,
    pub(super) queue: QueueName,
    pub(super) channel: Channel,
    /// How long the server may take to answer.
    pub(super) wait: Duration,
    /// Where what a node takes along is told, if there are several nodes.
    lost: Option<Arc<Lost>>,
    born: Instant,
    takes: AtomicU64,
    hands: Mutex<Hands>,
    /// What the next consumer may hold, as the server was told last.
    pub(super) prefetch: Mutex<u16>,
    /// What is to be settled, until whoever is next at `settling` writes all of it.
    pub(super) asked: Mutex<Vec<Asked>>,
    /// Settlements are decided and written one after another: an ack of all up to a number must not
    /// overtake one that it covers, nor a consumer that begins anew one that ends.
    pub(super) settling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
pub(super) struct Hands {
    /// What the server waits for an answer about, and the take that brought it.
    open: BTreeMap<DeliveryTag, u64>,
    /// The same, save what is being settled just now, and what came twice.
    held: HashMap<DeliveryTag, Held>,
    /// The consumers that keep what is open, by their takes, and a number of each.
    keepers: HashMap<u64, (u64, Consumer)>,
    /// Every delivery up to this one was brought here. One that was lost on the way was not, and an
    /// ack of all up to a later one would end it.
    seen: DeliveryTag,
    /// Takes whose consumer was told to end, and no other is known to keep what is in hands of them.
    bare: HashSet<u64>,
    /// What the server believes of this channel and what is known here differ.
    spoilt: bool,
}

impl Hands {
    fn count(&mut self, tag: DeliveryTag) {
        if tag == self.seen + 1 {
            self.seen = tag;
        } else {
            self.spoilt = true;
        }
    }

    /// Takes these off what is open, ascending as they are; answers how many of the first of them
    /// the server may be told of at once, because nothing else is open below the last of those.
    pub(super) fn close(&mut self, tags: &[DeliveryTag], end: End) -> usize {
        let together = match end {
            End::Ack => {
                let seen = self.seen;
                let run = tags.iter().zip(self.open.keys());
                run.take_while(|(tag, open)| tag == open && **tag <= seen).count()
            }
            End::Requeue => 0,
        };
        for tag in tags {
            self.open.remove(tag);
        }
        together
    }

    /// The take that brought what is open.
    pub(super) fn take_of(&self, tag: DeliveryTag) -> Option<u64> {
        self.open.get(&tag).copied()
    }

    /// How much of a take is open.
    pub(super) fn left(&self, take: u64) -> usize {
        self.open.values().filter(|of| **of == take).count()
    }

    /// The consumer of a take, which is to end.
    pub(super) fn dismiss(&mut self, take: u64) -> Option<Consumer> {
        self.keepers.remove(&take).map(|(_, consumer)| consumer)
    }

    /// Nobody keeps what is open of a take, for a moment.
    pub(super) fn bare(&mut self, take: u64) {
        self.bare.insert(take);
    }

    /// Somebody keeps it, or nothing is left to be kept.
    pub(super) fn covered(&mut self, take: u64) {
        self.bare.remove(&take);
    }

    /// Takes out what nobody keeps: a node of a cluster that is killed takes it along.
    fn unkept(&mut self) -> Vec<Held> {
        let Self { open, held, bare, .. } = self;
        let unkept = |tag: &DeliveryTag| open.get(tag).is_some_and(|take| bare.contains(take));
        held.extract_if(|tag, _| unkept(tag)).map(|(_, held)| held).collect()
    }

    /// Whether this consumer still is to keep what is in hands of its take.
    pub(super) fn wants(&self, take: u64, keeper: u64) -> bool {
        self.keepers.get(&take).is_some_and(|(number, _)| *number == keeper)
    }

    /// A delivery that nobody asked for: true when it is one in hands that came a second time, and
    /// ends with that.
    fn again(&mut self, take: u64, delivery: &Delivery) -> bool {
        let tag = delivery.delivery_tag;
        self.count(tag);
        let of_take = self.open.iter().filter(|(_, of)| **of == take).map(|(tag, _)| *tag);
        let same = |held: &Held| {
            held.body == delivery.data
                && held.properties.message_id() == delivery.properties.message_id()
        };
        let held = &self.held;
        let twin = of_take
            .filter_map(|tag| Some((held.get(&tag).filter(|held| same(held))?.also.len(), tag)))
            .min();
        let Some(held) = twin.and_then(|(_, twin)| self.held.get_mut(&twin)) else { return false };
        held.also.push(tag);
        self.open.insert(tag, take);
        true
    }
}

/// What is in hands.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) until: Instant,
    pub(super) attempt: u32,
    pub(super) body: Bytes,
    pub(super) properties: BasicProperties,
    /// Other deliveries of the same, which end with it.
    pub(super) also: Vec<DeliveryTag>,
}

/// A delivery that somebody is settling, and nobody else can. Dropped, it is in hands as before.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) lane: Arc<Lane>,
    tag: DeliveryTag,
    held: Option<Held>,
}

impl Claim {
    pub(super) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// It ends: its number, and what it was.
    pub(super) fn end(mut self) -> (DeliveryTag, Option<Held>) {
        (self.tag, self.held.take())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.lane.hands().held.insert(self.tag, held);
        }
    }
}

impl Lane {
    pub(super) fn new(
        id: u64,
        generation: u64,
        queue: QueueName,
        channel: Channel,
        wait: Duration,
        lost: Option<Arc<Lost>>,
    ) -> Self {
        Self {
            id,
            generation,
            queue,
            channel,
            wait,
            lost,
            born: Instant::now(),
            takes: AtomicU64::new(0),
            hands: Mutex::default(),
            prefetch: Mutex::default(),
            asked: Mutex::default(),
            settling: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn sound(&self) -> bool {
        self.channel.status().connected()
    }

    /// How many deliveries are unsettled.
    pub(super) fn load(&self) -> usize {
        self.hands().open.len()
    }

    /// When it is too old for takes to come.
    pub(super) fn old_at(&self, age: Duration) -> Instant {
        self.born + age
    }

    /// Whether it serves no more takes.
    pub(super) fn is_worn(&self, age: Duration) -> bool {
        self.is_spoilt() || self.old_at(age) <= Instant::now()
    }

    pub(super) fn is_spoilt(&self) -> bool {
        self.hands().spoilt
    }

    /// What could not be given back is as it was, but too late for anything else.
    pub(super) fn put_back(&self, kept: Vec<(DeliveryTag, u64, Held)>) {
        let (now, mut hands) = (Instant::now(), self.hands());
        for (tag, take, held) in kept {
            hands.open.insert(tag, take);
            hands.held.insert(tag, Held { until: now, ..held });
        }
    }

    pub(super) fn spoil(&self) {
        self.hands().spoilt = true;
    }

    /// The number of the next take, which its consumers are named after: the server tells late
    /// deliveries of a cancelled consumer by the name.
    pub(super) fn next_take(&self) -> u64 {
        self.takes.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn hold(&self, take: u64, tag: DeliveryTag, held: Held) {
        let mut hands = self.hands();
        hands.count(tag);
        hands.open.insert(tag, take);
        hands.held.insert(tag, held);
    }

    /// See [`Hands::again`].
    pub(super) fn came_again(&self, take: u64, delivery: &Delivery) -> bool {
        self.hands().again(take, delivery)
    }

    /// A consumer that keeps what is in hands of a take; it ends here when nothing is.
    pub(super) fn keep(&self, take: u64, number: u64, consumer: Consumer) {
        let mut hands = self.hands();
        hands.covered(take);
        if hands.left(take) > 0 {
            hands.keepers.insert(take, (number, consumer));
        }
    }

    /// A delivery to be settled; `None` when it is settled, being settled, or over.
    pub(super) fn claim(self: &Arc<Self>, tag: DeliveryTag) -> Option<Claim> {
        let mut hands = self.hands();
        // What is late is the warden's.
        let held = hands.held.remove(&tag)?;
        if held.until <= Instant::now() {
            hands.held.insert(tag, held);
            return None;
        }
        Some(Claim { lane: Arc::clone(self), tag, held: Some(held) })
    }

    /// What is in hands for too long, to be settled, and when the next will be.
    pub(super) fn late(self: &Arc<Self>) -> (Vec<Claim>, Option<Instant>) {
        let now = Instant::now();
        let mut hands = self.hands();
        let late: Vec<_> = hands.held.extract_if(|_, held| held.until <= now).collect();
        let next = hands.held.values().map(|held| held.until).min();
        let claim = |(tag, held)| Claim { lane: Arc::clone(self), tag, held: Some(held) };
        (late.into_iter().map(claim).collect(), next)
    }

    /// Moves a deadline; false when the delivery is over.
    pub(super) fn extend(&self, tag: DeliveryTag, until: Instant) -> bool {
        let mut hands = self.hands();
        let held = hands.held.get_mut(&tag).filter(|held| held.until > Instant::now());
        held.map(|held| held.until = until).is_some()
    }

    pub(super) fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let sound = self.channel.status().connected();
        let hands = self.hands.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(lost) = self.lost.as_ref().filter(|_| !sound) {
            lost.tell(&self.queue, hands.unkept());
        }
        if !hands.keepers.is_empty() {
            // The client closes a channel that nobody has, but for its own consumers. It is written
            // by being asked for; nobody waits for the answer.
            settle::hang_up(&self.channel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hands(open: &[DeliveryTag], seen: DeliveryTag) -> Hands {
        let open = open.iter().map(|tag| (*tag, 0)).collect();
        Hands { open, seen, ..Hands::default() }
    }

    #[test]
    fn only_a_run_from_the_lowest_that_is_open_ends_at_once() {
        let mut hands = hands(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 10);
        let mut close = |tags: &[DeliveryTag]| hands.close(tags, End::Ack);
        // 1 is open: an ack of all up to 4 would end it, too.
        assert_eq!(close(&[2, 3, 4]), 0);
        assert_eq!(close(&[1, 5, 6, 9]), 3, "what is settled before is in nobody's way");
        assert_eq!(close(&[7]), 1);
        assert_eq!(close(&[10]), 0);
        assert_eq!(hands.close(&[8], End::Requeue), 0, "each is told alone, so as to count");
        assert!(hands.open.is_empty());
    }

    #[test]
    fn what_was_sent_and_never_came_is_not_ended_with_others() {
        // The third was lost on the way.
        let mut hands = hands(&[1, 2, 4, 5], 2);
        assert_eq!(hands.close(&[1, 2, 4, 5], End::Ack), 2);
        assert!(hands.open.is_empty());
    }

    #[test]
    fn a_number_that_is_missing_spoils_the_lane() {
        let mut hands = Hands::default();
        hands.count(1);
        hands.count(2);
        assert!(!hands.spoilt);
        hands.count(4);
        assert!(hands.spoilt);
        assert_eq!(hands.seen, 2);
    }

    fn held(body: &'static str) -> Held {
        Held {
            until: Instant::now(),
            attempt: 1,
            body: Bytes::from(body),
            properties: BasicProperties::default(),
            also: Vec::new(),
        }
    }

    #[test]
    fn what_nobody_keeps_is_what_may_be_lost() {
        let mut hands = hands(&[1, 2], 4);
        hands.open.extend([(3, 1), (4, 2)]);
        hands.held.extend([(1, held("one")), (3, held("three")), (4, held("four"))]);
        hands.bare(0);
        hands.bare(2);
        hands.covered(2);
        let bodies: Vec<_> = hands.unkept().into_iter().map(|held| held.body).collect();
        assert_eq!(bodies, ["one"], "2 is being settled, and the others are kept");
        assert!(hands.unkept().is_empty());
        assert_eq!(hands.held.len(), 2);
    }

    fn delivery(tag: DeliveryTag, data: &str) -> Delivery {
        let properties = BasicProperties::default();
        let mut delivery = Delivery::mock(tag, "".into(), "".into(), true, data.into());
        delivery.properties = properties;
        delivery
    }

    #[test]
    fn what_comes_twice_ends_with_the_first_and_what_is_new_is_told() {
        let mut hands = hands(&[1, 2, 3], 3);
        hands.open.insert(3, 1);
        for (tag, body) in [(1, "one"), (2, "one"), (3, "three")] {
            hands.held.insert(tag, held(body));
        }
        assert!(hands.again(0, &delivery(4, "one")));
        assert!(hands.again(0, &delivery(5, "one")));
        assert!(!hands.again(0, &delivery(6, "three")), "another take's");
        assert!(!hands.again(0, &delivery(7, "two")));
        assert_eq!((&hands.held[&1].also, &hands.held[&2].also), (&vec![4], &vec![5]));
        assert_eq!((hands.left(0), hands.left(1)), (4, 1));
        assert!(!hands.spoilt, "each number is known");
    }
}
