//! The rows of one sheet. A row is gathered before it is handed on, because it may be repeated.

use std::io::Read;
use std::ops::Range;

use quick_xml::events::{BytesStart, Event};

use super::super::cell::Value;
use super::super::date;
use super::super::format::Format;
use super::super::limits::unreadable;
use super::super::rows::Rows;
use super::super::sink::Stop;
use super::super::xml::{self, Xml};
use super::styles::Styles;

/// The last row that spreadsheet programs know, counted from 1.
const LAST_ROW: u32 = 1_048_576;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Date,
    Time,
    Bool,
    Error,
    Uncalculated,
}

/// A cell with something in it, and how often.
struct Cell<'a> {
    column: u32,
    repeat: u32,
    kind: Kind,
    text: Range<usize>,
    format: &'a Format,
}

struct Table<'a, 'b, R: Read> {
    xml: &'a mut Xml<R>,
    part: &'a str,
    styles: &'a Styles,
    rows: &'a mut Rows<'b>,
    /// Default styles of columns: up to which column, and which.
    columns: Vec<(u32, String)>,
    row: u32,
    cells: Vec<Cell<'a>>,
    text: String,
    buffer: Vec<u8>,
}

/// Reads the sheet just begun, its end included.
pub(super) fn read<R: Read>(
    xml: &mut Xml<R>,
    part: &str,
    styles: &Styles,
    rows: &mut Rows<'_>,
) -> Result<(), Stop> {
    Table {
        xml,
        part,
        styles,
        rows,
        columns: Vec::new(),
        row: 1,
        cells: Vec::new(),
        text: String::new(),
        buffer: Vec::new(),
    }
    .read()
}

/// How often something is repeated.
fn repeat(e: &BytesStart<'_>, name: &str) -> u32 {
    xml::attribute(e, name).and_then(|count| count.trim().parse().ok()).unwrap_or(1).max(1)
}

