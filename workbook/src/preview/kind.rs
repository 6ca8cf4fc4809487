//! What kind of value a cell holds, told from the JSON that it became: dates are text by then, in
//! the forms that `date` writes. In a csv file everything is text, so there a kind is what the text
//! reads as; a number with leading zeros is a name, not a number.

use serde::{Deserialize, Serialize};

use crate::date::parse_duration;

/// The kind of a value, or of a column: what most of its cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text.
    Text,
    /// A number without a fraction.
    Integer,
    /// Any other number; a column of both is one of numbers.
    Number,
    /// True or false.
    Boolean,
    /// A day: `2026-11-21`.
    Date,
    /// A day and a time.
    DateTime,
    /// A time of day.
    Time,
    /// An amount of time.
    Duration,
}

impl Kind {
    /// How many there are.
    pub(super) const COUNT: usize = 8;

    /// All of them, each at the place that it counts at.
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Text,
        Self::Integer,
        Self::Number,
        Self::Boolean,
        Self::Date,
        Self::DateTime,
        Self::Time,
        Self::Duration,
    ];

    /// The kind of a text; `reads` when what it reads as counts, as in a csv file.
    pub(super) fn of_text(text: &str, reads: bool) -> Self {
        let text = if reads { text.trim() } else { text };
        match text.as_bytes() {
            [b'P' | b'-', ..] if parse_duration(text).is_some() => Self::Duration,
            bytes if shaped(bytes, b"0000-00-00") => Self::Date,
            bytes if bytes.len() >= 19 && shaped(&bytes[..19], b"0000-00-00T00:00:00") => {
                Self::DateTime
            }
            bytes if shaped(bytes, b"00:00:00") => Self::Time,
            bytes if reads => Self::read(text, bytes),
            _ => Self::Text,
        }
    }

    fn read(text: &str, bytes: &[u8]) -> Self {
        let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
        match unsigned {
            [b'0', b'0'..=b'9', ..] => Self::Text,
            [b'0'..=b'9', ..] if unsigned.iter().all(u8::is_ascii_digit) => Self::Integer,
            // `inf` and `nan` are read as numbers too, and begin with no digit.
            [b'0'..=b'9' | b'.', ..] if text.parse::<f64>().is_ok_and(f64::is_finite) => {
                Self::Number
            }
            _ if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") => {
                Self::Boolean
            }
            _ => Self::Text,
        }
    }
}

/// Whether a text has a digit wherever the shape has one, and the shape's own sign elsewhere.
fn shaped(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(b, s)| if *s == b'0' { b.is_ascii_digit() } else { b == s })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_order() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }

    #[test]
    fn texts_are_told_apart() {
        let kinds = |text| (Kind::of_text(text, false), Kind::of_text(text, true));
        for (text, cell, field) in [
            ("2026-11-21", Kind::Date, Kind::Date),
            ("2026-11-21T10:30:00", Kind::DateTime, Kind::DateTime),
            ("2026-11-21T10:30:00.250", Kind::DateTime, Kind::DateTime),
            ("10:30:00", Kind::Time, Kind::Time),
            ("PT49H30M", Kind::Duration, Kind::Duration),
            ("-PT6H", Kind::Duration, Kind::Duration),
            ("Peter", Kind::Text, Kind::Text),
            ("17", Kind::Text, Kind::Integer),
            (" -17 ", Kind::Text, Kind::Integer),
            ("0", Kind::Text, Kind::Integer),
            ("007", Kind::Text, Kind::Text),
            ("0.5", Kind::Text, Kind::Number),
            ("1e3", Kind::Text, Kind::Number),
            ("1,5", Kind::Text, Kind::Text),
            ("inf", Kind::Text, Kind::Text),
            ("TRUE", Kind::Text, Kind::Boolean),
            ("2026-1-1", Kind::Text, Kind::Text),
            ("-", Kind::Text, Kind::Text),
            ("", Kind::Text, Kind::Text),
        ] {
            assert_eq!(kinds(text), (cell, field), "{text}");
        }
    }
}
