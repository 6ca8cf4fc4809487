//! What [`SqlBroker`] tells of messages without handing them out, and what is asked of deliveries by
//! their receipts alone.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::error::BrokerError;
use super::sql::SqlBroker;
use crate::domain::{Message, MessageId, QueueName, Receipt};
use crate::store::log::{QueueId, Seen};

impl SqlBroker {
    pub(super) async fn extend_leases(
        &self,
        receipts: Vec<Receipt>,
        lasting: Option<Duration>,
    ) -> Result<Vec<Option<Duration>>, BrokerError> {
        let asked: Vec<Uuid> = receipts.iter().map(|receipt| receipt.0).collect();
        let extended: HashMap<Uuid, Duration> =
            self.store().log.extend(&asked, lasting).await?.into_iter().collect();
        Ok(asked.iter().map(|receipt| extended.get(receipt).copied()).collect())
    }

    pub(super) async fn holder_of(
        &self,
        id: MessageId,
    ) -> Result<Option<(Receipt, u16)>, BrokerError> {
        let Some((queue, message)) = self.open_id(id) else { return Ok(None) };
        let holder = self.store().log.holder(queue, message).await?;
        Ok(holder.map(|(receipt, position)| (Receipt(receipt), position)))
    }

    pub(super) async fn look_at(
        &self,
        name: &QueueName,
        limit: usize,
    ) -> Result<Vec<Message>, BrokerError> {
        let queue = self.queue(name).await?.id;
        let seen = self.store().log.peek(queue, limit).await?;
        let mut messages = Vec::with_capacity(seen.len());
        for seen in seen {
            messages.push(self.seen(queue, name.clone(), seen).await?);
        }
        Ok(messages)
    }

    pub(super) async fn look_up(&self, id: MessageId) -> Result<Option<Message>, BrokerError> {
        let Some((queue, message)) = self.open_id(id) else { return Ok(None) };
        let Some(seen) = self.store().log.message(queue, message).await? else { return Ok(None) };
        // Deleted between the two: then it is gone.
        let Some(name) = self.store().control.queue_name(queue).await? else { return Ok(None) };
        self.seen(queue, name, seen).await.map(Some)
    }

    async fn seen(
        &self,
        queue: QueueId,
        name: QueueName,
        seen: Seen,
    ) -> Result<Message, BrokerError> {
        let origin = match (seen.upload, seen.place) {
            (Some(upload), Some(place)) => Some(self.upload(upload).await?.origin(place)),
            _ => None,
        };
        Ok(Message {
            id: self.id_of(queue, seen.id),
            queue: name,
            state: seen.state,
            origin,
            data: seen.data,
            attributes: seen.attributes,
            attempts: seen.attempts,
            created_ms: seen.created_ms,
            scheduled_ms: seen.scheduled_ms,
            expires_ms: seen.expires_ms,
            updated_ms: seen.updated_ms,
            reason: seen.reason,
        })
    }
}
