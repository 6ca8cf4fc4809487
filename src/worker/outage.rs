//! A source that fails for a while: tried again with growing waits, and told of once when the
//! trouble begins and once when it is over, not at every try.

use std::time::Duration;

use crate::broker::BrokerError;
use crate::domain::RetryPolicy;

/// The trouble that one caller has with the source, if any.
#[derive(Debug)]
pub(super) struct Outage {
    doing: &'static str,
    policy: RetryPolicy,
    failures: u16,
}

impl Outage {
    /// No trouble, so far, with what the caller is `doing` ("receive", "settle").
    pub(super) fn new(doing: &'static str, policy: RetryPolicy) -> Self {
        Self { doing, policy, failures: 0 }
    }

    /// It failed. Answers how long to wait before the next try.
    pub(super) fn failed(&mut self, error: &BrokerError) -> Duration {
        if self.failures == 0 {
            tracing::warn!(doing = self.doing, %error, "the source fails; trying again until it works");
        } else {
            tracing::debug!(doing = self.doing, %error, failures = self.failures, "still failing");
        }
        self.failures = self.failures.saturating_add(1);
        self.policy.wait(self.failures, fastrand::f64())
    }

    /// It worked.
    pub(super) fn worked(&mut self) {
        if self.failures > 0 {
            tracing::info!(doing = self.doing, failures = self.failures, "the source works again");
            self.failures = 0;
        }
    }
}
