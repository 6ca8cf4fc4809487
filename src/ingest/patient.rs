//! The broker as ingestion uses it: an outage is waited out.
//!
//! A database that is restarted in the middle of a file is no fault of the file. What was asked is
//! asked again, with growing waits, until it is answered or the ingestion is told to stop; the
//! broker's calls may be repeated safely, also when the answer to one that was done got lost. Who
//! owns the upload is still decided by its epoch: one that was taken over meanwhile ends.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use super::IngestError;
use crate::broker::{Broker, BrokerError, Published, Publishing, RowBatch, Ticket};
use crate::domain::RetryPolicy;
use crate::store::log::Fence;

/// A broker and the patience with it.
#[derive(Debug, Clone)]
pub(super) struct Patient<B> {
    broker: B,
    waits: RetryPolicy,
    stop: CancellationToken,
}

impl<B: Broker> Patient<B> {
    pub(super) fn new(broker: B, waits: RetryPolicy, stop: CancellationToken) -> Self {
        Self { broker, waits, stop }
    }

    pub(super) async fn reserve(&self, most: usize) -> Result<Ticket, IngestError> {
        self.until_answered(|| self.broker.reserve(most)).await
    }

    pub(super) async fn publish(
        &self,
        to: &Publishing,
        batch: RowBatch,
    ) -> Result<Published, IngestError> {
        self.until_answered(|| self.broker.publish(to, batch.clone())).await
    }

    pub(super) async fn describe(&self, fence: Fence, sheets: &str) -> Result<(), IngestError> {
        self.until_answered(|| self.broker.describe(fence, sheets)).await
    }

    pub(super) async fn release(&self, fence: Fence, totals: &str) -> Result<(), IngestError> {
        self.until_answered(|| self.broker.release(fence, totals)).await
    }

    pub(super) async fn discard(&self, fence: Fence, problem: &str) -> Result<(), IngestError> {
        self.until_answered(|| self.broker.discard(fence, problem)).await
    }

    /// Asks until there is an answer that is not an outage.
    pub(super) async fn until_answered<T, F>(
        &self,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, IngestError>
    where
        F: Future<Output = Result<T, BrokerError>>,
    {
        let mut failures: u16 = 0;
        loop {
            let error = match ask().await {
                Err(error) if error.may_pass() => error,
                answer => {
                    if failures > 0 {
                        tracing::info!(failures, "the broker answers again");
                    }
                    return Ok(answer?);
                }
            };
            if failures == 0 {
                tracing::warn!(%error, "the broker does not answer; trying again until it does");
            }
            failures = failures.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(self.waits.wait(failures, fastrand::f64())) => {}
                () = self.stop.cancelled() => return Err(IngestError::Stopped),
            }
        }
    }
}
