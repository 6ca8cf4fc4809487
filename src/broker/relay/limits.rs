//! Waits and sizes of a relay.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{RetryPolicy, units};

/// Waits and sizes of a relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayLimits {
    /// Messages that this process has in hands at most. One that has that many takes no more.
    pub in_hands: usize,
    /// How long a receipt is known beyond its deadline, for a verdict that comes late.
    #[serde(with = "units::time")]
    pub late: Duration,
    /// How long one take waits at most, before it is looked at whether its queue is still there.
    #[serde(with = "units::time")]
    pub look: Duration,
    /// How often parcels are sent that a carrier did not take.
    pub tries: u16,
    /// The waits between these.
    pub again: RetryPolicy,
    /// How often a batch is routed anew because the topic's queues changed under it.
    pub reroutes: u32,
    /// Parcels that one step of a purge or a redrive takes.
    pub step: usize,
    /// Dead parcels that the keeper looks at in one queue.
    pub drained: usize,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            in_hands: 100_000,
            late: Duration::from_secs(60),
            look: Duration::from_secs(5),
            tries: 4,
            again: RetryPolicy {
                first: Duration::from_millis(50),
                factor: 3.0,
                most: Duration::from_secs(1),
            },
            reroutes: 20,
            step: 500,
            drained: 100,
        }
    }
}
