//! Waits and sizes of the RabbitMQ driver.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// Waits and sizes of the RabbitMQ driver.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RabbitLimits {
    /// How long a server that is away is waited for before its users hear of it.
    #[serde(with = "units::time")]
    pub patience: Duration,
    /// How long the first pause between two attempts is; each is twice the one before.
    #[serde(with = "units::time")]
    pub pause_first: Duration,
    /// How long a pause between two attempts is at most.
    #[serde(with = "units::time")]
    pub pause_most: Duration,
    /// How long one attempt to connect may take.
    #[serde(with = "units::time")]
    pub connect_wait: Duration,
    /// How often a connection is heard of at least; after twice that it is taken for lost. Whole
    /// seconds.
    #[serde(with = "units::time")]
    pub heartbeat: Duration,
    /// How many sends are under way at once, each on a channel of its own.
    pub sends: usize,
    /// How many parcels of one send are unconfirmed at once.
    pub window: usize,
    /// How many bytes of one send are unconfirmed at once; one parcel may be larger.
    #[serde(with = "units::size")]
    pub window_bytes: usize,
    /// How long the server may take to confirm or to answer before the connection is taken for lost.
    #[serde(with = "units::time")]
    pub answer_wait: Duration,
    /// How long what does not fit into a full queue is sent again and again.
    #[serde(with = "units::time")]
    pub full_wait: Duration,
    /// The largest parcel. RabbitMQ's own limit is 128 MiB, 16 MiB from 4.0 on.
    #[serde(with = "units::size")]
    pub parcel_bytes: usize,
    /// How many takes are under way at once, each on a channel of its own.
    pub takes: usize,
    /// How many channels a queue keeps for takes to come, while what they brought is in hands or
    /// nothing is.
    pub channels_kept: usize,
    /// How old a channel of takes becomes: then it is closed, as soon as nothing is in hands of it,
    /// and what the server sent on it that never came is returned to its queue.
    #[serde(with = "units::time")]
    pub channel_age: Duration,
    /// How long a queue that was made just now is left alone: RabbitMQ 3.10 forgets one that was made
    /// half a second before its power fails, with what is in it.
    #[serde(with = "units::time")]
    pub new_queue: Duration,
    /// How many delay queues are read at once.
    pub delay_visits: usize,
    /// How many parcels one of them hands out that are not due; what is behind them waits with them.
    pub delay_window: u16,
    /// How long one is read before its channel is closed, and what is not due given back.
    #[serde(with = "units::time")]
    pub delay_visit: Duration,
    /// How long one is read in which nothing is due: what is there is sent at once, by a server that has
    /// the time.
    #[serde(with = "units::time")]
    pub delay_linger: Duration,
    /// How often delay queues are read in which nothing is known to be due: what was to be brought by a
    /// process that is gone is late by this at most.
    #[serde(with = "units::time")]
    pub delay_look: Duration,
    /// How long a take listens that was not to wait: what is there is sent at once, but it comes over
    /// the network.
    #[serde(with = "units::time")]
    pub look: Duration,
    /// How long a take that has something waits for more of what was sent with it.
    #[serde(with = "units::time")]
    pub gather: Duration,
    /// How many parcels one step of a redrive moves.
    pub redrive_step: usize,
    /// How long what is taken may be held, of a queue that this process was not told of.
    #[serde(with = "units::time")]
    pub ack_deadline: Duration,
}

impl Default for RabbitLimits {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(60),
            pause_first: Duration::from_millis(100),
            pause_most: Duration::from_secs(3),
            connect_wait: Duration::from_secs(10),
            heartbeat: Duration::from_secs(10),
            sends: 16,
            window: 1_000,
            window_bytes: 8 << 20,
            answer_wait: Duration::from_secs(30),
            full_wait: Duration::from_secs(5),
            parcel_bytes: 16 << 20,
            takes: 256,
            channels_kept: 16,
            channel_age: Duration::from_secs(10),
            new_queue: Duration::from_secs(2),
            delay_visits: 32,
            delay_window: 500,
            delay_visit: Duration::from_secs(10),
            delay_linger: Duration::from_secs(2),
            delay_look: Duration::from_secs(30),
            look: Duration::from_millis(20),
            gather: Duration::from_millis(2),
            redrive_step: 500,
            ack_deadline: Duration::from_secs(30),
        }
    }
}
