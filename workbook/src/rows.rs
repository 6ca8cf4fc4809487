//! Cells to rows. Every format's reader says `begin_row`, `cell`..., `end_row`; here is decided
//! what that means: which row is the header, which JSON a row becomes, what is blank, what is
//! rejected, what is worth a warning, and whether the rows are in an order that can be believed.
//! One row is held at a time.

use std::collections::HashMap;

use super::attributes::{AttributeColumns, Attributes};
use super::cell::{self, Note, Value, Written};
use super::date::Epoch;
use super::header::Names;
use super::limits::{ReadLimits, too_large, unreadable};
use super::options::HeaderRow;
use super::shape::{CellOfRow, CellsOfRow, Shapes};
use super::sink::{SheetHead, Sink, Stop, Totals};
use rowmill_domain::{
    Address, ColumnNumber, Finding, FindingKind, Problem, ProblemKind, RowNumber,
};

/// A cell of the row at hand: its column, and where its JSON lies in `values`.
#[derive(Debug, Clone, Copy)]
struct Slot {
    column: u32,
    start: usize,
    end: usize,
    /// Where its shape is, if shapes are kept.
    nth: usize,
}

/// The header of the sheet at hand, ready to write rows with.
struct Head {
    head: SheetHead,
    /// `{"name":` for the first column, `,"name":` for the others.
    keys: Vec<Box<[u8]>>,
    names: Names,
    /// Keys of columns beyond the header, made when first met.
    beyond: HashMap<u32, Box<[u8]>>,
    announced: bool,
    last_filled: u32,
}

impl Head {
    /// Takes columns in that stand left of the first name, as the index that many programs write:
    /// they are columns with an empty name, which shows only in the first row under the header.
    fn reach(&mut self, first: u32) {
        if first >= self.head.first_column {
            return;
        }
        let mut columns: Vec<_> =
            (first..self.head.first_column).map(|column| self.names.of_column(column)).collect();
        columns.append(&mut self.head.columns);
        self.head.first_column = first;
        self.head.columns = columns;
        self.keys = keys(&self.head.columns);
    }
}

