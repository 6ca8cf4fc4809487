//! One sheet, event by event: rows and cells say where they are, or follow the one before. Text
//! between them, extensions and everything after the rows are stepped over.

use std::io::Read;

use quick_xml::events::{BytesStart, Event};

use super::super::cell::Value;
use super::super::format::Format;
use super::super::limits::unreadable;
use super::super::rows::Rows;
use super::super::sink::Stop;
use super::super::styled::Styled;
use super::super::xml::{self, Xml};
use super::strings::{self, Strings};

/// The last row and column that a spreadsheet program knows, counted from 1.
const LAST_ROW: u32 = 1_048_576;
const LAST_COLUMN: u32 = 16_384;

static PLAIN: Format = Format::Plain;

struct Sheet<'a, 'b, R: Read> {
    xml: Xml<R>,
    part: &'a str,
    strings: &'a Strings,
    formats: &'a [Styled],
    rows: &'a mut Rows<'b>,
    /// The row at hand does not say its number; its first cell may.
    untold: bool,
    /// The column that a cell without an address stands in.
    column: u32,
    inner: Vec<u8>,
    text: String,
}

/// How a cell holds its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Shared,
    Bool,
    Error,
    Text,
    Iso,
    Inline,
}

/// What a cell's start says.
struct Start {
    column: u32,
    style: usize,
    kind: Kind,
    /// It says that it stands in another row; if it is empty nobody is harmed.
    astray: bool,
}

/// Reads a sheet's rows.
pub(super) fn read<R: Read>(
    read: R,
    part: &str,
    strings: &Strings,
    formats: &[Styled],
    rows: &mut Rows<'_>,
) -> Result<(), Stop> {
    let xml = xml::open(part, read)?;
    let (inner, text) = (Vec::new(), String::new());
    Sheet { xml, part, strings, formats, rows, untold: false, column: 0, inner, text }.read()
}

impl<R: Read> Sheet<'_, '_, R> {
    fn read(mut self) -> Result<(), Stop> {
        let mut buffer = Vec::new();
        let (mut in_data, mut in_row) = (false, false);
        let mut root = None;
        loop {
            buffer.clear();
            let event = self.xml.read_event_into(&mut buffer);
            match event.map_err(|error| self.broken(error))? {
                Event::Start(e) => match e.local_name().as_ref() {
                    "c" if in_row => self.cell(&e)?,
                    "row" if in_data => {
                        self.begin_row(&e)?;
                        in_row = true;
                    }
                    "sheetData" => in_data = true,
                    name if root.is_none() => root = Some(name.to_owned()),
                    _ => {}
                },
                Event::Empty(e) => match e.local_name().as_ref() {
                    "c" if in_row => self.column = self.start(&e)?.column + 1,
                    "row" if in_data => {
                        self.begin_row(&e)?;
                        self.end_row()?;
                    }
                    // A sheet without rows.
                    "sheetData" => return Ok(()),
                    _ => {}
                },
                Event::End(e) => match e.local_name().as_ref() {
                    "row" if in_row => {
                        self.end_row()?;
                        in_row = false;
                    }
                    "sheetData" => return Ok(()),
                    _ => {}
                },
                Event::Eof if in_data => return Err(self.broken("it ends among its rows")),
                Event::Eof => {
                    let root = root.unwrap_or_else(|| "nothing".to_owned());
                    let detail = format!("the part `{}` is `{root}` and no sheet", self.part);
                    return Err(unreadable(detail).into());
                }
                _ => {}
            }
        }
    }

    /// XML that is cut short or broken, near the row at hand.
    fn broken(&self, error: impl std::fmt::Display) -> Stop {
        match self.rows.row() {
            0 => xml::bad(self.part, error).into(),
            row => xml::bad(self.part, error).at(self.rows.at(row, None)).into(),
        }
    }

    fn wrong(&self, column: Option<u32>, detail: impl Into<String>) -> Stop {
        unreadable(detail).at(self.rows.at(self.rows.row(), column)).into()
    }

    fn begin_row(&mut self, e: &BytesStart<'_>) -> Result<(), Stop> {
        self.column = 0;
        let Some((_, told)) = xml::attributes(e).find(|(name, _)| *name == "r") else {
            self.untold = true;
            return Ok(());
        };
        match told.trim().parse() {
            Ok(row) if (1..=LAST_ROW).contains(&row) => self.rows.begin_row(row),
            _ => Err(self.wrong(None, format!("after this row, `{told}` is no row number"))),
        }
    }

    fn end_row(&mut self) -> Result<(), Stop> {
        self.tell_row(None)?;
        self.rows.end_row()
    }

    /// Settles the number of a row that did not say it.
    fn tell_row(&mut self, row: Option<u32>) -> Result<(), Stop> {
        if !self.untold {
            return Ok(());
        }
        self.untold = false;
        let row = row.unwrap_or(self.rows.row() + 1);
        if row > LAST_ROW {
            return Err(self.wrong(None, "there are more rows than a sheet can have"));
        }
        self.rows.begin_row(row)
    }

