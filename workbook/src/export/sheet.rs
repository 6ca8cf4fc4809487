//! A sheet's XML: rows, cells, and text in a form that a spreadsheet program takes for nothing else.

use std::io::Write as _;

use super::columns::{Added, unquoted};
use super::parts::{Styles, TEXT_STYLE};
use crate::date;
use crate::shape::{CellOfRow, Shape};
use rowmill_domain::ColumnNumber;

/// What a spreadsheet program takes in a cell, in UTF-16 units.
const MOST_UNITS: usize = 32_767;

pub(super) const START: &[u8] = br#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">"#;
pub(super) const END: &[u8] = b"</sheetData></worksheet>";

/// Makes rows of XML.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) xml: Vec<u8>,
    row: u32,
    row_text: String,
    /// The letters of columns met so far.
    letters: Vec<Box<str>>,
}

impl Lines {
    pub(super) fn begin_row(&mut self, row: u32) {
        self.row = row;
        self.row_text = row.to_string();
        // Writing to memory does not fail.
        let _ = write!(self.xml, r#"<row r="{row}">"#);
    }

    pub(super) fn end_row(&mut self) {
        self.xml.extend_from_slice(b"</row>");
    }

    fn open(&mut self, column: u32, style: u32) {
        while self.letters.len() <= column as usize {
            let next = ColumnNumber(self.letters.len() as u32);
            self.letters.push(next.to_string().into());
        }
        self.xml.extend_from_slice(b"<c r=\"");
        self.xml.extend_from_slice(self.letters[column as usize].as_bytes());
        self.xml.extend_from_slice(self.row_text.as_bytes());
        if style > 0 {
            let _ = write!(self.xml, "\" s=\"{style}");
        }
    }

    pub(super) fn text(&mut self, column: u32, text: &str, style: u32) {
        // Who edits such a cell, or saves it as csv, shall still have text.
        let risky = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        self.open(column, if risky && style == 0 { TEXT_STYLE } else { style });
        self.xml.extend_from_slice(b"\" t=\"inlineStr\"><is><t");
        let edge = |c: Option<char>| c.is_none_or(char::is_whitespace);
        if edge(text.chars().next()) || edge(text.chars().next_back()) {
            self.xml.extend_from_slice(b" xml:space=\"preserve\"");
        }
        self.xml.push(b'>');
        push_text(&mut self.xml, fitting(text));
        self.xml.extend_from_slice(b"</t></is></c>");
    }

    fn value(&mut self, column: u32, style: u32, kind: &str, value: &str) {
        self.open(column, style);
        self.xml.push(b'"');
        self.xml.extend_from_slice(kind.as_bytes());
        self.xml.extend_from_slice(b"><v>");
        push_text(&mut self.xml, value);
        self.xml.extend_from_slice(b"</v></c>");
    }

    /// A cell of the original.
    pub(super) fn original(&mut self, column: u32, cell: &CellOfRow<'_>, styles: &mut Styles) {
        match cell.shape {
            Shape::Empty => {}
            Shape::Text => self.text(column, &unquoted(cell.json), 0),
            Shape::Bool => {
                self.value(column, 0, " t=\"b\"", if cell.json == b"true" { "1" } else { "0" });
            }
            Shape::Error => self.value(column, 0, " t=\"e\"", &unquoted(cell.json)),
            Shape::Number { digits, code } => {
                let style = styles.of(code);
                if is_plain(digits) {
                    self.value(column, style, "", digits);
                } else {
                    // Spelled in a way that few read, such as `+3`.
                    let value: f64 = digits.parse().unwrap_or_default();
                    self.value(column, style, "", &format!("{value:E}"));
                }
            }
        }
    }

    /// A cell that is added.
    pub(super) fn added(&mut self, column: u32, value: &Added<'_>, from_1904: bool, moment: u32) {
        match value {
            Added::Empty => {}
            Added::Text(text) => self.text(column, text, 0),
            Added::Number(digits) => self.value(column, 0, "", digits),
            Added::Bool(truth) => {
                self.value(column, 0, " t=\"b\"", if *truth { "1" } else { "0" });
            }
            Added::Moment(ms) => {
                let shift = if from_1904 { 1_462.0 } else { 0.0 };
                let serial = date::serial_of_ms(*ms) - shift;
                self.value(column, moment, "", &serial.to_string());
            }
        }
    }
}

/// A number as every reader of XML reads it.
fn is_plain(digits: &str) -> bool {
    let bytes = digits.as_bytes();
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    matches!(unsigned, [b'0'..=b'9', ..])
        && !matches!(unsigned, [b'0', b'0'..=b'9', ..])
        && !digits.ends_with('.')
}

/// As much of a text as fits into a cell; what was cut off is told by an ellipsis.
fn fitting(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= MOST_UNITS {
        return text.into();
    }
    let mut units = 0;
    let mut kept = 0;
    for (at, c) in text.char_indices() {
        units += c.len_utf16();
        if units < MOST_UNITS {
            kept = at + c.len_utf8();
        }
    }
    if units <= MOST_UNITS { text.into() } else { format!("{}…", &text[..kept]).into() }
}

/// Appends text as XML. What XML cannot hold is written the way spreadsheet programs do, `_x0007_`,
/// and what only looks like that is marked so that it stays what it is.
pub(super) fn push_text(out: &mut Vec<u8>, text: impl AsRef<str>) {
    let text = text.as_ref();
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let instead: &[u8] = match byte {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'"' => b"&quot;",
            b'_' if is_escape(&text.as_bytes()[at..]) => b"_x005F_",
            b'\t' | b'\n' => continue,
            0..0x20 => {
                out.extend_from_slice(&text.as_bytes()[plain..at]);
                plain = at + 1;
                let _ = write!(out, "_x{byte:04X}_");
                continue;
            }
            // U+FFFE and U+FFFF, the only ones that begin so and are no characters.
            0xBE | 0xBF if text.as_bytes()[..at].ends_with(&[0xEF, 0xBF]) => {
                out.extend_from_slice(&text.as_bytes()[plain..at - 2]);
                plain = at + 1;
                out.extend_from_slice(if byte == 0xBE { b"_xFFFE_" } else { b"_xFFFF_" });
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[plain..at]);
        plain = at + 1;
        out.extend_from_slice(instead);
    }
    out.extend_from_slice(&text.as_bytes()[plain..]);
}

/// Whether `_x0041_` stands here.
fn is_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'_', b'x', a, b, c, d, b'_', ..]
        if [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = vec![];
        push_text(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_text_in_xml() {
        assert_eq!(escaped("a<b>&\"é"), "a&lt;b&gt;&amp;&quot;é");
        assert_eq!(escaped("\u{7}\r\n\t"), "_x0007__x000D_\n\t");
        assert_eq!(escaped("_x0041_ _x004_"), "_x005F_x0041_ _x004_");
        assert_eq!(escaped("a\u{FFFF}b\u{FFFE}\u{FFFD}"), "a_xFFFF_b_xFFFE_\u{FFFD}");
    }

    #[test]
    fn long_text_is_cut_where_a_cell_ends() {
        assert_eq!(fitting(&"x".repeat(32_767)).len(), 32_767);
        assert_eq!(fitting(&"x".repeat(32_768)).encode_utf16().count(), 32_767);
        let wide = "\u{1F600}".repeat(20_000);
        let cut = fitting(&wide);
        assert!(cut.ends_with('…') && cut.encode_utf16().count() <= 32_767);
        let short = "ä".repeat(30_000);
        assert_eq!(fitting(&short), short);
    }

    #[test]
    fn odd_numbers_are_spelled_anew() {
        for (digits, plain) in [
            ("1", true),
            ("-0.5", true),
            ("1E5", true),
            ("007", false),
            ("+3", false),
            (".5", false),
            ("5.", false),
        ] {
            assert_eq!(is_plain(digits), plain, "{digits}");
        }
    }
}
