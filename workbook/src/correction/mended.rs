//! Reads a corrected table of failures as the rows of the original: each has the number that stands in
//! its column `row`, the sheet and the columns of the original, and no column that was added. What is
//! found is told by the place that it has in the original.
//!
//! It stands between the reader and whoever takes rows, and sees each row's cells first: so the row's
//! number is known before anything is said about it.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::{ATTRIBUTE, CorrectedSheet, Correction, CorrectionChoice};
use crate::cell::write_text;
use crate::export::fields;
use crate::header::Names;
use crate::limits::ReadLimits;
use crate::options::{ReadOptions, SheetChoice};
use crate::shape::{CellOfRow, CellsOfRow};
use crate::sheets::Listed;
use crate::sink::{SheetHead, Sink, Stop, Totals};
use rowmill_domain::{Address, ColumnNumber, Finding, Problem, ProblemKind, RowNumber};

/// What helps where a file cannot be read as a correction.
const WAY_OUT: &str = "with `correction=off` the file is taken as one of its own";

/// Reads a file as the correction of an upload. All sheets of the upload are read unless one is
/// chosen; others are passed over.
pub(crate) fn read(
    correction: &Correction,
    path: &Path,
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
) -> Result<Totals, Stop> {
    let sheet = match &options.sheet {
        SheetChoice::First => SheetChoice::All,
        told => told.clone(),
    };
    let options = ReadOptions { sheet, correction: CorrectionChoice::Off, ..options.clone() };
    let mut mended = Mended::new(correction, sink);
    let totals = crate::read(path, &options, limits, &mut mended)?;
    mended.finish(totals)
}

struct Mended<'a> {
    correction: &'a Correction,
    sink: &'a mut dyn Sink,
    /// Nothing while a sheet is passed over.
    open: Option<Open<'a>>,
    /// The sheet that was announced last, and the number of its last row.
    announced: Option<(SheetHead, u32)>,
    /// What was found before its row's number is known.
    waiting: Vec<Finding>,
    attributes: Vec<u8>,
    counted: Totals,
}

/// The sheet at hand.
struct Open<'a> {
    of: &'a CorrectedSheet,
    /// As it is in the file.
    title: Option<String>,
    header_row: RowNumber,
    /// The column, from 0, of the first name.
    first: u32,
    /// How many have a name.
    named: usize,
    /// The column that says which row it was.
    row_at: u32,
    /// The places of the added columns among those with a name, ascending.
    added: Vec<usize>,
    /// Keys of columns without a name, made when first met.
    beyond: HashMap<u32, String>,
    names: Names,
    /// The row at hand: in the file, and in the original.
    at: RowNumber,
    number: RowNumber,
    json: Vec<u8>,
}

impl Open<'_> {
    /// The column of the original that a column is; none if it was added.
    fn column(&self, column: u32) -> Option<u32> {
        let place = column.checked_sub(self.first)? as usize;
        if self.added.contains(&place) {
            return None;
        }
        let before = self.added.iter().filter(|added| **added < place).count();
        u32::try_from(place - before).ok()?.checked_add(self.of.first_column)
    }

    fn here(&self, row: RowNumber) -> Address {
        Address {
            sheet: self.title.clone(),
            row: Some(row),
            column: Some(ColumnNumber(self.row_at)),
        }
    }

    /// The row's JSON without what was added.
    fn strip(&mut self, row: &CellsOfRow<'_>) -> io::Result<()> {
        self.json.clear();
        let text = std::str::from_utf8(row.json).map_err(io::Error::other)?;
        let past = self.first as usize + self.named;
        let beyond: Vec<Option<u32>> = row
            .cells
            .iter()
            .filter(|cell| cell.column as usize >= past)
            .map(|cell| self.column(cell.column))
            .collect();
        let mut beyond = beyond.into_iter();
        let mut place = 0;
        let mut json = std::mem::take(&mut self.json);
        fields(text, |key, value| {
            let added = self.added.contains(&place);
            // Under no name: the key is made of the column's letters, which are the original's.
            let letters = if place >= self.named { beyond.next().flatten() } else { None };
            place += 1;
            if added {
                return;
            }
            json.push(if json.is_empty() { b'{' } else { b',' });
            match letters {
                Some(at) => {
                    let names = &mut self.names;
                    let made = self.beyond.entry(at).or_insert_with(|| names.of_column(at));
                    write_text(&mut json, made);
                }
                None => write_text(&mut json, key),
            }
            json.push(b':');
            json.extend_from_slice(value.as_bytes());
        });
        if json.is_empty() {
            json.push(b'{');
        }
        json.push(b'}');
        self.json = json;
        Ok(())
    }
}

