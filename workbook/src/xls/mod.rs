//! Workbooks of before 2007 (.xls), read by calamine, which holds all sheets in memory: the limits
//! of the reader's process are what bounds it. Calamine says what a number is, not how it is
//! formatted, so the record stream is walked once beforehand for number formats, and on that walk
//! is refused what would not end well: encryption, claims of huge sheets, other compound files.

mod formats;

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use calamine::{Data, Range, Reader as _, SheetType, SheetVisible, Xls, XlsError, XlsOptions};

use super::cell::Value;
use super::date::Epoch;
use super::format::Format;
use super::kind;
use super::limits::{ReadLimits, too_large, unreadable};
use super::options::ReadOptions;
use super::rows::Rows;
use super::sheets::{self, Listed};
use super::sink::{Sink, Stop, Totals};
use rowmill_domain::{Problem, ProblemKind};

use formats::Found;

/// Mac Central European, which neither calamine nor the encoding library know.
const MAC_CENTRAL_EUROPE: u16 = 10_029;
const WESTERN: u16 = 1_252;
/// What all text is in since 1997.
const UTF_16: u16 = 1_200;

/// Reads a workbook, or says what else the compound file is.
pub(crate) fn read(
    file: File,
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
) -> Result<Totals, Stop> {
    let mut file = BufReader::new(file);
    let stream = workbook_stream(&mut file)?;
    let found = formats::walk(&stream, limits)?;
    drop(stream);
    file.seek(SeekFrom::Start(0)).map_err(|error| damaged(&error))?;
    read_found(file, &found, options, limits, sink)
}

/// Reads a workbook whose records have no compound file around them.
pub(crate) fn read_bare(
    file: File,
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
) -> Result<Totals, Stop> {
    let mut stream = Vec::new();
    let most = limits.memory_bytes / 4;
    let read = file.take(most).read_to_end(&mut stream).map_err(|error| damaged(&error))?;
    if read as u64 == most {
        return Err(too_large(format!("the limit for such a workbook is {most} bytes")).into());
    }
    let found = formats::walk(&stream, limits)?;
    let wrapped = wrap(&stream).map_err(|error| damaged(&error))?;
    drop(stream);
    read_found(wrapped, &found, options, limits, sink)
}

/// Puts a compound file around records.
fn wrap(stream: &[u8]) -> io::Result<Cursor<Vec<u8>>> {
    let mut compound = cfb::CompoundFile::create(Cursor::new(Vec::new()))?;
    compound.create_stream("Workbook")?.write_all(stream)?;
    compound.flush()?;
    let mut wrapped = compound.into_inner();
    wrapped.set_position(0);
    Ok(wrapped)
}

fn read_found<R: Read + Seek>(
    file: R,
    found: &Found,
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
) -> Result<Totals, Stop> {
    let mut xls_options = XlsOptions::default();
    let mac = found.codepage == Some(MAC_CENTRAL_EUROPE) && !found.unicode;
    if mac {
        // Every byte has a character there, so the bytes can be had back.
        xls_options.force_codepage = Some(WESTERN);
    } else if found.unicode {
        // Some writers name a code page all the same; calamine would believe it.
        xls_options.force_codepage = Some(UTF_16);
    }
    // It takes lengths and offsets of damaged files at their word, which ends in a panic.
    let opened = catch_unwind(AssertUnwindSafe(|| Xls::new_with_options(file, xls_options)));
    let mut xls = match opened {
        Ok(Ok(xls)) => xls,
        Ok(Err(XlsError::Password)) => return Err(encrypted().into()),
        Ok(Err(error)) => return Err(damaged(&error).into()),
        Err(_) => return Err(damaged(&"a record does not hold what it must").into()),
    };
    let text = |text: &str| if mac { from_mac(text) } else { text.to_owned() };
    let metadata = xls.sheets_metadata().to_vec();
    let (mut listed, mut names) = (Vec::new(), Vec::new());
    for sheet in metadata.iter().filter(|sheet| sheet.typ == SheetType::WorkSheet) {
        let hidden = sheet.visible != SheetVisible::Visible;
        listed.push(Listed { name: text(&sheet.name), hidden });
        names.push((sheet.name.as_str(), metadata.iter().position(|other| other == sheet)));
    }
    let epoch = if xls.has_1904_epoch() { Epoch::Y1904 } else { Epoch::Y1900 };
    sheets::read_chosen(&listed, options, limits, sink, |place, index, rows| {
        rows.open_sheet(index, Some(&listed[place].name), epoch);
        let (name, number) = names[place];
        let range = xls.worksheet_range(name).map_err(|error| damaged(&error))?;
        read_range(&range, found, number.unwrap_or(place), mac, rows)
    })
}

fn damaged(error: &dyn std::fmt::Display) -> Problem {
    unreadable(format!("the workbook is damaged: {error}"))
}

fn encrypted() -> Problem {
    Problem::new(ProblemKind::Encrypted, "remove the password and try again")
}

