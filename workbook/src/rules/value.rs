//! A cell as its column's type: what says the same in the type is converted, anything else is a
//! problem. Nothing is guessed: `1,5` may be one and a half or a thousand and a half, `007` may be a
//! code, `yes` is a word.

use std::borrow::Cow;

use super::schema::short;
use super::terms::CellType;
use crate::date;

/// A cell, as the JSON that the reader made of it, as JSON of the type.
///
/// # Errors
/// Why it is no such thing.
pub(super) fn typed(json: &str, kind: CellType) -> Result<Cow<'_, str>, String> {
    if json == "null" {
        return Ok(json.into());
    }
    let Some(text) = text_of(json) else { return plain(json, kind) };
    if kind == CellType::Text {
        return Ok(json.into());
    }
    let text = text.trim();
    if text.is_empty() {
        return Ok("null".into());
    }
    let fits = match kind {
        CellType::Integer => integer(text),
        CellType::Number => is_number(text).then(|| text.to_owned()),
        CellType::Boolean if text.eq_ignore_ascii_case("true") => Some("true".into()),
        CellType::Boolean if text.eq_ignore_ascii_case("false") => Some("false".into()),
        CellType::Date => day(text).map(|day| format!("\"{day}\"")),
        CellType::Text | CellType::Boolean => None,
    };
    fits.map(Cow::Owned).ok_or_else(|| format!("`{}` is {}", short(text), no(kind)))
}

/// A number or a truth value.
fn plain(json: &str, kind: CellType) -> Result<Cow<'_, str>, String> {
    let truth = matches!(json, "true" | "false");
    let fits = match kind {
        CellType::Text => return Ok(format!("\"{json}\"").into()),
        CellType::Boolean => truth.then(|| json.into()),
        CellType::Number => (!truth).then(|| json.into()),
        CellType::Integer => integer(json).map(Cow::Owned),
        // A number is a date only by its format, which the reader has seen.
        CellType::Date => None,
    };
    fits.ok_or_else(|| format!("`{json}` is {}", no(kind)))
}

fn no(kind: CellType) -> &'static str {
    match kind {
        CellType::Integer => "no whole number of 64 bits, written in digits alone",
        CellType::Number => "no number, written with a point and without anything else",
        CellType::Text => "no text",
        CellType::Boolean => "neither true nor false",
        CellType::Date => "no date, written as 2026-11-21",
    }
}

/// The text of a JSON string; nothing when it is something else.
pub(super) fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(inside.into())
    }
}

/// Digits of a whole number; zeros behind the point may be there, zeros in front not.
fn integer(text: &str) -> Option<String> {
    if !is_number(text) {
        return None;
    }
    let whole = match text.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => "",
        None => text,
    };
    if let Ok(number) = whole.parse::<i64>() {
        return Some(number.to_string());
    }
    // As a reader writes large numbers: 1e20 is not within 64 bits, 1.5e3 is 1500.
    let number: f64 = text.contains(['e', 'E']).then(|| text.parse().ok())??;
    let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    exact.then(|| format!("{number:.0}"))
}

/// Whether a text is a number as JSON writes it, and not beyond all numbers.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leads = digits.bytes().next().is_some_and(|first| first.is_ascii_digit());
    leads
        && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// The day of an ISO date; one with a time has to be at midnight.
fn day(text: &str) -> Option<&str> {
    let (day, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    (date::is_day(day) && matches!(time, "00:00" | "00:00:00" | "00:00:00.000")).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::CellType::{Boolean, Date, Integer, Number, Text};
    use super::*;

    #[test]
    fn what_says_the_same_is_converted() {
        for (json, kind, becomes) in [
            ("null", Integer, "null"),
            ("\"  \"", Integer, "null"),
            ("\"  \"", Text, "\"  \""),
            ("7", Integer, "7"),
            ("7.0", Integer, "7"),
            ("1.5e3", Integer, "1500"),
            ("\" -12 \"", Integer, "-12"),
            ("\"9223372036854775807\"", Integer, "9223372036854775807"),
            ("\"2.50\"", Number, "2.50"),
            ("2.50", Number, "2.50"),
            ("\"1e3\"", Number, "1e3"),
            ("7", Text, "\"7\""),
            ("true", Text, "\"true\""),
            ("\"a\\\"b\"", Text, "\"a\\\"b\""),
            ("\"TRUE\"", Boolean, "true"),
            ("false", Boolean, "false"),
            ("\"2026-02-28\"", Date, "\"2026-02-28\""),
            ("\"2026-02-28T00:00:00\"", Date, "\"2026-02-28\""),
        ] {
            assert_eq!(typed(json, kind).as_deref(), Ok(becomes), "{json} {kind:?}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for (json, kind) in [
            ("\"007\"", Integer),
            ("\"+7\"", Integer),
            ("\"1,000\"", Integer),
            ("7.5", Integer),
            ("\"7.5\"", Integer),
            ("\"9223372036854775808\"", Integer),
            ("1e20", Integer),
            ("true", Integer),
            ("\"\\u0037x\"", Integer),
            ("\"1,5\"", Number),
            ("\"1.\"", Number),
            ("\".5\"", Number),
            ("\"1e999\"", Number),
            ("\"NaN\"", Number),
            ("\"[1]\"", Number),
            ("true", Number),
            ("1", Boolean),
            ("\"yes\"", Boolean),
            ("\"2026-02-29\"", Date),
            ("\"28.02.2026\"", Date),
            ("\"2026-02-28T10:30:00\"", Date),
            ("45000", Date),
        ] {
            assert!(typed(json, kind).is_err(), "{json} {kind:?}: {:?}", typed(json, kind));
        }
    }
}