impl<'a> Mended<'a> {
    fn new(correction: &'a Correction, sink: &'a mut dyn Sink) -> Self {
        Self {
            correction,
            sink,
            open: None,
            announced: None,
            waiting: vec![],
            attributes: vec![],
            counted: Totals::default(),
        }
    }

    fn finish(mut self, totals: Totals) -> Result<Totals, Stop> {
        self.tell_waiting()?;
        if self.counted.sheets == 0 {
            let titles: Vec<_> =
                self.correction.sheets.iter().take(20).map(|one| one.title.as_str()).collect();
            let detail = format!(
                "none of its sheets is one of the upload {}, which are `{}`; {WAY_OUT}",
                self.correction.upload,
                titles.join("`, `")
            );
            return Err(Problem::new(ProblemKind::NoSuchSheet, detail).into());
        }
        Ok(Totals {
            sheets: self.counted.sheets,
            rows: self.counted.rows,
            rejected_rows: self.counted.rejected_rows,
            ..totals
        })
    }

    /// The sheet of the upload that a sheet is. One that was renamed is known if there is no other.
    fn sheet_of(&self, head: &SheetHead) -> Option<&'a CorrectedSheet> {
        let found = self.correction.sheet(head.name.as_deref().unwrap_or_default());
        match self.correction.sheets.as_slice() {
            [only] if found.is_none() && head.columns.contains(&only.added[0]) => Some(only),
            _ => found,
        }
    }

    fn tell(&mut self, finding: Finding) -> Result<(), Stop> {
        let Some(open) = &self.open else { return Ok(()) };
        let row = match finding.at.row {
            Some(row) if row == open.at => Some(open.number),
            Some(row) if row == open.header_row => Some(RowNumber(open.of.header_row)),
            // A row that came to nothing.
            _ => None,
        };
        let column = finding.at.column.and_then(|at| open.column(at.0)).map(ColumnNumber);
        let at = Address { sheet: open.of.name.clone(), row, column };
        self.sink.finding(Finding { at, ..finding })
    }

    fn tell_waiting(&mut self) -> Result<(), Stop> {
        for finding in std::mem::take(&mut self.waiting) {
            self.tell(finding)?;
        }
        Ok(())
    }

    /// Takes in which row it is.
    fn number(&mut self, row: &CellsOfRow<'_>) -> Result<(), Stop> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let last = self.announced.as_ref().map_or(0, |(_, last)| *last);
        let cell = row.cells.iter().find(|cell| cell.column == open.row_at);
        let wrong = |detail: String| {
            let detail = format!("{detail}; {WAY_OUT}");
            Problem::new(ProblemKind::NotCorrectable, detail).at(open.here(row.row))
        };
        let Some(number) = cell.and_then(|cell| number_of(cell.json)) else {
            let detail = "there is no number in the column that says which row is corrected: \
                          rows cannot be added to a correction";
            return Err(wrong(detail.into()).into());
        };
        if number == last {
            return Err(wrong(format!("row {number} is there twice")).into());
        }
        if number < last {
            let name = &open.of.added[0];
            let detail = format!(
                "row {number} comes after row {last}: sort the sheet by its column `{name}` and \
                 send it again"
            );
            return Err(wrong(detail).into());
        }
        open.at = row.row;
        open.number = RowNumber(number);
        if let Some((_, last)) = &mut self.announced {
            *last = number;
        }
        Ok(())
    }
}

