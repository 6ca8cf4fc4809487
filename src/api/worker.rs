//! Workers.

use serde::{Deserialize, Serialize};

/// The header in which a worker says its name.
pub const WORKER_HEADER: &str = "rowmill-worker";

/// A worker at a queue: `GET /workers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WorkerSeen {
    /// What it calls itself.
    pub name: String,
    /// The queue that it consumes.
    pub queue: String,
    /// When it was last heard, RFC 3339 in UTC.
    pub last_seen_at: String,
    /// Messages that it was given since this server knows it.
    pub received: u64,
    /// Messages that it settled.
    pub settled: u64,
    /// Of those, in the last minute, per second.
    pub settled_per_second: f64,
    /// Messages in its hands.
    pub in_flight: u64,
}
