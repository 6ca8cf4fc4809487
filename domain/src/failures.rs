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
        match text.strip_suffix('%') {
            Some(part) if is_part(part) => {
                part.parse().map(Self::Percent).map_err(|_| BadFailureLimit)
            }
            None if is_number(text, 15) => {
                text.parse().map(Self::Count).map_err(|_| BadFailureLimit)
            }
            _ => Err(BadFailureLimit),
        }
    }
}

/// Whether it is digits, so many at most, and no zero comes first.
fn is_number(text: &str, most: usize) -> bool {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits && (1..=most).contains(&text.len()) && !text.starts_with('0')
}

/// Whether it is above 0 and below 100, with up to five places.
fn is_part(text: &str) -> bool {
    let (whole, places) = match text.split_once('.') {
        Some((whole, places)) => (whole, Some(places)),
        None => (text, None),
    };
    let fine = |places: &str| {
        places.bytes().all(|b| b.is_ascii_digit()) && (1..=5).contains(&places.len())
    };
    match whole {
        "0" => places.is_some_and(|places| fine(places) && !places.ends_with('0')),
        whole => is_number(whole, 2) && places.is_none_or(fine),
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
        for bad in [
            "",
            "0",
            "0%",
            "100%",
            "-1",
            "+1",
            "1e3",
            "1.5",
            "5 %",
            "%",
            "NaN%",
            "inf%",
            "007",
            "05%",
            "5.%",
            ".5%",
            "0.0%",
            "1.123456%",
        ] {
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