impl Sink for Mended<'_> {
    fn listed(&mut self, sheets: &[Listed]) {
        self.sink.listed(sheets);
    }

    fn sheet(&mut self, head: &SheetHead) -> Result<(), Stop> {
        // What was found in the header row comes before the sheet does.
        let (found, before) =
            std::mem::take(&mut self.waiting).into_iter().partition(|f| f.at.sheet == head.name);
        self.waiting = before;
        self.tell_waiting()?;
        self.waiting = found;
        self.open = None;
        let Some(of) = self.sheet_of(head) else { return Ok(()) };
        let place = |name: &String| head.columns.iter().position(|column| column == name);
        let missing = |name: &str, why: &str| {
            let detail = format!("the column `{name}` is missing{why}; {WAY_OUT}");
            let at = Address {
                sheet: head.name.clone(),
                row: Some(head.header_row),
                ..Address::default()
            };
            Problem::new(ProblemKind::BadHeader, detail).at(at)
        };
        let Some(row) = place(&of.added[0]) else {
            let why = ", which says which row of the upload each of them corrects";
            return Err(missing(&of.added[0], why).into());
        };
        let mut added: Vec<usize> = of.added.iter().filter_map(place).collect();
        added.sort_unstable();
        let kept = head.columns.iter().enumerate().filter(|(at, _)| !added.contains(at));
        let columns: Vec<String> = kept.map(|(_, name)| name.clone()).collect();
        if let Some(name) = of.columns.iter().find(|name| !columns.contains(name)) {
            return Err(missing(name, ": a correction has the columns of its upload").into());
        }
        let announced = SheetHead {
            index: of.index,
            name: of.name.clone(),
            header_row: RowNumber(of.header_row),
            first_column: of.first_column,
            columns,
        };
        self.open = Some(Open {
            of,
            title: head.name.clone(),
            header_row: head.header_row,
            first: head.first_column,
            named: head.columns.len(),
            row_at: head.first_column.saturating_add(u32::try_from(row).unwrap_or(u32::MAX)),
            added,
            beyond: HashMap::new(),
            names: Names::taken_by(&announced.columns),
            at: RowNumber(0),
            number: RowNumber(of.header_row),
            json: vec![],
        });
        // What did not fit one sheet goes on in the next.
        if self.announced.as_ref().is_some_and(|(before, _)| *before == announced) {
            return Ok(());
        }
        self.sink.sheet(&announced)?;
        self.counted.sheets += 1;
        self.announced = Some((announced, of.header_row));
        Ok(())
    }

    fn row(&mut self, _: RowNumber, _: &[u8], attributes: Option<&[u8]>) -> Result<(), Stop> {
        let Some(open) = &self.open else { return Ok(()) };
        self.counted.rows += 1;
        attributes_of(attributes, &self.correction.upload, &mut self.attributes);
        self.sink.row(open.number, &open.json, Some(&self.attributes))
    }

    fn finding(&mut self, finding: Finding) -> Result<(), Stop> {
        match &self.open {
            Some(open) if finding.at.row == Some(open.at) => self.tell(finding),
            _ => {
                self.waiting.push(finding);
                Ok(())
            }
        }
    }

    fn wants_cells(&self) -> bool {
        true
    }

    fn cells(&mut self, row: &CellsOfRow<'_>) -> Result<(), Stop> {
        self.number(row)?;
        self.tell_waiting()?;
        let Some(open) = &mut self.open else { return Ok(()) };
        open.strip(row)?;
        self.counted.rejected_rows += u64::from(row.refused.is_some());
        if !self.sink.wants_cells() {
            return Ok(());
        }
        let mut cells = Vec::with_capacity(row.cells.len());
        for cell in &row.cells {
            if let Some(column) = open.column(cell.column) {
                cells.push(CellOfRow { column, ..*cell });
            }
        }
        let refused = row.refused.map(|(column, why)| (column.and_then(|at| open.column(at)), why));
        let row = CellsOfRow {
            row: open.number,
            json: &open.json,
            refused,
            dates_from_1904: row.dates_from_1904,
            cells,
        };
        self.sink.cells(&row)
    }
}

/// Adds whose row it was to what was chosen of it, unless a chosen column has that name.
fn attributes_of(chosen: Option<&[u8]>, upload: &str, out: &mut Vec<u8>) {
    out.clear();
    let chosen = chosen.and_then(|json| json.strip_prefix(b"{")).unwrap_or(b"}");
    let mut key = vec![];
    write_text(&mut key, ATTRIBUTE);
    key.push(b':');
    let is_there = chosen.windows(key.len()).any(|part| part == key);
    out.push(b'{');
    if !is_there {
        out.extend_from_slice(&key);
        write_text(out, upload);
        if chosen != b"}" {
            out.push(b',');
        }
    }
    out.extend_from_slice(chosen);
}

/// The number that stands in a cell: as a number, or as text.
fn number_of(json: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(json).ok()?.trim_matches('"').trim();
    let number: f64 = text.parse().ok()?;
    let whole = number.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&number);
    // Whole, and within what a row's number can be.
    whole.then_some(number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_as_programs_write_numbers() {
        for (json, number) in [
            ("17", Some(17)),
            ("17.0", Some(17)),
            ("\" 17 \"", Some(17)),
            ("1.7e1", Some(17)),
            ("17.5", None),
            ("0", None),
            ("-1", None),
            ("\"\"", None),
            ("null", None),
            ("5000000000", None),
        ] {
            assert_eq!(number_of(json.as_bytes()), number, "{json}");
        }
    }

    #[test]
    fn whose_row_it_was_is_an_attribute() {
        let of = |chosen: Option<&str>| {
            let mut out = vec![];
            attributes_of(chosen.map(str::as_bytes), "u", &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(of(None), r#"{"corrects":"u"}"#);
        assert_eq!(of(Some(r#"{"a":"b"}"#)), r#"{"corrects":"u","a":"b"}"#);
        assert_eq!(of(Some(r#"{"corrects":"b"}"#)), r#"{"corrects":"b"}"#);
        assert_eq!(of(Some(r#"{"a":"\"corrects\":"}"#)), r#"{"corrects":"u","a":"\"corrects\":"}"#);
    }
}
