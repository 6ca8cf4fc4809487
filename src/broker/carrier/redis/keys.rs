//! The keys of a queue: all in one slot of a cluster, by the hash tag around its name.

use crate::domain::QueueName;

/// The keys of a queue.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// The stream: what waits and what is in hands.
    pub(super) stream: String,
    /// A hash: what the queue was told to be.
    pub(super) settings: String,
    /// A sorted set: what waits for its time, by that time.
    pub(super) delayed: String,
    /// A sorted set: entries held for longer than the deadline, by until when.
    pub(super) holds: String,
}

impl Keys {
    /// The keys of `queue` under `prefix`.
    pub(super) fn new(prefix: &str, queue: &QueueName) -> Self {
        let stream = format!("{prefix}{{{queue}}}");
        Self {
            settings: format!("{stream}:settings"),
            delayed: format!("{stream}:delayed"),
            holds: format!("{stream}:holds"),
            stream,
        }
    }
}
