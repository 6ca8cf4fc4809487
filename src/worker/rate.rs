//! `--rate`: how many handlers may start in a second.
//!
//! The starts are paced evenly (GCRA): 0.5 is one every two seconds. A timer is late by up to a
//! millisecond or two, so a few starts' worth of lateness may be made up for at once; without that
//! a high rate would never be reached.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};

/// The lateness that may be made up for.
const SLACK: Duration = Duration::from_millis(50);

/// Not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate: it is a number of starts per second, from 0.00001 to 1000000")]
pub struct BadRate(String);

/// Starts per second, fractions allowed.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// A rate of `per_second` starts.
    ///
    /// # Errors
    /// [`BadRate`]: it is no number from 0.00001 (about one a day) to a million.
    pub fn new(per_second: f64) -> Result<Self, BadRate> {
        if (0.000_01..=1_000_000.0).contains(&per_second) {
            Ok(Self(per_second))
        } else {
            Err(BadRate(per_second.to_string()))
        }
    }

    /// How many starts are due in a time, rounded up: one at least.
    pub(super) fn starts_in(self, time: Duration) -> usize {
        // Saturates, and is positive by the range that `new` checks.
        (self.0 * time.as_secs_f64()).ceil().max(1.0) as usize
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        text.trim().parse().map_err(|_| BadRate(text.to_owned())).and_then(Self::new)
    }
}

/// An `Option<Rate>` as a number, or `none`: for `#[serde(with = "…")]`.
pub(super) mod or_none {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Rate;
    use crate::domain::units::NONE;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Number(f64),
        Text(String),
    }

    pub(crate) fn serialize<S: Serializer>(rate: &Option<Rate>, to: S) -> Result<S::Ok, S::Error> {
        match rate {
            Some(rate) => to.serialize_f64(rate.0),
            None => to.serialize_str(NONE),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Rate>, D::Error> {
        match Said::deserialize(from)? {
            Said::Number(number) => Rate::new(number).map(Some),
            Said::Text(text) if text == NONE => return Ok(None),
            Said::Text(text) => text.parse().map(Some),
        }
        .map_err(D::Error::custom)
    }
}

/// Paces the starts of one worker.
#[derive(Debug)]
pub(super) struct Pace {
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Option<Self> {
        let burst = u32::try_from(rate.starts_in(SLACK)).ok().and_then(NonZeroU32::new)?;
        // Neither zero nor beyond the limiter's range, by the range that `Rate::new` checks.
        let quota = Quota::with_period(Duration::from_secs_f64(1.0 / rate.0))?.allow_burst(burst);
        let limiter = DefaultDirectRateLimiter::direct(quota);
        Some(Self { limiter, clock: DefaultClock::default() })
    }

    /// Waits for the next start. Dropped half-way, no start is used up.
    pub(super) async fn wait(&self) {
        while let Err(not_yet) = self.limiter.check() {
            tokio::time::sleep(not_yet.wait_time_from(self.clock.now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn rates_are_checked_when_they_are_read() {
        assert_eq!("2.5".parse::<Rate>(), Rate::new(2.5));
        for bad in ["0", "-1", "nan", "inf", "x", "1e7", ""] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        assert_eq!(Rate(0.1).starts_in(Duration::from_secs(1)), 1);
        assert_eq!(Rate(20.5).starts_in(Duration::from_secs(1)), 21);
    }

    #[tokio::test]
    async fn the_rate_is_reached_and_not_passed() {
        for (rate, starts) in [(20.0, 8), (2_000.0, 500)] {
            let pace = Pace::new(Rate(rate)).unwrap();
            let begin = Instant::now();
            for n in 1..=starts {
                pace.wait().await;
                let due = begin.elapsed().as_secs_f64() * rate;
                let burst = (SLACK.as_secs_f64() * rate).ceil().max(1.0);
                assert!(f64::from(n) <= due + burst + 0.01, "{n} starts where {due} were due");
            }
            // Slower by a third would be too slow, even on a busy machine.
            let least = f64::from(starts) / rate;
            assert!(begin.elapsed().as_secs_f64() < least * 1.33 + 0.1, "{:?}", begin.elapsed());
        }
    }
}