impl<R: Read> Table<'_, '_, R> {
    fn read(mut self) -> Result<(), Stop> {
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            let event = self.xml.read_event_into(&mut buffer);
            match event.map_err(|error| xml::bad(self.part, error))? {
                Event::Start(e) => match e.local_name().as_ref() {
                    "table-row" => self.row(&e)?,
                    "table-column" => self.column(&e),
                    "shapes" | "forms" | "table" => {
                        xml::skip(self.xml, &mut self.buffer, self.part)?;
                    }
                    _ => {}
                },
                Event::Empty(e) => match e.local_name().as_ref() {
                    "table-row" => self.row = self.row.saturating_add(repeat(&e, ROWS_REPEATED)),
                    "table-column" => self.column(&e),
                    _ => {}
                },
                Event::End(e) if e.local_name().as_ref() == "table" => return Ok(()),
                Event::Eof => {
                    let at = self.rows.at(self.row, None);
                    return Err(xml::bad(self.part, "it ends among its rows").at(at).into());
                }
                _ => {}
            }
        }
    }

    fn column(&mut self, e: &BytesStart<'_>) {
        let before = self.columns.last().map_or(0, |(end, _)| *end);
        let style = xml::attribute(e, "default-cell-style-name").unwrap_or_default();
        let end = before.saturating_add(repeat(e, COLUMNS_REPEATED));
        // What no sheet has need not be kept.
        if self.columns.len() < 65_536 {
            self.columns.push((end, style.into_owned()));
        }
    }

    fn row(&mut self, e: &BytesStart<'_>) -> Result<(), Stop> {
        let times = repeat(e, ROWS_REPEATED);
        let default = xml::attribute(e, "default-cell-style-name").map(|name| name.into_owned());
        let mut column = 0_u32;
        let mut buffer = Vec::new();
        self.cells.clear();
        self.text.clear();
        loop {
            buffer.clear();
            let event = self.xml.read_event_into(&mut buffer);
            match event.map_err(|error| xml::bad(self.part, error))? {
                Event::Start(e) => match e.local_name().as_ref() {
                    // What lies under a merged cell is still there.
                    "table-cell" | "covered-table-cell" => {
                        column = self.cell(&e, column, default.as_deref(), true)?
                    }
                    _ => xml::skip(self.xml, &mut self.buffer, self.part)?,
                },
                Event::Empty(e) => match e.local_name().as_ref() {
                    "table-cell" | "covered-table-cell" => {
                        column = self.cell(&e, column, default.as_deref(), false)?
                    }
                    _ => {}
                },
                Event::End(_) => break,
                Event::Eof => return Err(xml::bad(self.part, "it ends in a row").into()),
                _ => {}
            }
        }
        self.hand_over(times)
    }

    fn hand_over(&mut self, times: u32) -> Result<(), Stop> {
        if self.cells.is_empty() {
            self.row = self.row.saturating_add(times);
            return Ok(());
        }
        for _ in 0..times {
            if self.row > LAST_ROW {
                let at = self.rows.at(self.row, None);
                return Err(unreadable("there are more rows than a sheet can have").at(at).into());
            }
            self.rows.begin_row(self.row)?;
            for cell in &self.cells {
                let value = value(cell, self.text.get(cell.text.clone()).unwrap_or_default());
                for column in cell.column..cell.column.saturating_add(cell.repeat) {
                    self.rows.cell(column, value)?;
                }
            }
            self.rows.end_row()?;
            self.row += 1;
        }
        Ok(())
    }

    /// Takes a cell and answers the column behind it.
    fn cell(
        &mut self,
        e: &BytesStart<'_>,
        column: u32,
        row_style: Option<&str>,
        has_content: bool,
    ) -> Result<u32, Stop> {
        let repeat = repeat(e, COLUMNS_REPEATED);
        let start = self.text.len();
        let (mut kind, mut told, mut style, mut formula, mut failed) =
            (None, None, None, false, false);
        for (name, value) in xml::attributes(e) {
            match xml::local(name) {
                "value-type" if name.starts_with("calcext") => failed = value == "error",
                "value-type" => {
                    kind = match value {
                        "float" | "percentage" | "currency" => Some(Kind::Number),
                        "date" => Some(Kind::Date),
                        "time" => Some(Kind::Time),
                        "boolean" => Some(Kind::Bool),
                        _ => None,
                    }
                }
                // An error says that it is an empty text, and shows what it is.
                "string-value" if value.is_empty() => {}
                "value" | "date-value" | "time-value" | "boolean-value" | "string-value" => {
                    let value = quick_xml::escape::unescape(value);
                    self.text.push_str(&value.map_err(|error| xml::bad(self.part, error))?);
                    told = Some(xml::local(name) == "string-value");
                }
                "style-name" => style = Some(value),
                "formula" => formula = true,
                _ => {}
            }
        }
        let format = match style.or(row_style) {
            Some(style) => self.styles.format(style),
            None => {
                let place = self.columns.partition_point(|(end, _)| *end <= column);
                self.styles.format(self.columns.get(place).map_or("", |(_, style)| style))
            }
        };
        // Some writers give a text a number's value, which is not the text.
        if kind.is_none() && told == Some(false) {
            self.text.truncate(start);
            told = None;
        }
        let told = told.is_some();
        if has_content {
            let kept = self.text.len();
            self.paragraphs()?;
            if told {
                // What is shown is a copy of what is said.
                self.text.truncate(kept);
            }
        }
        let behind = column.saturating_add(repeat);
        let text = start..self.text.len();
        let kind = match kind {
            _ if failed => Kind::Error,
            Some(kind) if told => kind,
            _ => Kind::Text,
        };
        if !text.is_empty() {
            self.cells.push(Cell { column, repeat, kind, text, format });
        } else if formula && !told && !has_content {
            self.cells.push(Cell { column, repeat, kind: Kind::Uncalculated, text, format });
        }
        Ok(behind)
    }

    /// Appends the text of the cell just begun, its end included: paragraphs are lines, white
    /// space counts once unless it is spelled out.
    fn paragraphs(&mut self) -> Result<(), Stop> {
        let (mut depth, mut inside, mut first) = (0_u32, 0_u32, true);
        // At the start of a line white space does not count.
        let mut blank = true;
        loop {
            self.buffer.clear();
            let event = self.xml.read_event_into(&mut self.buffer);
            let skip = match event.map_err(|error| xml::bad(self.part, error))? {
                Event::Start(e) => match e.local_name().as_ref() {
                    "annotation" | "note" | "frame" | "table" | "shapes" | "ruby-text" => true,
                    name => {
                        depth += 1;
                        if matches!(name, "p" | "h") {
                            if !first {
                                self.text.push('\n');
                            }
                            (inside, first, blank) = (depth, false, true);
                        }
                        false
                    }
                },
                Event::Empty(e) => {
                    match e.local_name().as_ref() {
                        "p" | "h" if !first => self.text.push('\n'),
                        "p" | "h" => first = false,
                        "s" => {
                            // A cell is limited, so are its spaces.
                            let count = repeat(&e, "c").min(65_536) as usize;
                            self.text.extend(std::iter::repeat_n(' ', count));
                            blank = false;
                        }
                        "tab" => self.text.push('\t'),
                        "line-break" => self.text.push('\n'),
                        _ => {}
                    }
                    false
                }
                Event::End(_) if depth == 0 => return Ok(()),
                Event::End(_) => {
                    if depth == inside {
                        inside = 0;
                    }
                    depth -= 1;
                    false
                }
                Event::Text(text) if inside > 0 => {
                    for c in text.xml10_content().chars() {
                        let space = matches!(c, ' ' | '\t' | '\n' | '\r');
                        if !space {
                            self.text.push(c);
                        } else if !blank {
                            self.text.push(' ');
                        }
                        blank = space;
                    }
                    false
                }
                Event::CData(text) if inside > 0 => {
                    self.text.push_str(&text.xml10_content());
                    blank = false;
                    false
                }
                Event::GeneralRef(entity) if inside > 0 => {
                    xml::push_entity(&mut self.text, &entity, self.part)?;
                    blank = false;
                    false
                }
                Event::Eof => return Err(xml::bad(self.part, "it ends in a cell").into()),
                _ => false,
            };
            if skip {
                xml::skip(self.xml, &mut self.buffer, self.part)?;
            }
        }
    }
}

const ROWS_REPEATED: &str = "number-rows-repeated";
const COLUMNS_REPEATED: &str = "number-columns-repeated";

fn value<'a>(cell: &Cell<'a>, text: &'a str) -> Value<'a> {
    match cell.kind {
        Kind::Text => Value::Text(text),
        Kind::Number => Value::Digits(text, cell.format),
        Kind::Date => Value::Iso(text),
        Kind::Bool => Value::Bool(xml::truth(text)),
        Kind::Error => Value::Error(text),
        Kind::Uncalculated => Value::Uncalculated,
        Kind::Time => match (date::parse_duration(text), cell.format) {
            (Some(ms), Format::Duration) => Value::Span(ms, cell.format),
            (Some(ms), _) => Value::Span(ms, &Format::Time),
            (None, _) => Value::Iso(text),
        },
    }
}