    fn start(&mut self, e: &BytesStart<'_>) -> Result<Start, Stop> {
        let mut start = Start { column: self.column, style: 0, kind: Kind::Number, astray: false };
        for (name, value) in xml::attributes(e) {
            match name {
                "r" => {
                    let Some((row, column)) = address(value) else {
                        let detail = format!("`{value}` is no address of a cell");
                        return Err(self.wrong(None, detail));
                    };
                    self.tell_row(Some(row))?;
                    start.astray = row != self.rows.row();
                    start.column = column;
                }
                // Some writers leave it empty.
                "s" => start.style = value.trim().parse().unwrap_or(0),
                "t" => {
                    start.kind = match value {
                        "n" | "" => Kind::Number,
                        "s" => Kind::Shared,
                        "b" => Kind::Bool,
                        "e" => Kind::Error,
                        "str" => Kind::Text,
                        "d" => Kind::Iso,
                        "inlineStr" | "is" => Kind::Inline,
                        other => {
                            let detail = format!("`{other}` is no type of a cell");
                            return Err(self.wrong(Some(start.column), detail));
                        }
                    }
                }
                _ => {}
            }
        }
        self.tell_row(None)?;
        if start.column >= LAST_COLUMN {
            return Err(self.wrong(Some(start.column), "a sheet has no such column"));
        }
        Ok(start)
    }

    fn cell(&mut self, e: &BytesStart<'_>) -> Result<(), Stop> {
        enum Next {
            Value,
            Inline,
            Skip,
        }
        let Start { column, style, mut kind, astray } = self.start(e)?;
        self.column = column + 1;
        self.text.clear();
        let mut formula = false;
        loop {
            self.inner.clear();
            let event = self.xml.read_event_into(&mut self.inner);
            let next = match event {
                Ok(Event::Start(e)) => match e.local_name().as_ref() {
                    "v" => Next::Value,
                    "is" => Next::Inline,
                    "f" => {
                        formula = true;
                        Next::Skip
                    }
                    _ => Next::Skip,
                },
                Ok(Event::Empty(e)) => {
                    formula |= e.local_name().as_ref() == "f";
                    continue;
                }
                Ok(Event::End(_)) => break,
                Ok(Event::Eof) => return Err(self.broken("it ends in the middle of a cell")),
                Ok(_) => continue,
                Err(error) => return Err(self.broken(error)),
            };
            let (xml, inner, text) = (&mut self.xml, &mut self.inner, &mut self.text);
            match next {
                Next::Value => xml::push_text(xml, inner, text, self.part)?,
                Next::Inline => {
                    kind = Kind::Inline;
                    // What `v` says beside it is a copy.
                    text.clear();
                    strings::push_rich(xml, inner, text, self.part)?;
                }
                Next::Skip => xml::skip(xml, inner, self.part)?,
            }
        }
        if self.text.is_empty() {
            // A formula may come to an empty text; any other result has a value.
            if formula && kind != Kind::Text {
                return self.rows.cell(column, Value::Uncalculated);
            }
            return Ok(());
        }
        if astray {
            let detail = "the cell that follows says that it stands in another row";
            return Err(self.wrong(None, detail));
        }
        self.value(column, style, kind)
    }

    fn value(&mut self, column: u32, style: usize, kind: Kind) -> Result<(), Stop> {
        let text = self.text.as_str();
        let value = match kind {
            Kind::Number => {
                let Some(styled) = self.formats.get(style) else {
                    return self.rows.cell(column, Value::Digits(text, &PLAIN));
                };
                return self.rows.styled(column, Value::Digits(text, &styled.format), &styled.code);
            }
            Kind::Text | Kind::Inline => {
                return self.rows.cell(column, Value::Text(&strings::unescape(text)));
            }
            Kind::Error => Value::Error(text.trim()),
            Kind::Iso => {
                let code = self.formats.get(style).map_or("", |styled| &*styled.code);
                return self.rows.styled(column, Value::Iso(text), code);
            }
            Kind::Bool => match text.trim() {
                "1" => Value::Bool(true),
                "0" => Value::Bool(false),
                word if word.eq_ignore_ascii_case("true") => Value::Bool(true),
                word if word.eq_ignore_ascii_case("false") => Value::Bool(false),
                // No truth value: whatever it is, it is kept and told.
                _ => Value::Digits(text, &PLAIN),
            },
            Kind::Shared => {
                let found = text.trim().parse().ok().and_then(|i| self.strings.get(i));
                let Some(json) = found else {
                    let detail = format!(
                        "the cell refers to the shared string {text}, and there are {}",
                        self.strings.len()
                    );
                    return Err(self.wrong(Some(column), detail));
                };
                Value::Json(json)
            }
        };
        self.rows.cell(column, value)
    }
}

/// `C17` as row (from 1) and column (from 0).
fn address(text: &str) -> Option<(u32, u32)> {
    let text = text.trim();
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    // More letters or digits than any sheet has would wrap around.
    if !(1..=3).contains(&letters) || !(1..=7).contains(&(text.len() - letters)) {
        return None;
    }
    let (letters, digits) = text.split_at(letters);
    let column = letters
        .bytes()
        .fold(0, |sum, letter| sum * 26 + u32::from(letter.to_ascii_uppercase() - b'A') + 1);
    let digits_only = digits.bytes().all(|b| b.is_ascii_digit());
    let row = digits.parse().ok().filter(|row| (1..=LAST_ROW).contains(row) && digits_only)?;
    Some((row, column - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_never_wrap() {
        assert_eq!(address("A1"), Some((1, 0)));
        assert_eq!(address("XFD1048576"), Some((1_048_576, 16_383)));
        for bad in ["", "A", "1", "A0", "A1048577", "A4294967297", "AAAAAAAAA1", "A-1", "A+1", "é1"]
        {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
