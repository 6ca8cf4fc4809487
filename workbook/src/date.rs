//! Serial numbers to dates. A workbook counts days from 1900 or from 1904. The 1900 count has a
//! 29 February 1900, which never was: days before it are one off, and the day itself is no date.
//! Everything is rounded to the millisecond before it is cut into parts, so that no time ever
//! reads `10:29:60`.

use std::io::Write as _;

use super::format::Format;

const DAY_MS: i64 = 86_400_000;
/// Days from 1 January of the year 0 (proleptic) to 31 December 9999: what a date can be.
const LAST_DAY: i64 = 2_932_896;

/// What day number one of a workbook is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Epoch {
    /// 1 January 1900 is day 1.
    #[default]
    Y1900,
    /// 1 January 1904 is day 0.
    Y1904,
}

/// Appends the serial number as what its format says, without quotes; day 0 of the count from
/// 1900 is no day, what is left of it is a time. False, and nothing is
/// written, if it is no such thing: negative, beyond the year 9999, or 29 February 1900.
pub(crate) fn write_serial(out: &mut Vec<u8>, value: f64, format: &Format, epoch: Epoch) -> bool {
    // Beyond this no millisecond is exact; far beyond every date there is.
    if !value.is_finite() || value.abs() > 1e8 {
        return false;
    }
    let total = (value * DAY_MS as f64).round() as i64;
    if *format == Format::Duration {
        write_duration(out, total);
        return true;
    }
    let (day, time) = (total.div_euclid(DAY_MS), total.rem_euclid(DAY_MS));
    if day < 0 {
        return false;
    }
    if day == 0 && (*format == Format::Time || epoch == Epoch::Y1900) {
        write_time(out, time);
        return true;
    }
    // Days of the serial number to days from 1970-01-01.
    let days = match (epoch, day) {
        (Epoch::Y1900, 60) => return false,
        (Epoch::Y1900, ..60) => day - 25_568,
        (Epoch::Y1900, _) => day - 25_569,
        (Epoch::Y1904, _) => day - 24_107,
    };
    if days > LAST_DAY {
        return false;
    }
    write_day(out, days);
    if *format != Format::Date || time != 0 {
        out.push(b'T');
        write_time(out, time);
    }
    true
}

/// Appends an amount of milliseconds as ISO 8601: `PT49H30M`.
pub(crate) fn write_duration(out: &mut Vec<u8>, total: i64) {
    if total < 0 {
        out.push(b'-');
    }
    let total = total.unsigned_abs();
    let (hours, minutes, ms) = (total / 3_600_000, total / 60_000 % 60, total % 60_000);
    out.extend_from_slice(b"PT");
    // Writing to memory does not fail.
    if hours > 0 {
        let _ = write!(out, "{hours}H");
    }
    if minutes > 0 {
        let _ = write!(out, "{minutes}M");
    }
    match (ms / 1000, ms % 1000) {
        (0, 0) if total > 0 => {}
        (seconds, 0) => {
            let _ = write!(out, "{seconds}S");
        }
        (seconds, rest) => {
            let _ = write!(out, "{seconds}.{rest:03}S");
        }
    }
}

/// Appends a time of day, with milliseconds if there are any.
pub(crate) fn write_time(out: &mut Vec<u8>, ms: i64) {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let _ = write!(out, "{hours:02}:{minutes:02}:{seconds:02}");
    if ms % 1000 != 0 {
        let _ = write!(out, ".{:03}", ms % 1000);
    }
}

/// Days from 1970-01-01 to the civil calendar, by eras of 400 years that begin in March.
fn write_day(out: &mut Vec<u8>, days: i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}");
}

/// Appends a date, a time or both that a file spells out (`2020-03-31`, `08:30`,
/// `1976-11-22T08:30:00.000`) in our own form. False, and nothing is written, if it is none.
pub(crate) fn write_iso(out: &mut Vec<u8>, text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (day, time) = match text.split_once(['T', ' ']) {
        Some((day, time)) => (Some(day), Some(time)),
        None if text.contains(':') => (None, Some(text)),
        None => (Some(text), None),
    };
    let time = match time.map(parse_time) {
        Some(None) => return false,
        Some(some) => some,
        None => None,
    };
    if let Some(day) = day {
        if !is_day(day) {
            return false;
        }
        out.extend_from_slice(day.as_bytes());
        if time.is_some() {
            out.push(b'T');
        }
    }
    if let Some(ms) = time {
        write_time(out, ms);
    }
    true
}

