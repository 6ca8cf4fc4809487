//! Why a broker could not do what it was asked, whichever it is.

use crate::domain::{QueueName, TopicName};
use crate::store::StoreError;
use crate::store::log::LogError;

/// Why a broker could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// There is no such queue.
    #[error("there is no queue `{0}`")]
    NoQueue(QueueName),
    /// There is no such topic.
    #[error("there is no topic `{0}`")]
    NoTopic(TopicName),
    /// Whoever asks may not: it would be answered the same until somebody changes that.
    #[error("{0}")]
    NotAllowed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Another process has taken the upload over: nothing was published, and nothing can be.
    #[error("the upload was taken over by another process")]
    LeaseLost,
    /// What carries the messages cannot do that, whoever asks, or not for this process.
    #[error("{what} is unsupported here: {why}")]
    Unsupported {
        /// What was asked.
        what: String,
        /// Why it cannot be.
        why: String,
    },
    /// What carries the messages refuses some of them, and would again.
    #[error("refused: {0}")]
    Refused(String),
    /// A queue has its capacity: it may have room later.
    #[error("the queue `{0}` is full")]
    Full(QueueName),
    /// What is behind it does not answer: the same may be asked again, and will work when it does.
    #[error("the message store does not answer: {0}")]
    Outage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store behind it failed otherwise.
    #[error("the message store failed: {0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl BrokerError {
    /// Whether the same may work later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Outage(_) | Self::Full(_))
    }
}

impl From<StoreError> for BrokerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Log(LogError::LeaseLost) => Self::LeaseLost,
            error if error.is_outage() => Self::Outage(Box::new(error)),
            error => Self::Store(Box::new(error)),
        }
    }
}

impl From<LogError> for BrokerError {
    fn from(error: LogError) -> Self {
        StoreError::from(error).into()
    }
}
