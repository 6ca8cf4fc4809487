//! A channel that deliveries come on, and what is in hands of it.
//!
//! The server knows a delivery by its channel and a number. A lane remembers what it brought until
//! that is settled: the message, because giving it back later or to the dead means sending it anew,
//! and until when it may be held, because RabbitMQ knows no such deadline. One lane serves one queue
//! and one take at a time; what earlier takes brought may be in hands meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, join_all};
use lapin::options::{BasicAckOptions, BasicQosOptions, BasicRejectOptions, ChannelFlowOptions};
use lapin::types::DeliveryTag;
use lapin::{BasicProperties, Channel};
use tokio::time::Instant;

use super::link::within;
use super::trouble::Trouble;
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
    prefetch: AtomicU16,
    takes: AtomicU64,
    hands: Mutex<Hands>,
    /// Settlements are decided and written one after another: an ack of all up to a number must not
    /// overtake one that it covers.
    settling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Hands {
    /// What the server waits for an answer about.
    open: BTreeSet<DeliveryTag>,
    /// The same, save what is being settled just now.
    held: HashMap<DeliveryTag, Held>,
    /// Every delivery up to this one was brought here. One that the server sent for a consumer that was
    /// gone was not, and an ack of all up to a later one would end it.
    seen: DeliveryTag,
}

impl Hands {
    /// Takes these off what is open, ascending as they are; answers how many of the first of them
    /// the server may be told of at once, because nothing else is open below the last of those.
    fn close(&mut self, tags: &[DeliveryTag], end: End) -> usize {
        let together = match end {
            End::Ack => {
                let seen = self.seen;
                let run = tags.iter().zip(&self.open);
                run.take_while(|(tag, open)| tag == open && **tag <= seen).count()
            }
            End::Requeue => 0,
        };
        for tag in tags {
            self.open.remove(tag);
        }
        together
    }
}

/// What is in hands.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) until: Instant,
    pub(super) attempt: u32,
    pub(super) body: Bytes,
    pub(super) properties: BasicProperties,
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
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.lane.hands().held.insert(self.tag, held);
        }
    }
}

impl Lane {
    pub(super) fn new(id: u64, generation: u64, queue: QueueName, channel: Channel) -> Self {
        Self {
            id,
            generation,
            queue,
            channel,
            prefetch: AtomicU16::new(0),
            takes: AtomicU64::new(0),
            hands: Mutex::default(),
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

    /// The name of the next consumer. Each take has its own, for the server tells late deliveries of
    /// a cancelled consumer by it.
    pub(super) fn consumer(&self) -> String {
        format!("take-{}", self.takes.fetch_add(1, Ordering::Relaxed))
    }

    /// The next consumer holds no more than this.
    pub(super) async fn limit(&self, most: u16, wait: Duration) -> Result<(), Trouble> {
        if self.prefetch.load(Ordering::Relaxed) != most {
            within(wait, self.channel.basic_qos(most, BasicQosOptions::default())).await?;
            self.prefetch.store(most, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn hold(&self, tag: DeliveryTag, held: Held) {
        let mut hands = self.hands();
        if tag == hands.seen + 1 {
            hands.seen = tag;
        }
        hands.open.insert(tag);
        hands.held.insert(tag, held);
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

    /// Settles deliveries of this lane, and answers when the server has read it.
    ///
    /// Cancellation safety: dropped before anything was written, they are in hands as before.
    ///
    /// # Errors
    /// [`Trouble`]: the lane is no good any more, and its deliveries come again unless they were
    /// settled.
    pub(super) async fn settle(
        &self,
        claims: Vec<Claim>,
        end: End,
        wait: Duration,
    ) -> Result<(), Trouble> {
        let _one = self.settling.lock().await;
        let mut tags = Vec::with_capacity(claims.len());
        for mut claim in claims {
            claim.held = None;
            tags.push(claim.tag);
        }
        tags.sort_unstable();
        let together = self.hands().close(&tags, end);
        let settle = |tag: DeliveryTag, multiple: bool| -> BoxFuture<'_, lapin::Result<()>> {
            match end {
                End::Ack => self.channel.basic_ack(tag, BasicAckOptions { multiple }).boxed(),
                // Told one by one, for servers from 4.3 on count only those as deliveries.
                End::Requeue => {
                    self.channel.basic_reject(tag, BasicRejectOptions { requeue: true }).boxed()
                }
            }
        };
        let first = together.checked_sub(1).map(|last| settle(tags[last], together > 1));
        let others = tags[together..].iter().map(|tag| settle(*tag, false));
        let written = join_all(first.into_iter().chain(others));
        let read = async {
            for written in written.await {
                written?;
            }
            // Acks have no answer. What is asked behind them has one.
            self.channel.channel_flow(ChannelFlowOptions { active: true }).await.map(drop)
        };
        within(wait, read).await
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_from_the_lowest_that_is_open_ends_at_once() {
        let mut hands = Hands { open: (1..=10).collect(), seen: 10, ..Hands::default() };
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
        // The third was for a consumer that was gone.
        let mut hands = Hands { open: [1, 2, 4, 5].into(), seen: 2, ..Hands::default() };
        assert_eq!(hands.close(&[1, 2, 4, 5], End::Ack), 2);
        assert!(hands.open.is_empty());
    }
}
