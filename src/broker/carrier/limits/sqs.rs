//! Waits and sizes of the SQS driver.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{RetryPolicy, units};

/// Waits and sizes of the SQS driver.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqsLimits {
    /// The largest message, and the largest batch of messages, in bytes, attributes included: 1 MiB
    /// since 2025, 256 KiB before and with servers that have not followed. 1,024 to 1,048,576.
    #[serde(with = "units::size")]
    pub message_bytes: usize,
    /// Requests that one call has under way at once, of up to 10 messages each.
    pub requests_at_once: usize,
    /// How long a connection may take to be made.
    #[serde(with = "units::time")]
    pub connect: Duration,
    /// How long one answer may take, the wait of a long poll not counted. What is given up while it
    /// was on its way may be sent twice, or be out of sight until its deadline.
    #[serde(with = "units::time")]
    pub answer: Duration,
    /// How often the client itself makes one request, the first time included.
    pub attempts: u32,
    /// How long a call goes on asking an engine that does not answer.
    #[serde(with = "units::time")]
    pub patience: Duration,
    /// How often a single message of a batch is tried when the engine refuses it for reasons of its
    /// own.
    pub tries: u16,
    /// The waits between tries.
    pub backoff: RetryPolicy,
    /// The longest single long poll, in whole seconds; 20 s is the engine's own limit.
    #[serde(with = "units::time")]
    pub poll: Duration,
    /// How long is slept between looks in the last part of a wait, which is too short for a long poll.
    #[serde(with = "units::time")]
    pub look: Duration,
    /// How long what was read of a queue's settings is believed.
    #[serde(with = "units::time")]
    pub known_for: Duration,
    /// Queues whose addresses are remembered.
    pub queues_known: usize,
    /// Deliveries in hands that are remembered, with what is in them.
    pub in_hands: usize,
    /// What these may hold together, in bytes.
    #[serde(with = "units::size")]
    pub in_hands_bytes: usize,
    /// Deliveries that are remembered to be over.
    pub over_kept: usize,
    /// How long a parcel is out of sight while a purge or a redrive moves it.
    #[serde(with = "units::time")]
    pub moving: Duration,
    /// How often a purge looks again for what came while it removed.
    pub purge_rounds: u32,
    /// The longest reason that goes with a dead parcel, in bytes.
    #[serde(with = "units::size")]
    pub reason_bytes: usize,
    /// How long a queue is waited for whose name was removed a moment ago; the engine takes 60 s.
    #[serde(with = "units::time")]
    pub removed: Duration,
}

impl Default for SqsLimits {
    fn default() -> Self {
        Self {
            message_bytes: 1 << 20,
            requests_at_once: 8,
            connect: Duration::from_secs(3),
            answer: Duration::from_secs(30),
            attempts: 3,
            patience: Duration::from_secs(15),
            tries: 5,
            backoff: RetryPolicy {
                first: Duration::from_millis(100),
                factor: 2.0,
                most: Duration::from_secs(3),
            },
            poll: Duration::from_secs(20),
            look: Duration::from_millis(100),
            known_for: Duration::from_secs(10),
            queues_known: 10_000,
            in_hands: 100_000,
            in_hands_bytes: 256 << 20,
            over_kept: 10_000,
            moving: Duration::from_secs(30),
            purge_rounds: 10,
            reason_bytes: 4 << 10,
            removed: Duration::from_secs(75),
        }
    }
}
