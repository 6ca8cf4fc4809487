//! Waits and sizes of the carrier that is Redis.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// Waits and sizes of the carrier that is Redis.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisLimits {
    /// What all keys begin with. On a cluster each queue has a slot of its own; with a hash tag in the
    /// prefix, such as `{rowmill}:`, all have one, and parcels can go from queue to queue there.
    pub prefix: String,
    /// How long a call is tried while the server is away.
    #[serde(with = "units::time")]
    pub patience: Duration,
    /// The pause before the second try; each later one is twice as long.
    #[serde(with = "units::time")]
    pub pause_first: Duration,
    /// The longest pause between tries.
    #[serde(with = "units::time")]
    pub pause_most: Duration,
    /// How long the server may take to be connected to.
    #[serde(with = "units::time")]
    pub connect: Duration,
    /// How long the server may take to answer before the connection is given up.
    #[serde(with = "units::time")]
    pub answer: Duration,
    /// Connections that calls share, at most; there are as many as calls were under way at once.
    pub connections: usize,
    /// Connections for those who wait for parcels. Who finds none free looks now and then instead.
    pub readers: usize,
    /// How often is looked at what became due and what was held too long, while somebody takes.
    #[serde(with = "units::time")]
    pub look_every: Duration,
    /// At how many deliveries one such look looks.
    pub look_at: usize,
    /// Parcels that one step sends, moves or removes.
    pub step_parcels: usize,
    /// Bytes of parcels that one step sends, moves or removes; one parcel may be larger.
    #[serde(with = "units::size")]
    pub step_bytes: usize,
    /// Parcels that one step gives back or gives up: those are copied.
    pub step_moves: usize,
    /// The largest parcel.
    #[serde(with = "units::size")]
    pub parcel_bytes: usize,
    /// The most attributes of a parcel.
    pub attributes: usize,
    /// How long a queue's settings are trusted before they are read again.
    #[serde(with = "units::time")]
    pub settings_kept: Duration,
    /// How many messages any queue may hold, those in hands and those that wait for their time among
    /// them. What comes again or dies is put back all the same. No limit.
    #[serde(with = "units::count_or_none")]
    pub capacity: Option<u64>,
    /// How long a send waits while a queue is full; `0s`: not at all.
    #[serde(with = "units::time")]
    pub full_wait: Duration,
    /// How often it looks whether there is room.
    #[serde(with = "units::time")]
    pub full_look: Duration,
}

impl Default for RedisLimits {
    fn default() -> Self {
        Self {
            prefix: "rowmill:".into(),
            patience: Duration::from_secs(30),
            pause_first: Duration::from_millis(20),
            pause_most: Duration::from_secs(1),
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            connections: 8,
            readers: 32,
            look_every: Duration::from_millis(250),
            look_at: 1_000,
            step_parcels: 500,
            step_bytes: 4 << 20,
            step_moves: 50,
            parcel_bytes: 16 << 20,
            attributes: 1_000,
            settings_kept: Duration::from_secs(1),
            capacity: None,
            full_wait: Duration::from_secs(10),
            full_look: Duration::from_millis(50),
        }
    }
}
