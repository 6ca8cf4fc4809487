//! The simulated creation of `rowmill bench`: a broker that takes its time before each publish, or no
//! time. `serve` has the second: a server is generic over its broker, and with one broker for both
//! commands it is compiled once, and the server that is measured is the one that is shipped.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;

use crate::broker::{
    Broker, BrokerError, CopyOf, MessageBody, Once, Published, Publishing, RowBatch, Source, Ticket,
};
use crate::domain::{
    Lease, Message, MessageId, QueueName, QueueStats, Receipt, Settled, Settlement, TopicName,
};
use crate::store::control::QueueTerms;
use crate::store::log::{Fence, QueueId, UploadId};

/// A broker each of whose publishes takes `delay` longer.
///
/// Whatever is published together is created together: a batch of rows waits once.
#[derive(Debug, Clone)]
pub(super) struct Delayed<B> {
    broker: B,
    delay: Duration,
}

impl<B> Delayed<B> {
    pub(super) fn new(broker: B, delay: Duration) -> Self {
        Self { broker, delay }
    }

    async fn create(&self) {
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
    }
}

impl<B: Source> Source for Delayed<B> {
    fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Lease>, BrokerError>> + Send {
        self.broker.receive(queue, max, wait)
    }

    fn settle(
        &self,
        settlements: Vec<(Receipt, Vec<Settlement>)>,
    ) -> impl Future<Output = Result<Vec<Settled>, BrokerError>> + Send {
        self.broker.settle(settlements)
    }

    fn extend(
        &self,
        receipts: Vec<Receipt>,
    ) -> impl Future<Output = Result<Vec<Option<Duration>>, BrokerError>> + Send {
        self.broker.extend(receipts)
    }
}

impl<B: Broker> Broker for Delayed<B> {
    fn holds(&self) -> bool {
        self.broker.holds()
    }

    fn reserve(&self, most: usize) -> impl Future<Output = Result<Ticket, BrokerError>> + Send {
        self.broker.reserve(most)
    }

    async fn publish(&self, to: &Publishing, batch: RowBatch) -> Result<Published, BrokerError> {
        self.create().await;
        self.broker.publish(to, batch).await
    }

    async fn publish_messages(
        &self,
        topic: &TopicName,
        messages: Vec<MessageBody>,
        once: Option<Once>,
    ) -> Result<Vec<Vec<CopyOf>>, BrokerError> {
        self.create().await;
        self.broker.publish_messages(topic, messages, once).await
    }

    fn describe(
        &self,
        fence: Fence,
        sheets: &str,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send {
        self.broker.describe(fence, sheets)
    }

    fn release(
        &self,
        fence: Fence,
        totals: &str,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send {
        self.broker.release(fence, totals)
    }

    fn discard(
        &self,
        fence: Fence,
        problem: &str,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send {
        self.broker.discard(fence, problem)
    }

    fn extend_for(
        &self,
        receipts: Vec<Receipt>,
        lasting: Duration,
    ) -> impl Future<Output = Result<Vec<Option<Duration>>, BrokerError>> + Send {
        self.broker.extend_for(receipts, lasting)
    }

    fn holder(
        &self,
        id: MessageId,
    ) -> impl Future<Output = Result<Option<(Receipt, u16)>, BrokerError>> + Send {
        self.broker.holder(id)
    }

    fn peek(
        &self,
        queue: &QueueName,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Message>, BrokerError>> + Send {
        self.broker.peek(queue, limit)
    }

    fn message(
        &self,
        id: MessageId,
    ) -> impl Future<Output = Result<Option<Message>, BrokerError>> + Send {
        self.broker.message(id)
    }

    fn stats(
        &self,
        queue: &QueueName,
    ) -> impl Future<Output = Result<QueueStats, BrokerError>> + Send {
        self.broker.stats(queue)
    }

    fn purge(&self, queue: &QueueName) -> impl Future<Output = Result<u64, BrokerError>> + Send {
        self.broker.purge(queue)
    }

    fn redrive(
        &self,
        from: &QueueName,
        to: &QueueName,
    ) -> impl Future<Output = Result<u64, BrokerError>> + Send {
        self.broker.redrive(from, to)
    }

    fn retry_dead(
        &self,
        upload: UploadId,
    ) -> impl Future<Output = Result<u64, BrokerError>> + Send {
        self.broker.retry_dead(upload)
    }

    fn pause(&self, upload: UploadId) -> impl Future<Output = Result<bool, BrokerError>> + Send {
        self.broker.pause(upload)
    }

    fn resume(&self, upload: UploadId) -> impl Future<Output = Result<bool, BrokerError>> + Send {
        self.broker.resume(upload)
    }

    fn number_of(
        &self,
        queue: &QueueName,
    ) -> impl Future<Output = Result<QueueId, BrokerError>> + Send {
        self.broker.number_of(queue)
    }

    fn names_changed(&self) {
        self.broker.names_changed();
    }

    fn could_have(
        &self,
        queue: &QueueName,
        terms: &QueueTerms,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send {
        self.broker.could_have(queue, terms)
    }

    fn queue_made(
        &self,
        queue: &QueueName,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send {
        self.broker.queue_made(queue)
    }

    fn queue_deleted(
        &self,
        queue: &QueueName,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send {
        self.broker.queue_deleted(queue)
    }
}
