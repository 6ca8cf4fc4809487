//! Dates that were typed as text: `03/04/2026` is a day in March or in April, and only the other
//! cells of its column can say which. One with a number over 12 gives the order away; where none
//! does, or where they disagree, a person has to be asked.

use serde::{Deserialize, Serialize};

/// In what order the dates of a column are written, as far as its cells give it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateOrder {
    /// DD/MM: some first number is over 12, and no second one.
    DayFirst,
    /// MM/DD: some second number is over 12, and no first one.
    MonthFirst,
    /// Both would do for every cell.
    Ambiguous,
    /// Some cells can only be the one, some only the other.
    Mixed,
}

/// What one text says about the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Only a day first makes it a date.
    DayFirst,
    /// Only a month first does.
    MonthFirst,
    /// Either does.
    Either,
}

/// A text that looks like a date: two numbers and a year with `/`, `-` or `.` between them, and
/// perhaps a time after a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrittenDate<'t> {
    pub(crate) first: u16,
    pub(crate) second: u16,
    /// Two digits or four.
    pub(crate) year: &'t str,
    /// Digits, colons, spaces and what may follow them.
    pub(crate) time: Option<&'t str>,
    dots: bool,
}

impl<'t> WrittenDate<'t> {
    pub(crate) fn of(text: &'t str) -> Option<Self> {
        let text = text.trim();
        let (date, time) =
            text.split_once(' ').map_or((text, None), |(date, time)| (date, Some(time)));
        // Most texts end here.
        if !(6..=10).contains(&date.len()) || !date.as_bytes()[0].is_ascii_digit() {
            return None;
        }
        let separator = ['/', '-', '.'].into_iter().find(|sign| date.contains(*sign))?;
        let mut parts = date.split(separator);
        let (first, second) = (number(parts.next()?, 1..=2)?, number(parts.next()?, 1..=2)?);
        let year = parts.next()?;
        if parts.next().is_some() || !matches!(year.len(), 2 | 4) || number(year, 2..=4).is_none() {
            return None;
        }
        let of_time = |b: u8| b.is_ascii_digit() || b": AaPpMm.".contains(&b);
        if time.is_some_and(|time| !time.bytes().all(of_time)) {
            return None;
        }
        Some(Self { first, second, year, time, dots: separator == '.' })
    }

    /// What it says; nothing when neither order makes it a date.
    pub(crate) fn evidence(&self) -> Option<Evidence> {
        let (day, month) = (1..=31, 1..=12);
        match (
            day.contains(&self.first) && month.contains(&self.second),
            month.contains(&self.first) && day.contains(&self.second),
        ) {
            // Nobody writes a month first with dots between.
            (true, true) if self.dots => Some(Evidence::DayFirst),
            (true, true) => Some(Evidence::Either),
            (true, false) => Some(Evidence::DayFirst),
            (false, true) => Some(Evidence::MonthFirst),
            (false, false) => None,
        }
    }
}

/// What a text says, if it can be a date at all.
pub(crate) fn evidence(text: &str) -> Option<Evidence> {
    WrittenDate::of(text)?.evidence()
}

fn number(digits: &str, length: std::ops::RangeInclusive<usize>) -> Option<u16> {
    let plain = length.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_over_twelve_gives_the_order_away() {
        for (text, says) in [
            ("03/04/2026", Some(Evidence::Either)),
            ("3/4/26", Some(Evidence::Either)),
            ("13/04/2026", Some(Evidence::DayFirst)),
            ("04-13-2026", Some(Evidence::MonthFirst)),
            ("03.04.2026", Some(Evidence::DayFirst)),
            ("04/13/2026 10:30 PM", Some(Evidence::MonthFirst)),
            ("13/13/2026", None),
            ("0/4/2026", None),
            ("32/1/2026", None),
            ("1/2/3/2026", None),
            ("1/2/202", None),
            ("+1/2/2026", None),
            ("2026-11-21", None),
            ("12/11/2026 as agreed", None),
            ("é/é/2026", None),
            ("", None),
        ] {
            assert_eq!(evidence(text), says, "{text}");
        }
    }
}
