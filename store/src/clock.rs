//! The time by which messages come due and leases end.
//!
//! On PostgreSQL it is the database's own `clock_timestamp()`, so that processes on machines whose
//! clocks differ agree; on SQLite, where all are on one machine, it is that machine's. Either way a
//! test can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock and what is added to it. Clones move together.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// What a statement adds to the database's clock, in milliseconds.
    pub(super) fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    /// This machine's time plus the offset: milliseconds since 1970 (UTC).
    pub fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        millis(since) + self.offset_ms()
    }

    /// Moves the clock on. For tests: nothing in production calls it.
    pub fn advance(&self, by: Duration) {
        self.offset_ms.fetch_add(millis(by), Ordering::Relaxed);
    }
}

/// Whole milliseconds, as the columns hold them.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// A column's milliseconds as a duration; a negative one is none.
pub(super) fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
