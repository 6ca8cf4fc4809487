//! When a failed message comes again: exponential back-off with jitter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;

/// A queue's back-off: `first * factor^(attempt - 1)`, at most `most`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// The wait after the first failed attempt.
    #[serde(with = "units::time")]
    pub first: Duration,
    /// What each further attempt multiplies it by, 1 or more.
    pub factor: f64,
    /// The longest wait, before jitter.
    #[serde(with = "units::time")]
    pub most: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), factor: 2.0, most: Duration::from_secs(300) }
    }
}

impl RetryPolicy {
    /// The wait after attempt number `attempt` (1 is the first) failed.
    ///
    /// `spread` in 0..1 is the jitter's dice, thrown by the caller: the wait is between the half
    /// and the whole of the back-off, so that rows which failed together do not come back together
    /// and no wait is longer than the policy says.
    pub fn wait(&self, attempt: u16, spread: f64) -> Duration {
        let first = self.first.as_secs_f64();
        let grown = first * self.factor.max(1.0).powi(i32::from(attempt.max(1)) - 1);
        let whole = grown.min(self.most.as_secs_f64());
        // An overflowing power is infinite, and the minimum above has caught it: `whole` is finite.
        Duration::from_secs_f64(whole * (0.5 + spread.clamp(0.0, 1.0) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_no_further() {
        let policy = RetryPolicy::default();
        let whole = |attempt| policy.wait(attempt, 1.0).as_secs_f64();
        assert_eq!([whole(1), whole(2), whole(3)], [1.0, 2.0, 4.0]);
        assert_eq!([whole(10), whole(1000), whole(u16::MAX)], [300.0; 3]);
        assert_eq!(policy.wait(3, 0.0), Duration::from_secs(2));
    }
}