/// Makes rows of cells and hands them on.
pub(crate) struct Rows<'a> {
    sink: &'a mut dyn Sink,
    limits: &'a ReadLimits,
    header_row: HeaderRow,
    attributes: Attributes<'a>,
    totals: Totals,
    findings: u64,
    index: u16,
    name: Option<String>,
    epoch: Epoch,
    head: Option<Head>,
    row: u32,
    /// The last row that had cells.
    filled: u32,
    /// There were rows of nothing but formulas without results.
    uncalculated: bool,
    values: Vec<u8>,
    slots: Vec<Slot>,
    in_order: bool,
    notes: Vec<(usize, Note)>,
    /// Why the row at hand cannot be taken.
    refused: Option<(Option<u32>, String)>,
    json: Vec<u8>,
    shapes: Option<Shapes>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(
        sink: &'a mut dyn Sink,
        limits: &'a ReadLimits,
        header_row: HeaderRow,
        attributes: &'a AttributeColumns,
    ) -> Self {
        let shapes = sink.wants_cells().then(Shapes::default);
        Self {
            sink,
            limits,
            header_row,
            attributes: Attributes::new(attributes),
            totals: Totals::default(),
            findings: 0,
            index: 0,
            name: None,
            epoch: Epoch::Y1900,
            head: None,
            row: 0,
            filled: 0,
            uncalculated: false,
            values: Vec::new(),
            slots: Vec::new(),
            in_order: true,
            notes: Vec::new(),
            refused: None,
            json: Vec::new(),
            shapes,
        }
    }

    /// The limits that hold for the file.
    pub(crate) fn limits(&self) -> &'a ReadLimits {
        self.limits
    }

    /// The row that was begun last, 0 before the first.
    pub(crate) fn row(&self) -> u32 {
        self.row
    }

    /// The place of a cell in the sheet at hand.
    pub(crate) fn at(&self, row: u32, column: Option<u32>) -> Address {
        Address {
            sheet: self.name.clone(),
            row: Some(RowNumber(row)),
            column: column.map(ColumnNumber),
        }
    }

    /// Begins a sheet; the one before is closed.
    pub(crate) fn open_sheet(&mut self, index: u16, name: Option<&str>, epoch: Epoch) {
        self.index = index;
        self.name = name.map(str::to_owned);
        self.epoch = epoch;
        self.head = None;
        self.row = 0;
        self.filled = 0;
        self.uncalculated = false;
        self.clear_row();
    }

    /// Begins a row, counted from 1. Rows without cells may stand anywhere.
    pub(crate) fn begin_row(&mut self, row: u32) -> Result<(), Stop> {
        if row <= self.filled {
            let detail = format!(
                "row {row} comes after row {}: rows are repeated or out of order",
                self.filled
            );
            return Err(unreadable(detail).at(self.at(row, None)).into());
        }
        self.row = row;
        Ok(())
    }

    /// Adds a cell to the row at hand; the column is counted from 0.
    pub(crate) fn cell(&mut self, column: u32, value: Value<'_>) -> Result<(), Stop> {
        self.styled(column, value, "")
    }

    /// The same with the code of the cell's number format.
    pub(crate) fn styled(
        &mut self,
        column: u32,
        mut value: Value<'_>,
        code: &str,
    ) -> Result<(), Stop> {
        let start = self.values.len();
        let written = cell::write(&mut self.values, value, self.epoch);
        if written == Written::Nothing {
            return Ok(());
        }
        if column >= self.limits.columns {
            let detail = format!("the limit is {} columns", self.limits.columns);
            return Err(too_large(detail).at(self.at(self.row, Some(column))).into());
        }
        let size = self.values.len() - start;
        if size > self.limits.cell_bytes || self.values.len() > self.limits.row_bytes {
            let (what, size, limit) = if size > self.limits.cell_bytes {
                ("the cell", size, self.limits.cell_bytes)
            } else {
                ("the row", self.values.len(), self.limits.row_bytes)
            };
            let detail = format!("{what} takes {size} bytes as JSON; the limit is {limit}");
            self.refused.get_or_insert((Some(column), detail));
            // Who writes the file again needs what stands there, as long as it is not too much.
            if self.shapes.is_none() || self.values.len() > self.limits.row_bytes {
                self.values.truncate(start);
                self.values.extend_from_slice(b"null");
                value = Value::Uncalculated;
            }
        } else if let Written::Noted(note) = written {
            self.notes.push((self.slots.len(), note));
        }
        self.in_order &= self.slots.last().is_none_or(|last| last.column < column);
        let shapes = self.shapes.as_mut();
        let nth = shapes.map_or(0, |shapes| shapes.push(value, written, code, self.epoch));
        self.slots.push(Slot { column, start, end: self.values.len(), nth });
        Ok(())
    }

    /// A warning about a cell of the row at hand that is not about its value.
    pub(crate) fn warn(&mut self, column: u32, detail: impl Into<String>) -> Result<(), Stop> {
        self.find(FindingKind::Warning, Some(column), detail.into())
    }

    /// Ends the row at hand.
    pub(crate) fn end_row(&mut self) -> Result<(), Stop> {
        if self.slots.is_empty() {
            return Ok(());
        }
        self.filled = self.row;
        self.tell_notes()?;
        if self.is_uncalculated() {
            // There is nothing in it for anybody who does not calculate.
            self.uncalculated = true;
            self.clear_row();
            return Ok(());
        }
        if !self.in_order {
            self.slots.sort_by_key(|slot| slot.column);
            let twice = self.slots.windows(2).find(|pair| pair[0].column == pair[1].column);
            if let Some(pair) = twice {
                let at = self.at(self.row, Some(pair[0].column));
                return Err(unreadable("the cell is in the file twice").at(at).into());
            }
        }
        let done = match self.head.take() {
            None => self.take_header(),
            Some(mut head) => {
                let done = self.hand_over(&mut head);
                self.head = Some(head);
                done
            }
        };
        self.clear_row();
        done
    }

    /// Ends the sheet; the answer is whether it had rows.
    pub(crate) fn close_sheet(&mut self) -> Result<SheetEnd, Stop> {
        match (&self.head, self.header_row) {
            (Some(head), _) if head.announced => Ok(SheetEnd::Rows),
            (Some(_), _) if self.uncalculated => Ok(SheetEnd::Uncalculated),
            (Some(_), _) => Ok(SheetEnd::HeaderOnly),
            (None, HeaderRow::Told(told)) if self.row > 0 => Err(self.no_header(told).into()),
            (None, _) => Ok(SheetEnd::Empty),
        }
    }

    /// What was counted so far.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    fn clear_row(&mut self) {
        self.values.clear();
        self.slots.clear();
        self.notes.clear();
        self.refused = None;
        self.in_order = true;
        if let Some(shapes) = &mut self.shapes {
            shapes.clear();
        }
    }

    /// Whether the row has nothing but formulas without results.
    fn is_uncalculated(&self) -> bool {
        self.notes.len() == self.slots.len()
            && self.notes.iter().all(|(_, note)| *note == Note::Uncalculated)
    }

    fn no_header(&self, told: RowNumber) -> Problem {
        Problem::new(ProblemKind::BadHeader, format!("row {told} has no text to name columns by"))
            .at(self.at(told.0, None))
    }

    fn take_header(&mut self) -> Result<(), Stop> {
        if let HeaderRow::Told(told) = self.header_row {
            if self.row < told.0 {
                return Ok(());
            }
            if self.row > told.0 {
                return Err(self.no_header(told).into());
            }
        }
        if let Some((column, detail)) = self.refused.take() {
            let at = self.at(self.row, column);
            return Err(Problem::new(ProblemKind::BadHeader, detail).at(at).into());
        }
        let cells: Vec<_> = self
            .slots
            .iter()
            .map(|slot| (slot.column, cell::header_text(&self.values[slot.start..slot.end])))
            .collect();
        let Some((first_column, columns, names)) = Names::of(&cells) else {
            return match self.header_row {
                HeaderRow::Told(told) => Err(self.no_header(told).into()),
                // Nothing but white space is no header.
                HeaderRow::Found => Ok(()),
            };
        };
        let keys = keys(&columns);
        let head = SheetHead {
            index: self.index,
            name: self.name.clone(),
            header_row: RowNumber(self.row),
            first_column,
            columns,
        };
        let (beyond, last_filled) = (HashMap::new(), self.row);
        self.head = Some(Head { head, keys, names, beyond, announced: false, last_filled });
        Ok(())
    }

    fn hand_over(&mut self, head: &mut Head) -> Result<(), Stop> {
        if !head.announced {
            head.announced = true;
            if let Some(first) = self.slots.first() {
                head.reach(first.column);
            }
            self.attributes.find(&head.head)?;
            self.totals.sheets += 1;
            self.sink.sheet(&head.head)?;
        }
        if self.totals.rows >= self.limits.rows {
            let detail = format!("the limit is {} rows", self.limits.rows);
            return Err(too_large(detail).at(self.at(self.row, None)).into());
        }
        self.totals.blank_rows += u64::from(self.row - head.last_filled - 1);
        head.last_filled = self.row;
        self.write_row(head)?;
        self.write_attributes();
        if self.refused.is_none() && self.json.len() > self.limits.row_bytes {
            let (size, limit) = (self.json.len(), self.limits.row_bytes);
            self.refused =
                Some((None, format!("the row takes {size} bytes as JSON; the limit is {limit}")));
        }
        self.show_cells()?;
        if let Some((column, detail)) = self.refused.take() {
            self.totals.rejected_rows += 1;
            return self.find(FindingKind::Rejected, column, detail);
        }
        self.totals.rows += 1;
        self.sink.row(RowNumber(self.row), &self.json, self.attributes.of_row())
    }

    /// Shows the sink the row's cells, if it asks for them; they are in order of columns.
    fn show_cells(&mut self) -> Result<(), Stop> {
        let Some(shapes) = &self.shapes else { return Ok(()) };
        let cells = self.slots.iter().map(|slot| CellOfRow {
            column: slot.column,
            json: &self.values[slot.start..slot.end],
            shape: shapes.get(slot.nth),
        });
        let refused = self.refused.as_ref();
        let row = CellsOfRow {
            row: RowNumber(self.row),
            json: &self.json,
            refused: refused.map(|(column, detail)| (*column, detail.as_str())),
            dates_from_1904: self.epoch == Epoch::Y1904,
            cells: cells.collect(),
        };
        self.sink.cells(&row)
    }

    /// Puts the row's attributes together; cells are in order of columns.
    fn write_attributes(&mut self) {
        let (slots, values) = (&self.slots, &self.values);
        let written = self.attributes.write(|column| {
            let at = slots.binary_search_by_key(&column, |slot| slot.column).ok()?;
            slots.get(at).map(|slot| &values[slot.start..slot.end])
        });
        if let Err((column, too_long)) = written {
            self.refused.get_or_insert_with(|| (Some(column), too_long.to_string()));
        }
    }

    /// Puts the row together; cells are in order of columns.
    fn write_row(&mut self, head: &mut Head) -> Result<(), Stop> {
        self.json.clear();
        let first = head.head.first_column;
        let within = self.slots.partition_point(|slot| slot.column < first);
        let mut rest = self.slots[within..].iter().peekable();
        for (column, key) in (first..).zip(&head.keys) {
            self.json.extend_from_slice(key);
            match rest.next_if(|slot| slot.column == column) {
                Some(slot) => self.json.extend_from_slice(&self.values[slot.start..slot.end]),
                None => self.json.extend_from_slice(b"null"),
            }
        }
        let past = first as usize + head.keys.len();
        let beyond = self.slots.partition_point(|slot| (slot.column as usize) < past);
        for i in (0..within).chain(beyond..self.slots.len()) {
            let slot = self.slots[i];
            let names = &mut head.names;
            let made = head.beyond.entry(slot.column);
            let key = made.or_insert_with(|| key(&names.of_column(slot.column), false));
            self.json.extend_from_slice(key);
            self.json.extend_from_slice(&self.values[slot.start..slot.end]);
            let detail = "the column has no name in the header; its letters are the key";
            self.find(FindingKind::Warning, Some(slot.column), detail.to_owned())?;
        }
        self.json.push(b'}');
        Ok(())
    }

    fn tell_notes(&mut self) -> Result<(), Stop> {
        for i in 0..self.notes.len() {
            let (slot, note) = self.notes[i];
            let slot = self.slots[slot];
            let detail = if self.findings < self.limits.findings {
                note.detail(&String::from_utf8_lossy(&self.values[slot.start..slot.end]))
            } else {
                String::new()
            };
            self.find(FindingKind::Warning, Some(slot.column), detail)?;
        }
        Ok(())
    }

    fn find(&mut self, kind: FindingKind, column: Option<u32>, detail: String) -> Result<(), Stop> {
        if kind == FindingKind::Warning {
            self.totals.warnings += 1;
        }
        if self.findings >= self.limits.findings {
            return Ok(());
        }
        self.findings += 1;
        let at = self.at(self.row, column);
        self.sink.finding(Finding { kind, at, detail })
    }
}

/// How a sheet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SheetEnd {
    /// It had rows.
    Rows,
    /// It had a header and nothing under it.
    HeaderOnly,
    /// The same, but for formulas without results.
    Uncalculated,
    /// It had nothing.
    Empty,
}

fn keys(columns: &[String]) -> Vec<Box<[u8]>> {
    columns.iter().enumerate().map(|(i, name)| key(name, i == 0)).collect()
}

fn key(name: &str, first: bool) -> Box<[u8]> {
    let mut key = vec![if first { b'{' } else { b',' }];
    cell::write_text(&mut key, name);
    key.push(b':');
    key.into()
}

#[cfg(test)]
pub(crate) mod tests;
