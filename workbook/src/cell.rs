//! One cell to JSON text, straight into the buffer that is stored: this runs once for every cell
//! of every file, so there is no value in between and, for most cells, no number is parsed. What
//! a person should know about the cell is handed back as a [`Note`].

use std::io::Write as _;

use super::date::{self, Epoch};
use super::format::{Format, pad};

/// A cell as a format's reader found it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// Text that is JSON already, quotes included.
    Json(&'a [u8]),
    /// A number as the file spells it.
    Digits(&'a str, &'a Format),
    /// A number that the file holds as such.
    Float(f64, &'a Format),
    /// A truth value.
    Bool(bool),
    /// An error, such as `#DIV/0!`.
    Error(&'a str),
    /// A date or time that the file spells out.
    Iso(&'a str),
    /// A time of day or an amount of time, in milliseconds.
    Span(i64, &'a Format),
    /// A formula whose result was not saved.
    Uncalculated,
}

/// What a person should know about a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    /// It holds an error.
    Error,
    /// It is a number of more digits than a spreadsheet can hold.
    LongNumber,
    /// It should be a number and is not.
    NotANumber,
    /// It should be a date and cannot be one.
    NotADate,
    /// It is a formula without a saved result.
    Uncalculated,
}

impl Note {
    /// The note in words, about the value as written.
    pub(crate) fn detail(self, json: &str) -> String {
        let shown: String = json.chars().take(80).collect();
        match self {
            Self::Error => format!("the cell holds the error {shown}, kept as text"),
            Self::LongNumber => {
                format!("{shown} has more than 15 digits; a spreadsheet may have rounded it")
            }
            Self::NotANumber => format!("{shown} stands where a number should, kept as text"),
            Self::NotADate => format!("{shown} is formatted as a date but is none, kept as it is"),
            Self::Uncalculated => "the formula has no saved result, so the value is null; \
                 open and save the file in a spreadsheet program"
                .to_owned(),
        }
    }
}

/// What became of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is empty; nothing was written.
    Nothing,
    /// JSON was written.
    Json,
    /// JSON was written, or null is meant, and there is something to say.
    Noted(Note),
}

/// Appends a cell's JSON.
pub(crate) fn write(out: &mut Vec<u8>, value: Value<'_>, epoch: Epoch) -> Written {
    match value {
        Value::Text("") | Value::Json(b"\"\"") => return Written::Nothing,
        Value::Text(text) => write_text(out, text),
        Value::Json(json) => out.extend_from_slice(json),
        Value::Digits(text, format) => return write_digits(out, text, format, epoch),
        Value::Float(value, format) => return write_float(out, value, format, epoch),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Error(text) => {
            write_text(out, text);
            return Written::Noted(Note::Error);
        }
        Value::Iso(text) => {
            if !quoted(out, |out| date::write_iso(out, text)) {
                write_text(out, text);
                return Written::Noted(Note::NotADate);
            }
        }
        Value::Span(ms, Format::Time) if (0..86_400_000).contains(&ms) => {
            quoted(out, |out| {
                date::write_time(out, ms);
                true
            });
        }
        Value::Span(ms, _) => {
            quoted(out, |out| {
                date::write_duration(out, ms);
                true
            });
        }
        Value::Uncalculated => {
            out.extend_from_slice(b"null");
            return Written::Noted(Note::Uncalculated);
        }
    }
    Written::Json
}

/// Appends text as a JSON string.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    // Text always has a JSON form, and memory takes it.
    let _ = serde_json::to_writer(out, text);
}

fn quoted(out: &mut Vec<u8>, inside: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    let start = out.len();
    out.push(b'"');
    if inside(out) {
        out.push(b'"');
        return true;
    }
    out.truncate(start);
    false
}

fn write_digits(out: &mut Vec<u8>, text: &str, format: &Format, epoch: Epoch) -> Written {
    if *format == Format::Plain
        && let Some(written) = copy_digits(out, text)
    {
        return written;
    }
    let trimmed = text.trim_matches([' ', '\t', '\r', '\n']);
    if trimmed.is_empty() {
        return Written::Nothing;
    }
    match trimmed.parse::<f64>() {
        Ok(value) if value.is_finite() => write_float(out, value, format, epoch),
        _ => {
            write_text(out, trimmed);
            Written::Noted(Note::NotANumber)
        }
    }
}

/// The common case: digits that are a JSON number already are copied, not parsed and printed.
/// `None` is for everything that needs a closer look, such as exponents and `1.50`.
fn copy_digits(out: &mut Vec<u8>, text: &str) -> Option<Written> {
    let bytes = text.as_bytes();
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let whole = unsigned.iter().take_while(|b| b.is_ascii_digit()).count();
    if whole == 0 || (whole > 1 && unsigned[0] == b'0') || bytes.len() > 310 {
        return None;
    }
    match &unsigned[whole..] {
        [] if bytes == b"-0" => return None,
        [] => {}
        // A last 0 could make it integral.
        [b'.', part @ .., last] if last.is_ascii_digit() && *last != b'0' && whole <= 15 => {
            if part.len() > 20 || !part.iter().all(u8::is_ascii_digit) {
                return None;
            }
        }
        _ => return None,
    }
    out.extend_from_slice(bytes);
    Some(if whole > 15 { Written::Noted(Note::LongNumber) } else { Written::Json })
}

fn write_float(out: &mut Vec<u8>, value: f64, format: &Format, epoch: Epoch) -> Written {
    match format {
        Format::Plain => write_number(out, value),
        Format::Zeros(places) if value.fract() == 0.0 && value.abs() < 1e15 => {
            let digits = (value.abs() as i64).to_string();
            let sign = if value < 0.0 { "-" } else { "" };
            write_text(out, &format!("{sign}{}", pad(places, &digits)));
            Written::Json
        }
        Format::Zeros(_) => write_number(out, value),
        dated => {
            if quoted(out, |out| date::write_serial(out, value, dated, epoch)) {
                return Written::Json;
            }
            write_number(out, value);
            Written::Noted(Note::NotADate)
        }
    }
}

fn write_number(out: &mut Vec<u8>, value: f64) -> Written {
    // Writing to memory does not fail.
    if !value.is_finite() {
        write_text(out, &value.to_string());
        return Written::Noted(Note::NotANumber);
    }
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e15 {
        let _ = write!(out, "{}", value as i64);
    } else if !(1e-7..1e21).contains(&size) {
        let _ = write!(out, "{value:e}");
    } else {
        let _ = write!(out, "{value}");
    }
    if size >= 1e15 { Written::Noted(Note::LongNumber) } else { Written::Json }
}

/// A cell's JSON as the text of a header: what stands in a string, or the number as written.
pub(crate) fn header_text(json: &[u8]) -> String {
    match json {
        [b'"', ..] => serde_json::from_slice(json).unwrap_or_default(),
        b"null" => String::new(),
        _ => String::from_utf8_lossy(json).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(value: Value<'_>) -> (String, Written) {
        let mut out = Vec::new();
        let written = write(&mut out, value, Epoch::Y1900);
        (String::from_utf8(out).unwrap(), written)
    }

    fn plain(text: &str) -> String {
        json(Value::Digits(text, &Format::Plain)).0
    }

    #[test]
    fn numbers_come_out_as_json_numbers() {
        for (text, expected) in [
            ("5", "5"),
            ("-5", "-5"),
            ("5.0", "5"),
            ("-0", "0"),
            ("007", "7"),
            ("1.50", "1.5"),
            ("0.19681712962962963", "0.19681712962962963"),
            ("4.9189814814814816E-3", "0.004918981481481482"),
            ("5.0000000000000002E-10", "5e-10"),
            ("1E3", "1000"),
            (" 12 ", "12"),
            ("+3", "3"),
            (".5", "0.5"),
            ("5.", "5"),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_text_with_a_warning() {
        for text in ["NaN", "nan", "inf", "-Infinity", "1e999", "12a", "1,5", "--1", "0x10"] {
            let (json, written) = json(Value::Digits(text, &Format::Plain));
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(written, Written::Noted(Note::NotANumber), "{text}");
        }
    }

    #[test]
    fn more_than_fifteen_digits_are_kept_and_told() {
        let (text, written) = json(Value::Digits("12345678901234567890", &Format::Plain));
        assert_eq!(
            (text.as_str(), written),
            ("12345678901234567890", Written::Noted(Note::LongNumber))
        );
        assert_eq!(json(Value::Digits("123456789012345", &Format::Plain)).1, Written::Json);
        assert_eq!(json(Value::Float(1e20, &Format::Plain)).0, "100000000000000000000");
        assert_eq!(plain("9.999E+307"), "9.999e307");
    }

    #[test]
    fn formats_decide() {
        let zeros = Format::parse("00000");
        assert_eq!(json(Value::Digits("42", &zeros)).0, "\"00042\"");
        assert_eq!(json(Value::Digits("-42", &zeros)).0, "\"-00042\"");
        assert_eq!(json(Value::Digits("4.5", &zeros)).0, "4.5");
        assert_eq!(json(Value::Digits("44197", &Format::Date)).0, "\"2021-01-01\"");
        let (text, written) = json(Value::Digits("-3", &Format::Date));
        assert_eq!((text.as_str(), written), ("-3", Written::Noted(Note::NotADate)));
        assert_eq!(json(Value::Iso("2021-02-30")).0, "\"2021-02-30\"");
    }

    #[test]
    fn empty_text_is_nothing() {
        assert_eq!(json(Value::Text("")), (String::new(), Written::Nothing));
        assert_eq!(json(Value::Json(b"\"\"")), (String::new(), Written::Nothing));
        assert_eq!(json(Value::Digits("  ", &Format::Plain)).1, Written::Nothing);
    }

    proptest! {
        #[test]
        fn every_number_reads_back(value in proptest::num::f64::NORMAL | proptest::num::f64::ZERO) {
            for text in [value.to_string(), format!("{value:e}"), format!("{value:E}")] {
                let read: f64 = serde_json::from_str::<serde_json::Value>(&plain(&text))
                    .unwrap().as_f64().unwrap();
                prop_assert!((read - value).abs() <= value.abs() * 1e-15, "{} {}", text, read);
            }
        }

        #[test]
        fn whatever_stands_in_a_cell_is_valid_json(text in ".*", code in "[hdmys0#.\\[\\]:;\"]{0,8}") {
            let format = Format::parse(&code);
            for value in [Value::Text(&text), Value::Digits(&text, &format), Value::Iso(&text)] {
                let (json, written) = json(value);
                let valid = serde_json::from_str::<serde_json::Value>(&json).is_ok();
                prop_assert!(valid || written == Written::Nothing, "{}", json);
            }
        }

        #[test]
        fn text_is_unchanged(text in ".+") {
            let (json, _) = json(Value::Text(&text));
            prop_assert_eq!(header_text(json.as_bytes()), text);
        }
    }
}
