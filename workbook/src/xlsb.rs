//! Binary workbooks (.xlsb): the package of an .xlsx with records instead of XML. A record is its
//! type and its length, seven bits to a byte, and that many bytes; a sheet is read record by
//! record. Records are documented in [MS-XLSB]; those that say nothing about values are stepped
//! over, and one that is shorter than what it must hold refuses the file.

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek};

use super::cell::Value;
use super::container::Container;
use super::date::Epoch;
use super::limits::{ReadLimits, too_large, unreadable};
use super::options::ReadOptions;
use super::package;
use super::rows::Rows;
use super::sheets::{self, Listed};
use super::sink::{Sink, Stop, Totals};
use super::styled::Styled;
use super::xlsx::{Strings, Workbook};
use rowmill_domain::Problem;

const ROW: u16 = 0x00;
const CELL_RK: u16 = 0x02;
const CELL_ERROR: u16 = 0x03;
const CELL_BOOL: u16 = 0x04;
const CELL_REAL: u16 = 0x05;
const CELL_TEXT: u16 = 0x06;
const CELL_SHARED: u16 = 0x07;
const FORMULA_TEXT: u16 = 0x08;
const FORMULA_REAL: u16 = 0x09;
const FORMULA_BOOL: u16 = 0x0A;
const FORMULA_ERROR: u16 = 0x0B;
const SHARED_ITEM: u16 = 0x13;
const NUMBER_FORMAT: u16 = 0x2C;
const STYLE: u16 = 0x2F;
const CELL_RICH: u16 = 0x3E;
const SHEET_DATA: u16 = 0x91;
const END_SHEET_DATA: u16 = 0x92;
const WORKBOOK_PROPERTIES: u16 = 0x99;
const SHEET: u16 = 0x9C;
const CELL_STYLES: u16 = 0x269;
const END_CELL_STYLES: u16 = 0x26A;

/// No record of those we read comes near; what claims more is not believed.
const LONGEST: u32 = 16 << 20;

static PLAIN: Styled = Styled::PLAIN;

/// Reads a workbook.
pub(crate) fn read<R: Read + Seek>(
    container: &mut Container<R>,
    part: &str,
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
) -> Result<Totals, Stop> {
    let workbook = read_workbook(container, part)?;
    sheets::choose(&workbook.sheets, &options.sheet)?;
    let strings = match workbook.part_of_kind("sharedStrings", "xl/sharedStrings.bin", container) {
        Some(part) => read_strings(container, &part, limits)?,
        None => Strings::default(),
    };
    let formats = match workbook.part_of_kind("styles", "xl/styles.bin", container) {
        Some(part) => read_formats(container, &part)?,
        None => Vec::new(),
    };
    sheets::read_chosen(&workbook.sheets, options, limits, sink, |place, index, rows| {
        let (listed, part) = (&workbook.sheets[place], &workbook.parts[place]);
        rows.open_sheet(index, Some(&listed.name), workbook.epoch);
        let records = Records::new(part, container.part(part)?);
        read_sheet(records, &strings, &formats, rows)
    })
}

fn read_workbook<R: Read + Seek>(
    container: &mut Container<R>,
    part: &str,
) -> Result<Workbook, Problem> {
    let relations = package::relations(container, part)?;
    let mut workbook =
        Workbook { epoch: Epoch::Y1900, sheets: Vec::new(), parts: Vec::new(), relations };
    let mut records = Records::new(part, container.part(part)?);
    while let Some(kind) = records.next()? {
        let record = records.record();
        match kind {
            WORKBOOK_PROPERTIES if record.u32(0)? & 1 == 1 => workbook.epoch = Epoch::Y1904,
            SHEET => {
                let hidden = record.u32(0)? != 0;
                let (id, next) = record.text(8)?;
                let (name, _) = record.text(next)?;
                if id.is_empty() {
                    // A module of code.
                    continue;
                }
                let relation = workbook.relations.iter().find(|relation| relation.id == id);
                let relation = relation.ok_or_else(|| {
                    unreadable(format!("the workbook lists `{name}` and has no part for it"))
                })?;
                if relation.kind == "worksheet" {
                    workbook.parts.push(relation.target.clone());
                    workbook.sheets.push(Listed { name, hidden });
                }
            }
            _ => {}
        }
    }
    Ok(workbook)
}

fn read_strings<R: Read + Seek>(
    container: &mut Container<R>,
    part: &str,
    limits: &ReadLimits,
) -> Result<Strings, Problem> {
    let mut strings = Strings::default();
    let mut records = Records::new(part, container.part(part)?);
    while let Some(kind) = records.next()? {
        if kind == SHARED_ITEM {
            strings.push(&records.record().text(1)?.0, limits)?;
        }
    }
    Ok(strings)
}

