//! The shared strings of a workbook, each text once. They are kept as JSON, side by side in one
//! allocation: a cell that refers to one is then a copy of bytes, and a million short strings do
//! not cost a million allocations.

use std::io::{Read, Seek};

use quick_xml::events::Event;

use super::super::cell;
use super::super::container::Container;
use super::super::limits::{ReadLimits, too_large};
use super::super::xml;
use rowmill_domain::Problem;

/// The texts by number.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    json: Vec<u8>,
    ends: Vec<usize>,
}

impl Strings {
    /// The text of that number as JSON.
    pub(crate) fn get(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)?;
        let start = if i == 0 { 0 } else { *self.ends.get(i - 1)? };
        self.json.get(start..end)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Adds the next one.
    pub(crate) fn push(&mut self, text: &str, limits: &ReadLimits) -> Result<(), Problem> {
        cell::write_text(&mut self.json, text);
        self.ends.push(self.json.len());
        let size = self.json.len() + self.ends.len() * size_of::<usize>();
        if size > limits.shared_string_bytes {
            let limit = limits.shared_string_bytes;
            return Err(too_large(format!("the shared strings take over {limit} bytes")));
        }
        Ok(())
    }
}

pub(super) fn read<R: Read + Seek>(
    container: &mut Container<R>,
    part: &str,
    limits: &ReadLimits,
) -> Result<Strings, Problem> {
    let mut strings = Strings::default();
    let mut xml = xml::open(part, container.part(part)?)?;
    let (mut buffer, mut inner, mut text) = (Vec::new(), Vec::new(), String::new());
    loop {
        buffer.clear();
        match xml.read_event_into(&mut buffer).map_err(|error| xml::bad(part, error))? {
            Event::Start(e) if e.local_name().as_ref() == "si" => {
                text.clear();
                push_rich(&mut xml, &mut inner, &mut text, part)?;
                strings.push(&unescape(&text), limits)?;
            }
            Event::Empty(e) if e.local_name().as_ref() == "si" => strings.push("", limits)?,
            Event::Eof => return Ok(strings),
            _ => {}
        }
    }
}

/// Appends the text of a string item or an inline string just begun: its runs one after another,
/// without the reading aids (`rPh`) of East Asian text.
pub(super) fn push_rich<R: Read>(
    xml: &mut xml::Xml<R>,
    buffer: &mut Vec<u8>,
    out: &mut String,
    part: &str,
) -> Result<(), Problem> {
    enum Next {
        Text,
        Skip,
    }
    let mut depth = 0_u32;
    loop {
        buffer.clear();
        let next = match xml.read_event_into(buffer).map_err(|error| xml::bad(part, error))? {
            Event::Start(e) => match e.local_name().as_ref() {
                "t" => Next::Text,
                "rPh" => Next::Skip,
                _ => {
                    depth += 1;
                    continue;
                }
            },
            Event::End(_) if depth == 0 => return Ok(()),
            Event::End(_) => {
                depth -= 1;
                continue;
            }
            Event::Eof => return Err(xml::bad(part, "it ends in the middle of a text")),
            _ => continue,
        };
        match next {
            Next::Text => xml::push_text(xml, buffer, out, part)?,
            Next::Skip => xml::skip(xml, buffer, part)?,
        }
    }
}

/// Characters that XML cannot hold are written `_x000D_`; the escape itself as `_x005F_`.
pub(super) fn unescape(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains("_x") {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("_x") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let code = from.get(2..6).filter(|hex| {
            from.as_bytes().get(6) == Some(&b'_') && hex.bytes().all(|b| b.is_ascii_hexdigit())
        });
        match code.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32) {
            Some(c) => {
                out.push(c);
                rest = &from[7..];
            }
            None => {
                out.push_str("_x");
                rest = &from[2..];
            }
        }
    }
    out.push_str(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        for (text, expected) in [
            ("a_x000D_\nb", "a\r\nb"),
            ("_x005F_x000D_", "_x000D_"),
            ("_xyz_ _x12_ _x", "_xyz_ _x12_ _x"),
            ("_xD800_", "_xD800_"),
            ("_x00e4_é_x0041_", "äéA"),
        ] {
            assert_eq!(unescape(text), expected);
        }
    }

    #[test]
    fn strings_are_found_by_number() {
        let mut strings = Strings::default();
        let limits = ReadLimits { shared_string_bytes: 40, ..ReadLimits::default() };
        strings.push("a\"b", &limits).unwrap();
        strings.push("", &limits).unwrap();
        assert_eq!(strings.get(0), Some(&br#""a\"b""#[..]));
        assert_eq!(strings.get(1), Some(&b"\"\""[..]));
        assert_eq!((strings.get(2), strings.len()), (None, 2));
        assert!(strings.push("too much for it", &limits).is_err());
    }
}
