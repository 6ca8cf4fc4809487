//! Keeps an upload's lease while its file is read, so that no other server takes it over.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::store::Store;
use crate::store::log::Fence;

/// Renews a lease every third of it; when it was lost, says stop. While the database does not answer
/// it goes on asking: whether the lease is lost is then known when it does.
pub(super) async fn keep(store: Store, fence: Fence, lease: Duration, stop: CancellationToken) {
    let mut every = tokio::time::interval(lease / 3);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every.tick().await;
    loop {
        every.tick().await;
        match store.control.renew(fence, lease).await {
            Ok(true) => {}
            Ok(false) => {
                stop.cancel();
                return;
            }
            Err(error) => tracing::warn!(%error, "the lease of an upload could not be renewed"),
        }
    }
}
