//! What a server does beside its requests: it ends leases whose deadline passed and messages that
//! waited too long, and records the end of uploads whose messages have all ended. Servers of one
//! database may all do so at once.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::broker::SqlBroker;
use crate::store::Store;
use crate::store::log::UploadId;

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
        match store.log.end_uploads().await {
            Ok(ended) => tell_ends(&store, &ended).await,
            Err(error) => {
                tracing::warn!(%error, "the end of uploads could not be recorded; it will be tried again");
            }
        }
    }
}

/// Says in the log that uploads ended: the last step of their life.
async fn tell_ends(store: &Store, ended: &[UploadId]) {
    for id in ended {
        // It may have been deleted at once.
        let Ok(upload) = store.control.upload(*id).await else { continue };
        let (upload, filename) = (upload.public_id, upload.filename);
        tracing::info!(%upload, filename, step = "ended", "every message of an upload has ended");
    }
}
