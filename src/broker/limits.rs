//! Waits and sizes of the broker that is the database.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::join::JoinLimits;
use crate::domain::units;

/// Waits and sizes of the broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqlBrokerLimits {
    /// How long a consumer sleeps at most before it looks for what other processes published.
    #[serde(with = "units::time")]
    pub poll: Duration,
    /// How often a publish is routed anew because the topic's queues changed under it.
    pub reroutes: u32,
    /// How receives of one queue are joined.
    pub receives: JoinLimits,
    /// How settles are joined.
    pub settles: JoinLimits,
    /// How publishes of messages that are no rows are joined.
    pub publishes: JoinLimits,
    /// How long words to other processes are gathered.
    #[serde(with = "units::time")]
    pub gather_words: Duration,
    /// How long the names of publishes are kept, within which one repeated is made once.
    #[serde(with = "units::time")]
    pub names_kept: Duration,
    /// Messages that one step of a redrive moves.
    pub redrive_step: u32,
    /// How long messages that are no rows of uploads are kept after they ended, with their outcomes.
    #[serde(with = "units::time")]
    pub ended_kept: Duration,
    /// How many messages of an upload must have ended before a part of them that failed stops it.
    pub failures_from: u64,
}

impl Default for SqlBrokerLimits {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(500),
            reroutes: 20,
            receives: JoinLimits::default(),
            settles: JoinLimits::default(),
            publishes: JoinLimits { calls: 1_000, ..JoinLimits::default() },
            gather_words: Duration::from_millis(5),
            names_kept: Duration::from_secs(24 * 3600),
            redrive_step: 1_000,
            ended_kept: Duration::from_secs(14 * 24 * 3600),
            failures_from: 100,
        }
    }
}
