//! What a keeper does for messages in a carrier: the deaths of rows that an engine moved to a dead
//! queue by itself are recorded where they died.

use std::fmt;

use futures::future::BoxFuture;

use super::Relay;
use super::parcels::{Came, came};
use crate::broker::carrier::{Carrier, Handle, Taken};
use crate::broker::error::BrokerError;
use crate::broker::keeper::Chore;

/// Rounds from one look to the next.
const EVERY: u32 = 5;
/// Queues that are looked at.
const QUEUES: u64 = 1_000;

/// The chore of a relay.
pub(super) struct Drain<C> {
    relay: Relay<C>,
    rounds: u32,
}

impl<C> fmt::Debug for Drain<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Drain(..)")
    }
}

impl<C: Carrier> Drain<C> {
    /// The chore of this one.
    pub(super) fn new(relay: Relay<C>) -> Self {
        Self { relay, rounds: 0 }
    }

    async fn look(&self) -> Result<(), BrokerError> {
        let inner = &self.relay.0;
        if self.rounds == 1 {
            // So that other programs find them, before anything is published.
            for queue in inner.store.control.queue_records(0, QUEUES).await? {
                inner.queue(&queue.name).await?;
            }
        }
        if !inner.carrier.abilities().peek {
            // Then they are recorded when they are taken, or redriven.
            return Ok(());
        }
        for queue in inner.store.control.queue_records(0, QUEUES).await? {
            let Some(name) = &queue.terms.dead_queue else { continue };
            let dead = inner.queue(name).await?;
            let seen = inner.carrier.peek(name, inner.limits.drained).await?;
            let now_ms = inner.store.clock.now_ms();
            let came: Vec<Came> = seen
                .into_iter()
                .map(|parcel| Taken {
                    id: Some(parcel.id),
                    data: parcel.data,
                    attributes: parcel.attributes,
                    attempt: u32::from(queue.terms.max_deliveries.unwrap_or(1)),
                    handle: Handle(String::new()),
                })
                .map(|taken| came(&inner.key, dead.id, now_ms, taken))
                .collect();
            inner.store.log.record_ends(&inner.deaths_elsewhere(dead.id, &came)).await?;
        }
        Ok(())
    }
}

impl<C: Carrier> Chore for Drain<C> {
    fn round(&mut self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.rounds = self.rounds.wrapping_add(1);
        Box::pin(async { if self.rounds % EVERY == 1 { self.look().await } else { Ok(()) } })
    }
}
