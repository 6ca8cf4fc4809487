//! The contract between those who use a broker and those who are one.

use std::future::Future;
use std::time::Duration;

use super::error::BrokerError;
use super::published::{CopyOf, MessageBody, Once, Published, Publishing, RowBatch, Ticket};
use crate::domain::{
    Lease, Message, MessageId, QueueName, QueueStats, Receipt, Settled, Settlement, TopicName,
};
use crate::store::control::QueueTerms;
use crate::store::log::{Fence, QueueId, UploadId};

/// A worker's view of a queue. Implemented by every broker, and by the HTTP client.
pub trait Source: Send + Sync + 'static {
    /// Up to `max` messages, as one or more leases; waits up to `wait` for the first.
    ///
    /// An empty answer means that nothing was there for that long. Cancellation safety: what a
    /// future dropped half-way has leased is handed back at once by a broker of this process; by one
    /// behind a connection it may come at its deadline.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing was received then.
    fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Lease>, BrokerError>> + Send;

    /// Ends deliveries, of one or more leases, in one durable step. Answers in the order asked:
    /// what was applied, and the positions whose receipt came too late.
    ///
    /// Cancellation safety: dropped half-way, the settlements are applied all or not at all.
    ///
    /// # Errors
    /// [`BrokerError`]; whether anything was applied is then unknown, and asking again is safe.
    fn settle(
        &self,
        settlements: Vec<(Receipt, Vec<Settlement>)>,
    ) -> impl Future<Output = Result<Vec<Settled>, BrokerError>> + Send;

    /// Gives the leases their queue's ack deadline anew, from now. Answers, in the order asked,
    /// the new deadline, or `None` for one that has been swept or settled.
    ///
    /// # Errors
    /// [`BrokerError`]; the old deadlines stand.
    fn extend(
        &self,
        receipts: Vec<Receipt>,
    ) -> impl Future<Output = Result<Vec<Option<Duration>>, BrokerError>> + Send;
}

/// Ingestion's view of a broker.
pub trait Broker: Source {
    /// Whether what is published for an upload can be held back until the whole file is. If not, a
    /// file that is to be published whole or not at all is read to its end before.
    fn holds(&self) -> bool;

    /// Reserves the next place in the order, for up to `most` messages. Called by the one task that
    /// cuts an upload into batches, so that the order of ids is the order of rows.
    ///
    /// # Errors
    /// [`BrokerError::Store`].
    fn reserve(&self, most: usize) -> impl Future<Output = Result<Ticket, BrokerError>> + Send;

    /// Publishes a batch: all of it, durably, or nothing. Several may be under way at once.
    ///
    /// Asked again for a batch that it has published, after an answer that was lost, it answers the
    /// same. Cancellation safety: dropped half-way, the batch is published or not; an upload's
    /// coverage tells which.
    ///
    /// # Errors
    /// [`BrokerError::LeaseLost`] when the upload has another owner; [`BrokerError::Store`].
    fn publish(
        &self,
        to: &Publishing,
        batch: RowBatch,
    ) -> impl Future<Output = Result<Published, BrokerError>> + Send;

    /// Publishes messages that are no rows of an upload, in one step: all of them, durably, or
    /// nothing. Answers, in the order given, the copies made of each: the queue and the id there,
    /// none for a message that no queue takes. With `once`, a publish that was made before under the
    /// same key answers what it answered then, and makes nothing.
    ///
    /// # Errors
    /// [`BrokerError::NoTopic`]; [`BrokerError::KeyReused`] when the key was used for something else;
    /// [`BrokerError::Store`].
    fn publish_messages(
        &self,
        topic: &TopicName,
        messages: Vec<MessageBody>,
        once: Option<Once>,
    ) -> impl Future<Output = Result<Vec<Vec<CopyOf>>, BrokerError>> + Send;