fn read_formats<R: Read + Seek>(
    container: &mut Container<R>,
    part: &str,
) -> Result<Vec<Styled>, Problem> {
    let mut custom = HashMap::new();
    let mut ids = Vec::new();
    let mut in_cells = false;
    let mut records = Records::new(part, container.part(part)?);
    while let Some(kind) = records.next()? {
        let record = records.record();
        match kind {
            NUMBER_FORMAT => {
                custom.insert(record.u16(0)?, Styled::parse(&record.text(2)?.0));
            }
            CELL_STYLES => in_cells = true,
            END_CELL_STYLES => in_cells = false,
            STYLE if in_cells => ids.push(record.u16(2)?),
            _ => {}
        }
    }
    let format = |id| custom.get(&id).cloned().unwrap_or_else(|| Styled::builtin(u32::from(id)));
    Ok(ids.into_iter().map(format).collect())
}

fn read_sheet<R: Read>(
    mut records: Records<'_, R>,
    strings: &Strings,
    formats: &[Styled],
    rows: &mut Rows<'_>,
) -> Result<(), Stop> {
    let mut in_data = false;
    while let Some(kind) = records.next()? {
        match kind {
            SHEET_DATA => in_data = true,
            END_SHEET_DATA => return rows.end_row(),
            ROW if in_data => {
                rows.end_row()?;
                let row = records.record().u32(0)?;
                if row >= 1_048_576 {
                    let detail = format!("after this row, {row} is no row number");
                    return Err(unreadable(detail).at(rows.at(rows.row(), None)).into());
                }
                rows.begin_row(row + 1)?;
            }
            CELL_RK..=FORMULA_ERROR | CELL_RICH if in_data => {
                read_cell(kind, &records.record(), strings, formats, rows)?;
            }
            _ => {}
        }
    }
    let detail = format!("the part `{}` ends among its rows: it is cut short", records.part);
    Err(unreadable(detail).at(rows.at(rows.row(), None)).into())
}

fn read_cell(
    kind: u16,
    record: &Record<'_>,
    strings: &Strings,
    formats: &[Styled],
    rows: &mut Rows<'_>,
) -> Result<(), Stop> {
    let column = record.u32(0)?;
    // The upper byte holds flags.
    let styled = formats.get((record.u32(4)? & 0x00FF_FFFF) as usize).unwrap_or(&PLAIN);
    if column >= 16_384 || rows.row() == 0 {
        let detail = "a cell stands where a sheet has none";
        return Err(unreadable(detail).at(rows.at(rows.row(), None)).into());
    }
    let number = |value, rows: &mut Rows<'_>| {
        rows.styled(column, Value::Float(value, &styled.format), &styled.code)
    };
    match kind {
        CELL_RK => number(rk(record.u32(8)?), rows),
        CELL_REAL | FORMULA_REAL => number(record.f64(8)?, rows),
        CELL_BOOL | FORMULA_BOOL => rows.cell(column, Value::Bool(record.u8(8)? != 0)),
        CELL_ERROR | FORMULA_ERROR => rows.cell(column, Value::Error(error(record.u8(8)?))),
        CELL_TEXT | FORMULA_TEXT => rows.cell(column, Value::Text(&record.text(8)?.0)),
        // Formatting may begin in the middle of it; a byte of flags comes first.
        CELL_RICH => rows.cell(column, Value::Text(&record.text(9)?.0)),
        CELL_SHARED => {
            let i = record.u32(8)?;
            let Some(json) = strings.get(i as usize) else {
                let there = strings.len();
                let detail = format!("the cell refers to shared string {i}, and there are {there}");
                return Err(unreadable(detail).at(rows.at(rows.row(), Some(column))).into());
            };
            rows.cell(column, Value::Json(json))
        }
        _ => Ok(()),
    }
}

/// A number in 30 bits: an integer or the upper half of a float, perhaps hundredths.
pub(super) fn rk(bits: u32) -> f64 {
    let value = if bits & 2 == 2 {
        f64::from(bits.cast_signed() >> 2)
    } else {
        f64::from_bits(u64::from(bits & !3) << 32)
    };
    if bits & 1 == 1 { value / 100.0 } else { value }
}

/// The text of an error's code.
pub(super) fn error(code: u8) -> &'static str {
    match code {
        0x00 => "#NULL!",
        0x07 => "#DIV/0!",
        0x0F => "#VALUE!",
        0x17 => "#REF!",
        0x1D => "#NAME?",
        0x24 => "#NUM!",
        0x2A => "#N/A",
        0x2B => "#GETTING_DATA",
        _ => "#ERROR!",
    }
}

