//! What runs beside a run's worker: a sweep every second, and a look at what is recorded when the
//! tally may be wrong.

use std::sync::Arc;
use std::time::Duration;

use super::progress::Tally;
use crate::broker::SqlBroker;
use crate::store::Store;
use crate::store::log::{QueueId, UploadId};

/// Leases that one sweep takes at a time.
const SWEEP: u32 = 100;
/// How often it sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Ends leases whose deadline passed, and keeps the tally true to what is recorded.
pub(super) struct Keeper {
    pub(super) broker: SqlBroker,
    pub(super) store: Store,
    pub(super) upload: UploadId,
    pub(super) queue: QueueId,
    pub(super) tally: Arc<Tally>,
}

impl Keeper {
    /// Runs until the tally is complete.
    pub(super) async fn run(self) {
        let mut every = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.tally.finished.cancelled() => return,
            }
            match self.broker.sweep(SWEEP).await {
                Ok(swept) => swept.iter().for_each(|settled| self.tally.add(settled)),
                Err(error) => tracing::warn!(%error, "a sweep failed; the next will try again"),
            }
            if self.tally.doubts() {
                match self.store.log.counts(self.upload, self.queue).await {
                    Ok(counts) => self.tally.correct(counts),
                    Err(error) => tracing::warn!(%error, "the outcomes could not be counted"),
                }
            }
        }
    }
}
