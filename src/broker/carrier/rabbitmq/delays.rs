//! How long a parcel may be made to wait: in steps.
//!
//! RabbitMQ has no delays. A queue without consumers whose messages live for a while and are then
//! dead-lettered to the right queue is one; it drops only from its head, so all that is in it must
//! have the same life, or a short delay waits behind a long one. Therefore a queue has a delay queue
//! for each step that was ever asked of it, and a delay is rounded up to the next step: never early,
//! late by at most a third, or 50 ms.

use std::time::Duration;

use lapin::types::ShortString;

use crate::broker::carrier::Failed;
use crate::domain::QueueName;

/// The steps, in milliseconds.
#[rustfmt::skip]
const STEPS: [u64; 70] = [
    50, 100, 150, 200, 250, 300, 400, 500, 600, 800, 1_000, 1_250, 1_500, 2_000, 2_500, 3_000,
    4_000, 5_000, 6_000, 8_000, 10_000, 12_000, 15_000, 20_000, 25_000, 30_000, 40_000, 50_000,
    60_000, 80_000, 100_000, 120_000, 150_000, 180_000, 240_000, 300_000, 360_000, 480_000,
    600_000, 720_000, 900_000, 1_200_000, 1_500_000, 1_800_000, 2_400_000, 3_000_000, 3_600_000,
    4_800_000, 6_000_000, 7_200_000, 9_000_000, 10_800_000, 14_400_000, 18_000_000, 21_600_000,
    28_800_000, 36_000_000, 43_200_000, 54_000_000, 72_000_000, 86_400_000, 108_000_000,
    129_600_000, 172_800_000, 216_000_000, 259_200_000, 345_600_000, 432_000_000, 518_400_000,
    604_800_000,
];

/// One of the delays there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Step(u64);

impl Step {
    /// The longest delay there is.
    pub(super) fn longest() -> Duration {
        Duration::from_millis(STEPS[STEPS.len() - 1])
    }

    /// The shortest delay that is no shorter than this; `None` for none at all.
    ///
    /// # Errors
    /// [`Failed::Refused`]: the delay is longer than the longest.
    pub(super) fn of(delay: Duration) -> Result<Option<Self>, Failed> {
        if delay.is_zero() {
            return Ok(None);
        }
        let step = STEPS.iter().find(|step| Duration::from_millis(**step) >= delay);
        step.map(|step| Some(Self(*step))).ok_or_else(|| {
            Failed::Refused(format!("a delay is at most {:?} here", Self::longest()))
        })
    }

    /// Every step.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        STEPS.into_iter().map(Self)
    }

    pub(super) fn millis(self) -> u64 {
        self.0
    }

    /// The name of the delay queue. No name of a queue of ours has a `/` in it.
    pub(super) fn queue(self, of: &QueueName) -> ShortString {
        ShortString::from(format!("{of}/delay/{}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_never_early_and_late_by_a_third_or_50_ms_at_most() {
        assert_eq!(Step::of(Duration::ZERO), Ok(None));
        assert!(STEPS.is_sorted());
        for (step, longer) in STEPS.iter().zip(&STEPS[1..]) {
            assert_eq!(Step::of(Duration::from_millis(*step)), Ok(Some(Step(*step))));
            let next = Duration::from_millis(*step) + Duration::from_nanos(1);
            assert_eq!(Step::of(next), Ok(Some(Step(*longer))));
            assert!(longer - step <= (step / 3).max(50), "{step} {longer}");
        }
        let longer = Step::longest() + Duration::from_nanos(1);
        assert!(matches!(Step::of(longer), Err(Failed::Refused(_))));
    }

    #[test]
    fn the_longest_name_has_room() {
        let name: QueueName = "q".repeat(128).parse().unwrap();
        let longest = Step::all().last().unwrap().queue(&name);
        assert_eq!(longest.as_str(), format!("{name}/delay/604800000"));
    }
}
