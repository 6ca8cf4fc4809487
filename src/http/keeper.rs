//! What a server does beside its requests: it ends leases whose deadline passed and messages that
//! waited too long, and records the end of uploads whose messages have all ended. Servers of one
//! database may all do so at once.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::broker::SqlBroker;
use crate::store::Store;

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// Leases, and segments, that one step of a sweep takes.
const SWEEP: u32 = 100;

/// Runs until it is dropped. A failure is logged, and the next round tries again.
pub(super) async fn keep(broker: SqlBroker, store: Store) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Err(error) = broker.sweep(SWEEP).await {
            tracing::warn!(%error, "a sweep failed; the next will try again");
        }
        if let Err(error) = store.log.end_uploads().await {
            tracing::warn!(%error, "the end of uploads could not be recorded; it will be tried again");
        }
    }
}
