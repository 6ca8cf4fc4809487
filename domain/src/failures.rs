//! The failures past which an upload stops by itself: `5%` of what has ended, or a number, `100`.

use std::fmt;
use std::str::FromStr;

/// How much may fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FailureLimit {
    /// No more than this part of what has ended, in percent.
    Percent(f64),
    /// Fewer than so many.
    Count(u64),
}

/// What is no such limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("say a part such as 5%, above 0% and below 100%, or a number of failures such as 100")]
pub struct BadFailureLimit;

impl FailureLimit {
    /// Whether `dead` of `ended` are too many. A part says nothing until `least` have ended.
    pub fn is_passed(self, dead: u64, ended: u64, least: u64) -> bool {
        match self {
            #[allow(clippy::cast_precision_loss)] // a part of a percent of 2^52
            Self::Percent(most) => {
                ended >= least.max(1) && dead as f64 * 100.0 > most * ended as f64
            }
            Self::Count(most) => dead >= most,
        }
    }
}

impl FromStr for FailureLimit {
    type Err = BadFailureLimit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match text.strip_suffix('%') {
            Some(part) => {
                let part: f64 = Some(part)
                    .filter(|part| digits(part) && part.len() <= 10)
                    .and_then(|part| part.parse().ok())
                    .ok_or(BadFailureLimit)?;
                if part > 0.0 && part < 100.0 { Ok(Self::Percent(part)) } else { Err(BadFailureLimit) }
            }
            None => {
                let count = Some(text).filter(|text| digits(text) && text.len() <= 15);
                let count = count.and_then(|text| text.parse().ok()).ok_or(BadFailureLimit)?;
                if count > 0 { Ok(Self::Count(count)) } else { Err(BadFailureLimit) }
            }
        }
    }
}

impl fmt::Display for FailureLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(part) => write!(f, "{part}%"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_parts_or_numbers() {
        for (text, limit) in [
            ("5%", FailureLimit::Percent(5.0)),
            ("0.5%", FailureLimit::Percent(0.5)),
            ("1", FailureLimit::Count(1)),
            ("250000", FailureLimit::Count(250_000)),
        ] {
            assert_eq!(text.parse(), Ok(limit));
            assert_eq!(limit.to_string(), text);
        }
        for bad in ["", "0", "0%", "100%", "-1", "+1", "1e3", "1.5", "5 %", "%", "NaN%", "inf%"] {
            assert_eq!(bad.parse::<FailureLimit>(), Err(BadFailureLimit), "{bad}");
        }
    }

    #[test]
    fn a_part_waits_until_enough_has_ended() {
        let tenth = FailureLimit::Percent(10.0);
        assert!(!tenth.is_passed(9, 9, 10));
        assert!(tenth.is_passed(2, 10, 10));
        assert!(!tenth.is_passed(1, 10, 10));
        assert!(tenth.is_passed(11, 100, 10));
        assert!(!tenth.is_passed(0, 0, 0));
    }

    #[test]
    fn a_number_is_reached() {
        let two = FailureLimit::Count(2);
        assert!(!two.is_passed(1, 1, 100));
        assert!(two.is_passed(2, 2, 100));
    }
}