    /// Records the sheets that are being read, as JSON: what their messages are said to come from.
    ///
    /// # Errors
    /// [`BrokerError::Store`].
    fn describe(
        &self,
        fence: Fence,
        sheets: &str,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Lets everything that was published held for the upload go, in one step. `totals` is what the
    /// reader counted, as JSON, to be kept.
    ///
    /// # Errors
    /// As for [`Broker::publish`].
    fn release(
        &self,
        fence: Fence,
        totals: &str,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Takes back everything that was published held for the upload, or, if its messages were let go
    /// as they came, cancels what has not been delivered; `problem` says why, as JSON.
    ///
    /// # Errors
    /// As for [`Broker::publish`].
    fn discard(
        &self,
        fence: Fence,
        problem: &str,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Like [`Source::extend`], for as long as is said instead of the queue's own ack deadline.
    ///
    /// # Errors
    /// [`BrokerError`]; the old deadlines stand.
    fn extend_for(
        &self,
        receipts: Vec<Receipt>,
        lasting: Duration,
    ) -> impl Future<Output = Result<Vec<Option<Duration>>, BrokerError>> + Send;

    /// The receipt and the position under which a message is in somebody's hands now; `None` when
    /// it is in nobody's.
    ///
    /// # Errors
    /// [`BrokerError::Store`].
    fn holder(
        &self,
        id: MessageId,
    ) -> impl Future<Output = Result<Option<(Receipt, u16)>, BrokerError>> + Send;

    /// Up to `limit` messages that wait in a queue, those first that would be delivered first;
    /// nothing is taken.
    ///
    /// # Errors
    /// [`BrokerError::NoQueue`]; [`BrokerError::Store`].
    fn peek(
        &self,
        queue: &QueueName,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Message>, BrokerError>> + Send;

    /// A message, wherever it is; `None` when there is none of that id, or it is gone.
    ///
    /// # Errors
    /// [`BrokerError::Store`].
    fn message(
        &self,
        id: MessageId,
    ) -> impl Future<Output = Result<Option<Message>, BrokerError>> + Send;

    /// How a queue stands.
    ///
    /// # Errors
    /// [`BrokerError::NoQueue`]; [`BrokerError::Store`].
    fn stats(
        &self,
        queue: &QueueName,
    ) -> impl Future<Output = Result<QueueStats, BrokerError>> + Send;

    /// Cancels what waits in a queue, and answers how many messages that were. What is in
    /// consumers' hands stays there.
    ///
    /// # Errors
    /// [`BrokerError::NoQueue`]; [`BrokerError::Store`].
    fn purge(&self, queue: &QueueName) -> impl Future<Output = Result<u64, BrokerError>> + Send;

    /// Moves what waits in a queue to another, for a new life there: no attempts, the delay and the
    /// retention of its new queue. Answers how many messages went. A message that the other queue
    /// has or had already stays where it is, unless it died there; and so does one that would
    /// meet itself there, or in a dead queue, by dying.
    ///
    /// # Errors
    /// [`BrokerError::NoQueue`]; [`BrokerError::Store`]; what was moved before stays so.
    fn redrive(
        &self,
        from: &QueueName,
        to: &QueueName,
    ) -> impl Future<Output = Result<u64, BrokerError>> + Send;

    /// Moves the dead of an upload back to the queues that they died in, each as a redrive would.
    /// Answers how many messages went.
    ///
    /// # Errors
    /// [`BrokerError::Unsupported`] where the dead of one upload cannot be told from others;
    /// [`BrokerError::Store`]; what was moved before stays so.
    fn retry_dead(&self, upload: UploadId)
    -> impl Future<Output = Result<u64, BrokerError>> + Send;

    /// Hands out nothing of an upload until [`Broker::resume`]; what is in consumers' hands stays
    /// there, and its file is read on. `false` when the upload is over; one that is paused stays so.
    ///
    /// # Errors
    /// [`BrokerError::Unsupported`] where messages cannot be held back, which is where
    /// [`Broker::holds`] says so; [`BrokerError::Store`].
    fn pause(&self, upload: UploadId) -> impl Future<Output = Result<bool, BrokerError>> + Send;

    /// Goes on with a paused upload; `false` when it is not paused.
    ///
    /// # Errors
    /// As of [`Broker::pause`].
    fn resume(&self, upload: UploadId) -> impl Future<Output = Result<bool, BrokerError>> + Send;

    /// The number of a queue, as far as is known without asking anew for a moment.
    ///
    /// # Errors
    /// [`BrokerError::NoQueue`]; [`BrokerError::Store`].
    fn number_of(
        &self,
        queue: &QueueName,
    ) -> impl Future<Output = Result<QueueId, BrokerError>> + Send;

    /// Forgets what it knows of names: this process made, changed or deleted a topic or a queue.
    /// Other processes notice by themselves, a second later at most.
    fn names_changed(&self);

    /// Whether a queue can have these terms, as far as what carries the messages is concerned; nothing
    /// is changed by asking.
    ///
    /// # Errors
    /// [`BrokerError::Unsupported`]; [`BrokerError::Outage`] or [`BrokerError::Store`] when it is not
    /// known.
    fn could_have(
        &self,
        queue: &QueueName,
        terms: &QueueTerms,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send {
        let _ = (queue, terms);
        async { Ok(()) }
    }

    /// A queue was made, or has other terms.
    ///
    /// # Errors
    /// [`BrokerError`]; it is tried again when the queue is used.
    fn queue_made(&self, queue: &QueueName)
    -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// A queue was deleted, and what it held is nobody's any more.
    ///
    /// # Errors
    /// [`BrokerError`]; the queue is deleted all the same.
    fn queue_deleted(
        &self,
        queue: &QueueName,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send;
}