/// The serial number, counted from 1900, of a date, time or both in our own form (`2020-03-31`,
/// `08:30:00`, `2020-03-31T08:30:00`). Nothing for days before March 1900, where spreadsheet programs
/// disagree, and for what is no such thing.
pub(crate) fn serial_of_iso(text: &str) -> Option<f64> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (Some(day), Some(time)),
        None if text.contains(':') => (None, Some(text)),
        None => (Some(text), None),
    };
    let ms = time.map_or(Some(0), parse_time)?;
    let Some(day) = day else { return Some(ms as f64 / DAY_MS as f64) };
    if !is_day(day) {
        return None;
    }
    let mut parts = day.split('-').map(|part| part.parse::<i64>().unwrap_or(0));
    let (year, month, of_month) = (parts.next()?, parts.next()?, parts.next()?);
    // The same eras as `write_day`, the other way round.
    let year = year - i64::from(month <= 2);
    let of_era = year.rem_euclid(400);
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + of_month - 1;
    let days = year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let serial = days - 719_468 + 25_569;
    (serial > 60).then(|| serial as f64 + ms as f64 / DAY_MS as f64)
}

/// The serial number, counted from 1900, of a moment in milliseconds since 1970 (UTC).
pub(crate) fn serial_of_ms(ms: i64) -> f64 {
    25_569.0 + ms as f64 / DAY_MS as f64
}

/// A moment in milliseconds since 1970, as RFC 3339 in UTC.
pub(crate) fn write_moment(out: &mut Vec<u8>, ms: i64) {
    write_day(out, ms.div_euclid(DAY_MS));
    out.push(b'T');
    write_time(out, ms.rem_euclid(DAY_MS));
    out.push(b'Z');
}

/// Whether a text is a day that is, as `2026-11-21`.
pub(crate) fn is_day(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut next = |width: usize| {
        let part = parts.next()?;
        let digits = part.len() == width && part.bytes().all(|b| b.is_ascii_digit());
        if digits { part.parse::<u32>().ok() } else { None }
    };
    let (Some(year), Some(month), Some(day)) = (next(4), next(2), next(2)) else { return false };
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    parts.next().is_none() && (1..=longest).contains(&day)
}

fn parse_time(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let hours = two_digits(parts.next()?)?;
    let minutes = two_digits(parts.next()?)?;
    let ms = match parts.next() {
        None => 0,
        Some(seconds) => {
            let (whole, _) = seconds.split_once('.').unwrap_or((seconds, ""));
            two_digits(whole).filter(|&s| s < 60)?;
            (seconds.parse::<f64>().ok()? * 1000.0).round() as i64
        }
    };
    let total = hours * 3_600_000 + minutes * 60_000 + ms;
    (hours < 24 && minutes < 60 && parts.next().is_none() && total < DAY_MS).then_some(total)
}

