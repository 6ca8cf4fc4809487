//! How long a parcel may be made to wait, and where it does.
//!
//! RabbitMQ has no delays. What it has, messages that live for a while in a queue of their own and are
//! then dead-lettered to the right one, may strand them: by RabbitMQ's own reports the server's process
//! that moves them on is not always there any more after a node of a cluster was lost, and what has
//! expired nobody can read. So a parcel that has to wait lies in a *delay queue*,
//! which lets go of nothing by itself, with the time when it is due as a header, and processes of ours
//! bring what is due to its queue (see `porter`).
//!
//! A delay queue is read from its head. So that a short delay does not wait behind a long one, each
//! queue has one for every doubling of the delay, made when it is first needed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::types::ShortString;
use tokio::time::Instant;

use crate::broker::carrier::Failed;
use crate::domain::QueueName;

/// The longest delay, in seconds: a week.
const LONGEST: u64 = 7 * 24 * 3600;
/// How often one second is doubled until it is longer than that.
const DOUBLINGS: u32 = 20;

/// One of the delay queues that a queue may have: for delays of up to so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Step(u64);

impl Step {
    /// The longest delay there is.
    pub(super) fn longest() -> Duration {
        Duration::from_secs(LONGEST)
    }

    /// Every step.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..=DOUBLINGS).map(|doublings| Self(1 << doublings))
    }

    /// The name of the delay queue. No name of a queue of ours has a `/` in it.
    pub(super) fn queue(self, of: &QueueName) -> ShortString {
        ShortString::from(format!("{of}/delay/{}", self.0))
    }
}

/// That a parcel is to wait: where, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Later {
    pub(super) step: Step,
    pub(super) until: Instant,
    /// The same, in milliseconds since 1970 (UTC), by this machine's clock.
    pub(super) due_ms: i64,
}

impl Later {
    /// From now on; `None` for no delay at all.
    ///
    /// # Errors
    /// [`Failed::Refused`]: the delay is longer than the longest.
    pub(super) fn of(delay: Duration) -> Result<Option<Self>, Failed> {
        if delay.is_zero() {
            return Ok(None);
        }
        let longest = Step::longest();
        if delay > longest {
            return Err(Failed::Refused(format!("a delay is at most {longest:?} here")));
        }
        let step = Step::all().find(|step| Duration::from_secs(step.0) >= delay);
        let later = |step| {
            // What is cut off must not make it early.
            let due_ms = now_ms().saturating_add(millis(delay)).saturating_add(1);
            Self { step, until: Instant::now() + delay, due_ms }
        };
        Ok(step.map(later))
    }
}

/// When something is due by this process's own clock.
pub(super) fn instant(due_ms: i64) -> Instant {
    let left = u64::try_from(due_ms.saturating_sub(now_ms())).unwrap_or(0);
    Instant::now() + Duration::from_millis(left).min(Step::longest())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(delay: Duration) -> u64 {
        Later::of(delay).unwrap().unwrap().step.0
    }

    #[test]
    fn a_delay_waits_among_those_of_its_length() {
        assert!(Later::of(Duration::ZERO).unwrap().is_none());
        for (delay, seconds) in [(1, 1), (1_000, 1), (1_001, 2), (60_000, 64), (64_001, 128)] {
            assert_eq!(step(Duration::from_millis(delay)), seconds);
        }
        assert_eq!(step(Step::longest()), 1 << DOUBLINGS);
        let longer = Step::longest() + Duration::from_nanos(1);
        assert!(matches!(Later::of(longer), Err(Failed::Refused(_))));
    }

    #[test]
    fn it_is_never_early() {
        for delay in [1, 999, 86_400_000].map(Duration::from_millis) {
            let begun = Instant::now();
            let later = Later::of(delay).unwrap().unwrap();
            assert!(later.until >= begun + delay && instant(later.due_ms) >= begun + delay);
        }
        assert!(instant(0) <= Instant::now());
    }

    #[test]
    fn the_longest_name_has_room() {
        let name: QueueName = "q".repeat(128).parse().unwrap();
        let longest = Step::all().last().unwrap().queue(&name);
        assert_eq!(longest.as_str(), format!("{name}/delay/1048576"));
    }
}
