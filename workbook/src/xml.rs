//! Small helpers around quick-xml, shared by the formats whose parts are XML: a part in UTF-16 is
//! decoded on the way, attributes are looked up without allocating, entities are resolved.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

use quick_xml::encoding::DecodingReader;
use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::limits::unreadable;
use rowmill_domain::Problem;

/// A part's text, decoded where it must be.
pub(crate) enum Decoded<R: Read> {
    /// UTF-8, as nearly always.
    Utf8(BufReader<R>),
    /// UTF-16.
    Utf16(Box<DecodingReader<BufReader<R>>>),
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read> BufRead for Decoded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Utf8(read) => read.fill_buf(),
            Self::Utf16(read) => read.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::Utf8(read) => read.consume(amount),
            Self::Utf16(read) => read.consume(amount),
        }
    }
}

/// A reader of a part's events.
pub(crate) type Xml<R> = Reader<Decoded<R>>;

/// Begins to read a part.
pub(crate) fn open<R: Read>(part: &str, read: R) -> Result<Xml<R>, Problem> {
    let mut read = BufReader::with_capacity(64 << 10, read);
    let start = read
        .fill_buf()
        .map_err(|error| unreadable(format!("the part `{part}` is damaged: {error}")))?;
    let wide = matches!(start, [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] | [0, b'<', ..] | [b'<', 0, ..]);
    Ok(Reader::from_reader(if wide {
        Decoded::Utf16(Box::new(DecodingReader::new(read)))
    } else {
        Decoded::Utf8(read)
    }))
}

/// What is wrong with a part's XML.
pub(crate) fn bad(part: &str, error: impl std::fmt::Display) -> Problem {
    unreadable(format!("the part `{part}` is not well-formed: {error}"))
}

/// Attributes as name and raw value; stops at the first thing that is none.
pub(crate) struct Attributes<'a>(&'a str);

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = split_at_byte(self.0, b'=')?;
        let rest = rest.trim_ascii_start();
        let quote = match rest.as_bytes().first()? {
            quote @ (b'"' | b'\'') => *quote,
            _ => return None,
        };
        let (value, rest) = split_at_byte(rest.get(1..)?, quote)?;
        self.0 = rest;
        Some((name.trim_ascii(), value))
    }
}

/// What stands before and after an ASCII character. A plain loop: these texts are a few bytes long,
/// and a sheet has millions of them, so that setting up a search would cost more than it saves.
fn split_at_byte(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.as_bytes().iter().position(|other| *other == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The attributes of an element, values as they stand in the file.
pub(crate) fn attributes<'a>(element: &'a BytesStart<'_>) -> Attributes<'a> {
    Attributes(element.attributes_raw())
}

/// An attribute's value by its name, whatever prefix it has, entities resolved.
pub(crate) fn attribute<'a>(element: &'a BytesStart<'_>, name: &str) -> Option<Cow<'a, str>> {
    attributes(element)
        .find(|(key, _)| local(key) == name)
        .map(|(_, value)| unescape(value).unwrap_or(Cow::Borrowed(value)))
}

/// A name without its prefix.
pub(crate) fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

/// An XML truth value.
pub(crate) fn truth(value: &str) -> bool {
    matches!(value, "1" | "true" | "on")
}

/// Appends what an entity stands for.
pub(crate) fn push_entity(
    out: &mut String,
    entity: &BytesRef<'_>,
    part: &str,
) -> Result<(), Problem> {
    if let Some(c) = entity.resolve_char_ref().map_err(|error| bad(part, error))? {
        out.push(c);
        return Ok(());
    }
    let name = entity.xml10_content();
    let text = resolve_predefined_entity(&name)
        .ok_or_else(|| bad(part, format_args!("the entity &{name}; is unknown")))?;
    out.push_str(text);
    Ok(())
}

/// Appends the text inside the element just begun, its end included, whatever is nested in it.
pub(crate) fn push_text<R: Read>(
    xml: &mut Xml<R>,
    buffer: &mut Vec<u8>,
    out: &mut String,
    part: &str,
) -> Result<(), Problem> {
    let mut depth = 0_u32;
    loop {
        buffer.clear();
        match xml.read_event_into(buffer).map_err(|error| bad(part, error))? {
            Event::Text(text) => out.push_str(&text.xml10_content()),
            Event::CData(text) => out.push_str(&text.xml10_content()),
            Event::GeneralRef(entity) => push_entity(out, &entity, part)?,
            Event::Start(_) => depth += 1,
            Event::End(_) if depth == 0 => return Ok(()),
            Event::End(_) => depth -= 1,
            Event::Eof => return Err(bad(part, "it ends in the middle of a text")),
            _ => {}
        }
    }
}

/// Steps over the rest of the element just begun, its end included.
pub(crate) fn skip<R: Read>(
    xml: &mut Xml<R>,
    buffer: &mut Vec<u8>,
    part: &str,
) -> Result<(), Problem> {
    let mut depth = 0_u32;
    loop {
        buffer.clear();
        match xml.read_event_into(buffer).map_err(|error| bad(part, error))? {
            Event::Start(_) => depth += 1,
            Event::End(_) if depth == 0 => return Ok(()),
            Event::End(_) => depth -= 1,
            Event::Eof => return Err(bad(part, "it ends in the middle of an element")),
            _ => {}
        }
    }
}