/// The stream of records, out of the compound file.
fn workbook_stream(file: &mut BufReader<File>) -> Result<Vec<u8>, Problem> {
    let mut compound = cfb::CompoundFile::open(file).map_err(|error| damaged(&error))?;
    // An encrypted .xlsx is wrapped in a compound file.
    if compound.exists("EncryptedPackage") || compound.exists("EncryptionInfo") {
        return Err(encrypted());
    }
    let name =
        ["Workbook", "Book", "WORKBOOK", "BOOK"].iter().find(|name| compound.is_stream(name));
    let Some(name) = name else {
        let others = [
            ("WordDocument", "a Word document"),
            ("PowerPoint Document", "a PowerPoint presentation"),
            ("__properties_version1.0", "an e-mail"),
            ("VisioDocument", "a Visio drawing"),
        ];
        let other = others.iter().find(|(stream, _)| compound.exists(stream));
        return Err(kind::wrong(other.map_or("a compound file without a workbook", |o| o.1)));
    };
    let mut stream = Vec::new();
    let mut read = compound.open_stream(name).map_err(|error| damaged(&error))?;
    read.read_to_end(&mut stream).map_err(|error| damaged(&error))?;
    Ok(stream)
}

fn read_range(
    range: &Range<Data>,
    found: &Found,
    sheet: usize,
    mac: bool,
    rows: &mut Rows<'_>,
) -> Result<(), Stop> {
    let Some((first_row, first_column)) = range.start() else { return Ok(()) };
    for (row, cells) in (first_row..).zip(range.rows()) {
        rows.begin_row(row + 1)?;
        for (column, cell) in (first_column..).zip(cells) {
            let styled = found.format(sheet, row, column);
            let (format, code) = (&styled.format, &styled.code);
            match cell {
                Data::Empty => {}
                Data::String(text) if mac => {
                    rows.cell(column, Value::Text(&from_mac(text)))?;
                }
                Data::String(text) => rows.cell(column, Value::Text(text))?,
                Data::Int(value) => {
                    rows.styled(column, Value::Float(*value as f64, format), code)?;
                }
                Data::Float(value) => rows.styled(column, Value::Float(*value, format), code)?,
                Data::Bool(value) => rows.cell(column, Value::Bool(*value))?,
                Data::Error(error) => rows.cell(column, Value::Error(&error.to_string()))?,
                Data::DateTime(date) => {
                    let format = match format {
                        Format::Plain | Format::Zeros(_) => &Format::DateTime,
                        known => known,
                    };
                    rows.styled(column, Value::Float(date.as_f64(), format), code)?;
                }
                other => rows.cell(column, Value::Text(&other.to_string()))?,
            }
        }
        rows.end_row()?;
    }
    Ok(())
}

/// Text that was read as Windows-1252 and is Mac Central European.
fn from_mac(text: &str) -> String {
    const UPPER: &str = "\
        ÄĀāÉĄÖÜáąČäčĆćéŹźĎíďĒēĖóėôöõúĚěü\
        †°Ę£§•¶ß®©™ę¨≠ģĮįĪ≤≥īĶ∂∑łĻļĽľĹĺŅ\
        ņŃ¬√ńŇ∆«»…\u{a0}ňŐÕőŌ–—“”‘’÷◊ōŔŕŘ‹›řŖ\
        ŗŠ‚„šŚśÁŤťÍŽžŪÓÔūŮÚůŰűŲųÝýķŻŁżĢˇ";
    let (bytes, _, _) = encoding_rs::WINDOWS_1252.encode(text);
    bytes
        .iter()
        .map(|byte| match byte.checked_sub(128) {
            Some(upper) => UPPER.chars().nth(usize::from(upper)).unwrap_or('\u{fffd}'),
            None => char::from(*byte),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::Kept;
    use super::*;

    fn record(kind: u16, data: &[u8]) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &(data.len() as u16).to_le_bytes(), data].concat()
    }

    #[test]
    fn bare_records_are_read_and_their_code_page_is_not_believed() {
        let wide =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let label = |row: u8, text: &str| {
            let count = text.encode_utf16().count() as u8;
            record(0x0204, &[&[row, 0, 0, 0, 0, 0, count, 0, 1], &wide(text)[..]].concat())
        };
        let globals = |start: u32| {
            let sheet = [&start.to_le_bytes()[..], &[0, 0, 1, 0], b"S"].concat();
            [
                record(0x0809, &[0, 6, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                record(0x0042, &1_252_u16.to_le_bytes()),
                record(0x0085, &sheet),
                record(0x000A, &[]),
            ]
            .concat()
        };
        let start = globals(0).len() as u32;
        let sheet = [
            record(0x0809, &[0, 6, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            label(0, "Größe"),
            label(1, "łódź"),
            record(0x000A, &[]),
        ];
        let bytes = [globals(start), sheet.concat()].concat();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let (mut kept, options) = (Kept::default(), ReadOptions::default());
        let limits = ReadLimits::default();
        crate::read(file.path(), &options, &limits, &mut kept).unwrap();
        assert_eq!(kept.rows, [(2, r#"{"Größe":"łódź"}"#.into())]);
    }

    #[test]
    fn mac_central_european_is_read() {
        let western = encoding_rs::WINDOWS_1252.decode(b"\xFCadowno\xE6\xE7 \x80").0;
        assert_eq!(from_mac(&western), "ŁadownośÁ Ä");
    }
}
