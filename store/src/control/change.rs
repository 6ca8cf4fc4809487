//! Why a change of topics or queues was not made.

use sea_orm::{DbErr, SqlErr};

use super::StoreError;
use rowmill_domain::{QueueName, TopicName};

/// Why a change was not made. Nothing of it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The topic's name is another's.
    #[error("there is a topic `{0}` already")]
    TopicTaken(TopicName),
    /// The queue's name is another's.
    #[error("there is a queue `{0}` already")]
    QueueTaken(QueueName),
    /// The queue that is to be changed is not there.
    #[error("there is no queue `{0}`")]
    NoQueue(QueueName),
    /// The topic that it shall take from is not there.
    #[error("`topic_id`: there is no topic `{0}`")]
    UnknownTopic(TopicName),
    /// The dead queue that it shall have is not there.
    #[error("`dead_queue_id`: there is no queue `{0}`")]
    UnknownDeadQueue(QueueName),
    /// Its dead messages would come to itself.
    #[error("`dead_queue_id`: a queue cannot be its own dead queue")]
    OwnDeadQueue,
    /// Its dead messages would come to itself by way of others.
    #[error(
        "`dead_queue_id`: what dies in `{0}` comes to this queue in the end, so it cannot be its dead queue"
    )]
    Cycle(QueueName),
    /// The dead queue is another's.
    #[error("`dead_queue_id`: `{dead}` is the dead queue of `{owner}`, and belongs to one queue")]
    DeadQueueTaken {
        /// It.
        dead: QueueName,
        /// Whose it is.
        owner: String,
    },
    /// The dead queue takes from a topic.
    #[error("`dead_queue_id`: `{0}` takes from a topic, which a dead queue does not")]
    DeadQueueHasTopic(QueueName),
    /// The dead queue has seen messages.
    #[error(
        "`dead_queue_id`: `{0}` holds or held messages, which might meet themselves there: make a new queue for it"
    )]
    DeadQueueUsed(QueueName),
    /// The queue is or was a dead queue.
    #[error(
        "`topic_id`: this queue keeps or kept dead messages, and takes from no topic: make a new queue for it"
    )]
    KeepsDead,
    /// Something else was changed at the same time.
    #[error("something else was changed at the same time: look, and ask again")]
    Clash,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DbErr> for ChangeError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(
                SqlErr::UniqueConstraintViolation(_) | SqlErr::ForeignKeyConstraintViolation(_),
            ) => Self::Clash,
            _ => Self::Store(error.into()),
        }
    }
}
