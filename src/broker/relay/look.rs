//! How queues over a carrier stand, and what waits in them.

use super::Inner;
use super::parcels::came;
use crate::broker::carrier::{Carrier, CarrierDepth, Handle, Taken};
use crate::broker::error::BrokerError;
use crate::domain::{Depth, Message, MessageId, MessageState, QueueName, QueueStats};
use crate::store::log::QueueId;

impl<C: Carrier> Inner<C> {
    /// The queue and the number that an id stands for, if it is one of this installation.
    pub(super) fn opened(&self, id: MessageId) -> Option<(QueueId, i64)> {
        let (queue, number) = self.key.open(id)?;
        Some((QueueId(i32::try_from(queue).ok()?), i64::try_from(number).ok()?))
    }

    async fn depth(&self, name: &QueueName) -> Result<CarrierDepth, BrokerError> {
        self.queue(name).await?;
        self.carrier.depth(name).await.map_err(|error| self.failed(name, error))
    }

    /// What is in a queue is the carrier's to say, how fast it moves the ledger's: as far as ends are
    /// recorded and what comes are rows.
    pub(super) async fn stats(&self, name: &QueueName) -> Result<QueueStats, BrokerError> {
        let queue = self.queue(name).await?;
        let there = self.depth(name).await?;
        let dead = match &queue.terms.dead_queue {
            Some(dead) => self.depth(dead).await?,
            None => CarrierDepth::default(),
        };
        let recorded = self.store.log.stats(queue.id, None).await?;
        Ok(QueueStats {
            depth: Depth {
                ready: there.waiting,
                delayed: there.delayed.unwrap_or(0),
                held: 0,
                in_flight: there.in_hands.unwrap_or(0),
            },
            dead: dead.waiting + dead.delayed.unwrap_or(0) + dead.in_hands.unwrap_or(0),
            oldest: None,
            ..recorded
        })
    }

    pub(super) async fn peek(
        &self,
        name: &QueueName,
        limit: usize,
    ) -> Result<Vec<Message>, BrokerError> {
        let queue = self.queue(name).await?;
        let parcels = self.carrier.peek(name, limit).await;
        let parcels = parcels.map_err(|error| self.failed(name, error))?;
        let now_ms = self.store.clock.now_ms();
        let mut messages = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            let delay = i64::try_from(parcel.delay.as_millis()).unwrap_or(i64::MAX);
            let seen = Taken {
                id: Some(parcel.id).filter(|id| !id.is_empty()),
                data: parcel.data,
                attributes: parcel.attributes,
                attempt: 1,
                handle: Handle(String::new()),
            };
            let mut seen = came(&self.key, queue.id, now_ms, seen);
            // What is no message is found out, and dead, when it is taken.
            let Some(data) = seen.text() else { continue };
            messages.push(Message {
                id: self.id_of(queue.id, seen.number),
                queue: name.clone(),
                state: MessageState::Waiting,
                origin: seen.origin(),
                data,
                attributes: seen.attributes_json()?,
                attempts: 0,
                created_ms: seen.created_ms,
                scheduled_ms: now_ms.saturating_add(delay),
                expires_ms: seen.expires_ms,
                updated_ms: seen.created_ms,
                reason: seen.reason.take().map(Into::into),
            });
        }
        Ok(messages)
    }
}