/// The records of a part, one after another in one buffer.
struct Records<'a, R> {
    part: &'a str,
    read: BufReader<R>,
    data: Vec<u8>,
}

impl<'a, R: Read> Records<'a, R> {
    fn new(part: &'a str, read: R) -> Self {
        Self { part, read: BufReader::with_capacity(64 << 10, read), data: Vec::new() }
    }

    /// Reads the next record and answers its type; `None` at the end.
    fn next(&mut self) -> Result<Option<u16>, Problem> {
        let Some(first) = self.byte()? else { return Ok(None) };
        let mut kind = u16::from(first);
        if first & 0x80 != 0 {
            kind = (kind & 0x7F) | (u16::from(self.must()? & 0x7F) << 7);
        }
        let mut length = 0_u32;
        for i in 0..4 {
            let byte = self.must()?;
            length |= u32::from(byte & 0x7F) << (7 * i);
            if byte & 0x80 == 0 {
                break;
            }
        }
        if length > LONGEST {
            return Err(too_large(format!("a record of `{}` has {length} bytes", self.part)));
        }
        self.data.clear();
        // Grows as bytes arrive, not as the record claims.
        let read = self.read.by_ref().take(u64::from(length)).read_to_end(&mut self.data);
        if read.map_err(|error| self.bad(&error))? < length as usize {
            return Err(self.bad(&"it ends in the middle of a record"));
        }
        // Types are given as their value without the continuation bit.
        Ok(Some(kind))
    }

    fn record(&self) -> Record<'_> {
        Record { part: self.part, data: &self.data }
    }

    fn byte(&mut self) -> Result<Option<u8>, Problem> {
        let mut byte = [0];
        let read = self.read.read(&mut byte).map_err(|error| self.bad(&error))?;
        Ok((read == 1).then_some(byte[0]))
    }

    fn must(&mut self) -> Result<u8, Problem> {
        self.byte()?.ok_or_else(|| self.bad(&"it ends in the middle of a record"))
    }

    fn bad(&self, error: &dyn std::fmt::Display) -> Problem {
        unreadable(format!("the part `{}` is damaged: {error}", self.part))
    }
}

/// One record's bytes.
struct Record<'a> {
    part: &'a str,
    data: &'a [u8],
}

impl Record<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N], Problem> {
        let bytes = self.data.get(at..).and_then(|rest| rest.first_chunk());
        bytes
            .copied()
            .ok_or_else(|| unreadable(format!("a record of the part `{}` is too short", self.part)))
    }

    fn u8(&self, at: usize) -> Result<u8, Problem> {
        self.bytes::<1>(at).map(|[byte]| byte)
    }

    fn u16(&self, at: usize) -> Result<u16, Problem> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Result<u32, Problem> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    fn f64(&self, at: usize) -> Result<f64, Problem> {
        self.bytes(at).map(f64::from_le_bytes)
    }

    /// UTF-16 behind its length, and where it ends. A length of all ones is no text.
    fn text(&self, at: usize) -> Result<(String, usize), Problem> {
        let length = self.u32(at)?;
        if length == u32::MAX {
            return Ok((String::new(), at + 4));
        }
        let end = (length as usize).checked_mul(2).and_then(|bytes| bytes.checked_add(at + 4));
        let bytes = end.and_then(|end| self.data.get(at + 4..end)).ok_or_else(|| {
            unreadable(format!("a text of the part `{}` is longer than its record", self.part))
        })?;
        let (text, _) = encoding_rs::UTF_16LE.decode_without_bom_handling(bytes);
        Ok((text.into_owned(), at + 4 + bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_numbers() {
        assert_eq!(rk(7 << 2 | 2), 7.0);
        assert_eq!(rk((-7_i32 << 2 | 2).cast_unsigned()), -7.0);
        assert_eq!(rk(1234 << 2 | 3), 12.34);
        assert_eq!(rk((1.5_f64.to_bits() >> 32) as u32), 1.5);
    }

    #[test]
    fn records_are_cut_and_checked() {
        let bytes = [0x07, 3, 1, 2, 3, 0x91, 0x01, 0];
        let mut records = Records::new("p", &bytes[..]);
        assert_eq!(records.next().unwrap(), Some(CELL_SHARED));
        assert_eq!(records.record().data, [1, 2, 3]);
        assert!(records.record().u32(0).is_err());
        assert_eq!(records.next().unwrap(), Some(SHEET_DATA));
        assert_eq!(records.next().unwrap(), None);
        assert!(Records::new("p", &bytes[..4]).next().is_err());
        assert!(Records::new("p", &[7, 0xFF, 0xFF, 0xFF, 0x7F][..]).next().is_err());
    }
}