fn two_digits(text: &str) -> Option<i64> {
    (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Milliseconds of an ISO 8601 duration such as `PT10H30M00.5S` or `-P1DT2H`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let mut rest = rest.strip_prefix('P')?;
    let (mut total, mut in_time) = (0.0, false);
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            (rest, in_time) = (time, true);
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest.get(..end)?.parse().ok()?;
        let unit = match (rest.as_bytes().get(end)?, in_time) {
            (b'D', false) => DAY_MS as f64,
            (b'H', true) => 3_600_000.0,
            (b'M', true) => 60_000.0,
            (b'S', true) => 1_000.0,
            _ => return None,
        };
        total += amount * unit;
        rest = rest.get(end + 1..)?;
    }
    let total = (sign * total).round();
    (total.abs() < 1e15).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn serial(value: f64, format: Format, epoch: Epoch) -> Option<String> {
        let mut out = Vec::new();
        write_serial(&mut out, value, &format, epoch).then(|| String::from_utf8(out).unwrap())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn both_calendars_and_the_day_that_never_was() {
        use Epoch::{Y1900, Y1904};
        assert_eq!(serial(1.0, Format::Date, Y1900), some("1900-01-01"));
        assert_eq!(serial(59.0, Format::Date, Y1900), some("1900-02-28"));
        assert_eq!(serial(60.0, Format::Date, Y1900), None);
        assert_eq!(serial(61.0, Format::Date, Y1900), some("1900-03-01"));
        assert_eq!(serial(2_958_465.0, Format::Date, Y1900), some("9999-12-31"));
        assert_eq!(serial(2_958_466.0, Format::Date, Y1900), None);
        assert_eq!(serial(0.0, Format::Date, Y1904), some("1904-01-01"));
        assert_eq!(serial(42_735.0, Format::Date, Y1904), some("2021-01-01"));
        assert_eq!(serial(2_957_003.0, Format::Date, Y1904), some("9999-12-31"));
        assert_eq!(serial(2_957_004.0, Format::Date, Y1904), None);
        // A day before the first is none: what is left is the time.
        assert_eq!(serial(0.0, Format::Date, Y1900), some("00:00:00"));
        assert_eq!(serial(0.5, Format::DateTime, Y1900), some("12:00:00"));
        assert_eq!(serial(-1.0, Format::Date, Y1904), None);
        assert_eq!(serial(1e20, Format::Date, Y1900), None);
        assert_eq!(serial(f64::NAN, Format::Date, Y1900), None);
    }

    #[test]
    fn times_are_rounded_before_they_are_cut() {
        use Epoch::{Y1900, Y1904};
        assert_eq!(serial(0.5631388888888889, Format::Time, Y1900), some("13:30:55.200"));
        let almost = 59.999_999_999_9;
        assert_eq!(serial(almost, Format::DateTime, Y1904), some("1904-03-01T00:00:00"));
        let second = 59.999_988_425_925_93;
        assert_eq!(serial(second, Format::DateTime, Y1904), some("1904-02-29T23:59:59"));
        assert_eq!(serial(0.5 + 1.0 / 86_400_000.0, Format::Time, Y1900), some("12:00:00.001"));
        assert_eq!(serial(43_831.5, Format::Date, Y1900), some("2020-01-01T12:00:00"));
        assert_eq!(serial(43_831.0, Format::DateTime, Y1900), some("2020-01-01T00:00:00"));
        assert_eq!(serial(43_831.5, Format::Time, Y1900), some("2020-01-01T12:00:00"));
        assert_eq!(serial(0.0, Format::Time, Y1900), some("00:00:00"));
    }

    #[test]
    fn durations_are_iso_8601() {
        let text = |days| serial(days, Format::Duration, Epoch::Y1900).unwrap();
        assert_eq!(text(49.5 / 24.0), "PT49H30M");
        assert_eq!(text(10.6320601851852), "PT255H10M10S");
        assert_eq!(text(0.0), "PT0S");
        assert_eq!(text(1.5 / 86_400.0), "PT1.500S");
        assert_eq!(text(-0.25), "-PT6H");
        assert_eq!(parse_duration("PT10H30M00.5S"), Some(37_800_500));
        assert_eq!(parse_duration("-P1DT2H"), Some(-93_600_000));
        for bad in ["", "P1Y", "PT1", "10:30", "PT1e9H", "PTS", "P1D1H"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_spelled_out_are_checked() {
        let iso = |text: &str| {
            let mut out = Vec::new();
            write_iso(&mut out, text).then(|| String::from_utf8(out).unwrap())
        };
        assert_eq!(iso("1976-11-22T08:30:00.000"), some("1976-11-22T08:30:00"));
        assert_eq!(iso("1976-11-22T08:30"), some("1976-11-22T08:30:00"));
        assert_eq!(iso("1582-10-15"), some("1582-10-15"));
        assert_eq!(iso("08:30"), some("08:30:00"));
        assert_eq!(iso("2020-02-29T23:59:59.25Z"), some("2020-02-29T23:59:59.250"));
        for bad in ["2021-02-29", "2021-13-01", "24:00:00", "x", "", "2021-1-1", "10:00:60"] {
            assert_eq!(iso(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_date_spelled_out_is_its_number_again(day in 61_i64..2_958_465, ms in 0_i64..DAY_MS) {
            let value = day as f64 + ms as f64 / DAY_MS as f64;
            let text = serial(value, Format::DateTime, Epoch::Y1900).unwrap();
            let back = serial_of_iso(&text).unwrap();
            prop_assert!((back - value).abs() < 1e-9, "{} {} {}", text, value, back);
        }

        #[test]
        fn a_serial_number_reads_back(day in 61_i64..2_958_465, ms in 0_i64..DAY_MS) {
            let value = day as f64 + ms as f64 / DAY_MS as f64;
            let text = serial(value, Format::DateTime, Epoch::Y1900).unwrap();
            let (date, time) = text.split_once('T').unwrap();
            prop_assert!(is_day(date));
            prop_assert_eq!(parse_time(time), Some(ms));
        }

        #[test]
        fn the_next_day_is_later(day in 61_i64..2_958_465) {
            let text = |day: i64| serial(day as f64, Format::Date, Epoch::Y1900);
            prop_assert!(text(day) < text(day + 1));
        }
    }
}
