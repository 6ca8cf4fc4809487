//! A date that is written as text, in a known order, as the ISO date that a cell with a date format
//! would have been. A text that is no date in any order stays what it is; one that is none in this
//! order is a problem, because something is wrong about the column or the order.

use super::terms::Order;
use crate::date;
use crate::preview::dates::{Evidence, WrittenDate};

/// The ISO date; nothing when the text is no date at all.
pub(super) fn iso(text: &str, order: Order) -> Option<Result<String, String>> {
    let written = WrittenDate::of(text)?;
    let evidence = written.evidence()?;
    Some(convert(&written, evidence, order).map_err(|why| format!("`{}` {why}", text.trim())))
}

fn convert(written: &WrittenDate<'_>, evidence: Evidence, order: Order) -> Result<String, String> {
    let (day, month) = match (order, evidence) {
        (Order::Dmy, Evidence::DayFirst | Evidence::Either) => (written.first, written.second),
        (Order::Mdy, Evidence::MonthFirst | Evidence::Either) => (written.second, written.first),
        (Order::Dmy, Evidence::MonthFirst) => return Err("is no date with the day first".into()),
        (Order::Mdy, Evidence::DayFirst) => return Err("is no date with the month first".into()),
    };
    if written.year.len() != 4 {
        return Err("has a year of two digits: its century is not guessed".into());
    }
    let iso = format!("{}-{month:02}-{day:02}", written.year);
    if !date::is_day(&iso) {
        return Err("is a day that never was".into());
    }
    match written.time {
        None => Ok(iso),
        Some(time) => match clock(time) {
            Some(time) => Ok(format!("{iso}T{time}")),
            None => Err("has a time that cannot be read".into()),
        },
    }
}

/// `10:30`, `10:30:15`, `10:30 PM` as `10:30:00` and so on.
fn clock(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let (digits, half) = match (text.strip_suffix("am"), text.strip_suffix("pm")) {
        (Some(digits), _) => (digits.trim_end(), Some(0)),
        (_, Some(digits)) => (digits.trim_end(), Some(12)),
        _ => (text.as_str(), None),
    };
    let mut parts = digits.split(':');
    let mut next = || {
        let part = parts.next()?;
        let plain = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u8>().ok().filter(|_| plain)
    };
    let (hours, minutes) = (next()?, next()?);
    let seconds = if digits.matches(':').count() == 2 { next()? } else { 0 };
    let hours = match half {
        Some(half) => Some(hours).filter(|hours| (1..=12).contains(hours))? % 12 + half,
        None => hours,
    };
    let holds = digits.matches(':').count() <= 2 && hours < 24 && minutes < 60 && seconds < 60;
    holds.then(|| format!("{hours:02}:{minutes:02}:{seconds:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_what_a_date_cell_would_be() {
        for (text, order, becomes) in [
            ("03/04/2026", Order::Dmy, "2026-04-03"),
            ("03/04/2026", Order::Mdy, "2026-03-04"),
            (" 3-4-2026 ", Order::Dmy, "2026-04-03"),
            ("31.12.2026", Order::Dmy, "2026-12-31"),
            ("29/2/2028", Order::Dmy, "2028-02-29"),
            ("12/31/2026 10:30", Order::Mdy, "2026-12-31T10:30:00"),
            ("12/31/2026 12:05:09 AM", Order::Mdy, "2026-12-31T00:05:09"),
            ("12/31/2026 12:05pm", Order::Mdy, "2026-12-31T12:05:00"),
            ("12/31/2026 11:05 PM", Order::Mdy, "2026-12-31T23:05:00"),
        ] {
            assert_eq!(iso(text, order), Some(Ok(becomes.to_owned())), "{text}");
        }
        for text in ["", "a", "2026-04-03", "13/13/2026", "1/2", "03/04/2026 as agreed"] {
            assert_eq!(iso(text, Order::Dmy), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (text, order, why) in [
            ("04/13/2026", Order::Dmy, "day first"),
            ("13/04/2026", Order::Mdy, "month first"),
            ("03.04.2026", Order::Mdy, "month first"),
            ("31/04/2026", Order::Dmy, "never was"),
            ("29/02/2026", Order::Dmy, "never was"),
            ("3/4/26", Order::Dmy, "century"),
            ("03/04/2026 25:00", Order::Dmy, "time"),
            ("03/04/2026 13:00 PM", Order::Dmy, "time"),
            ("03/04/2026 10:30:1.5", Order::Dmy, "time"),
            ("03/04/2026 10:30:10:10", Order::Dmy, "time"),
        ] {
            let told = iso(text, order).unwrap().unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
