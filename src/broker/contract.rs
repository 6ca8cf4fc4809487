//! The contract between those who use a broker and those who are one.

use std::future::Future;
use std::time::Duration;

use crate::domain::{Lease, QueueName, Receipt, Settled, Settlement};

/// Why a broker could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// There is no such queue.
    #[error("there is no queue `{0}`")]
    NoQueue(QueueName),
    /// The store behind it failed; trying again may help.
    #[error("the message store failed: {0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A worker's view of a queue. Implemented by every broker, and by the HTTP client.
pub trait Source: Send + Sync + 'static {
    /// Up to `max` messages, as one or more leases; waits up to `wait` for the first.
    ///
    /// An empty answer means that nothing was there for that long. Cancellation safety: a future
    /// dropped half-way may leave messages leased, which come again when their deadline passes.
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
