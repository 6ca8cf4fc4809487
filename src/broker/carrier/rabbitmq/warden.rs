//! The task that ends deliveries which were held for too long, and closes lanes that are too old.

use std::sync::{Mutex, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::lane::End;

/// When the next delivery may be late, or the next lane old.
#[derive(Debug, Default)]
pub(super) struct Warden {
    next: Mutex<Option<Instant>>,
    sooner: Notify,
}

impl Warden {
    /// There is a deadline.
    pub(super) fn look_at(&self, deadline: Instant) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_none_or(|next| deadline < next) {
            *next = Some(deadline);
            self.sooner.notify_one();
        }
    }

    fn next(&self) -> Option<Instant> {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self) {
        loop {
            let sooner = self.sooner.notified();
            match self.next() {
                Some(next) => tokio::select! {
                    () = sleep_until(next) => return,
                    () = sooner => {}
                },
                None => sooner.await,
            }
        }
    }
}

/// Runs until the carrier is gone.
pub(super) async fn watch(shared: Weak<Shared>, warden: std::sync::Arc<Warden>) {
    loop {
        warden.wait().await;
        let Some(shared) = shared.upgrade() else { return };
        *warden.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for lane in shared.lanes.all() {
            if lane.is_worn(shared.limits.channel_age) {
                shared.lanes.tidy(&lane);
            } else {
                warden.look_at(lane.old_at(shared.limits.channel_age));
            }
            let (late, next) = lane.late();
            if let Some(next) = next {
                warden.look_at(next);
            }
            if late.is_empty() {
                continue;
            }
            tracing::debug!(queue = %lane.queue, count = late.len(), "held for too long");
            // A lane that is stuck must not hold the others up.
            let shared = std::sync::Arc::clone(&shared);
            tokio::spawn(async move {
                match lane.settle(late, End::Requeue).await {
                    Ok(()) => shared.lanes.tidy(&lane),
                    Err(trouble) => {
                        tracing::debug!(%trouble, queue = %lane.queue, "given back by closing");
                        shared.lanes.discard(&lane);
                    }
                }
            });
        }
    }
}
