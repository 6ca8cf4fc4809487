//! What an error of the client means for whoever asked.

use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Error, ErrorKind};
use tokio::time::Instant;

use super::RabbitLimits;
use crate::broker::carrier::CarrierError;
use crate::domain::QueueName;

/// Why a step failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Trouble {
    /// The server or the connection is away: the same may be asked again.
    #[error("{0}")]
    Away(#[source] Error),
    /// The server took longer to answer than it may.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The server knows no such queue.
    #[error("there is no such queue")]
    Missing,
    /// A queue is there, and was made in another way.
    #[error("{0}")]
    Differs(#[source] Error),
    /// The server refuses, and would again.
    #[error("{0}")]
    Refused(#[source] Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let ErrorKind::ProtocolError(said) = error.kind() else {
            return match error.kind() {
                ErrorKind::AuthProviderError(_)
                | ErrorKind::InvalidProtocolVersion(_)
                | ErrorKind::NoDefaultRuntime
                | ErrorKind::ParsingError(_)
                | ErrorKind::SerialisationError(_) => Self::Refused(error),
                _ => Self::Away(error),
            };
        };
        match said.kind() {
            // A queue whose leader is being elected is "not found" in other words than these.
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)
                if said.get_message().as_str().contains("no queue") =>
            {
                Self::Missing
            }
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND | AMQPSoftError::RESOURCELOCKED)
            | AMQPErrorKind::Hard(
                AMQPHardError::CONNECTIONFORCED
                | AMQPHardError::INTERNALERROR
                | AMQPHardError::RESOURCEERROR,
            ) => Self::Away(error),
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)
                if said.get_message().as_str().contains("inequivalent arg") =>
            {
                Self::Differs(error)
            }
            // A virtual host that is being started is closed to everybody.
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)
                if said.get_message().as_str().contains("is down") =>
            {
                Self::Away(error)
            }
            _ => Self::Refused(error),
        }
    }
}

impl Trouble {
    /// Whether asking again may help.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Silent(_))
    }

    /// What the user of a queue is told.
    pub(super) fn about(self, queue: &QueueName) -> CarrierError {
        match self {
            Self::Missing => CarrierError::NoQueue(queue.clone()),
            Self::Differs(error) => {
                tracing::warn!(%queue, %error, "a queue is there already, made in another way");
                CarrierError::Unsupported {
                    what: "changing a queue's dead queue, deliveries, retention or capacity",
                    why: "RabbitMQ fixes them when a queue is made: remove it first",
                }
            }
            other => other.into(),
        }
    }
}

impl From<Trouble> for CarrierError {
    fn from(trouble: Trouble) -> Self {
        if trouble.passes() {
            Self::Outage(Box::new(trouble))
        } else {
            Self::Failed(Box::new(trouble))
        }
    }
}

/// Pauses between attempts, each twice the one before, within a patience that begins with the first.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    most: Duration,
    patience: Duration,
    until: Option<Instant>,
}

impl Pauses {
    pub(super) fn new(limits: &RabbitLimits, patience: Duration) -> Self {
        Self { next: limits.pause_first, most: limits.pause_most, patience, until: None }
    }

    /// Waits before the next attempt; false, at once, when the patience is at its end.
    pub(super) async fn pause(&mut self) -> bool {
        let until = *self.until.get_or_insert_with(|| Instant::now() + self.patience);
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        // Many wait for the same server: half of the pause is chance.
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0).min(left);
        self.next = (self.next * 2).min(self.most);
        tokio::time::sleep(pause).await;
        true
    }
}
