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
pub(crate) mod tests {
    use super::*;

    /// Keeps everything, for tests.
    #[derive(Debug, Default)]
    pub(crate) struct Kept {
        pub(crate) heads: Vec<SheetHead>,
        pub(crate) rows: Vec<(u32, String)>,
        pub(crate) attributes: Vec<(u32, String)>,
        pub(crate) findings: Vec<Finding>,
    }

    impl Sink for Kept {
        fn sheet(&mut self, head: &SheetHead) -> Result<(), Stop> {
            self.heads.push(head.clone());
            Ok(())
        }

        fn row(
            &mut self,
            row: RowNumber,
            json: &[u8],
            attributes: Option<&[u8]>,
        ) -> Result<(), Stop> {
            let text = |json: &[u8]| String::from_utf8(json.to_vec()).unwrap();
            self.attributes.extend(attributes.map(|json| (row.0, text(json))));
            self.rows.push((row.0, text(json)));
            Ok(())
        }

        fn finding(&mut self, finding: Finding) -> Result<(), Stop> {
            self.findings.push(finding);
            Ok(())
        }
    }

    fn sheet(
        limits: &ReadLimits,
        header_row: HeaderRow,
        rows: &[(u32, &[(u32, &str)])],
    ) -> (Kept, Result<(SheetEnd, Totals), Stop>) {
        let mut kept = Kept::default();
        let none = AttributeColumns::default();
        let mut made = Rows::new(&mut kept, limits, header_row, &none);
        made.open_sheet(0, Some("S"), Epoch::Y1900);
        let mut read = || {
            for (row, cells) in rows {
                made.begin_row(*row)?;
                for (column, text) in *cells {
                    made.cell(*column, Value::Text(text))?;
                }
                made.end_row()?;
            }
            let end = made.close_sheet()?;
            Ok((end, made.totals()))
        };
        let end = read();
        (kept, end)
    }

    fn found(rows: &[(u32, &[(u32, &str)])]) -> (Kept, Result<(SheetEnd, Totals), Stop>) {
        sheet(&ReadLimits::default(), HeaderRow::Found, rows)
    }

    fn problem<T: std::fmt::Debug>(end: Result<T, Stop>) -> String {
        match end {
            Err(Stop::Problem(problem)) => problem.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_are_objects_and_blank_ones_are_counted() {
        let (kept, end) = found(&[
            (2, &[(1, "a"), (2, "b")]),
            (3, &[(2, "y")]),
            (4, &[]),
            (7, &[(1, "x")]),
            (1_048_576, &[]),
        ]);
        let (end, totals) = end.unwrap();
        assert_eq!((end, totals.rows, totals.blank_rows), (SheetEnd::Rows, 2, 3));
        assert_eq!(kept.heads[0].header_row, RowNumber(2));
        assert_eq!(kept.heads[0].first_column, 1);
        assert_eq!(kept.rows[0], (3, r#"{"a":null,"b":"y"}"#.into()));
        assert_eq!(kept.rows[1], (7, r#"{"a":"x","b":null}"#.into()));
    }

    #[test]
    fn a_wider_row_is_kept_under_its_letters() {
        let (kept, _) = found(&[
            (1, &[(1, "D"), (2, "b")]),
            (2, &[(1, "1"), (3, "3")]),
            (3, &[(0, "0"), (1, "1")]),
        ]);
        assert_eq!(kept.rows[0].1, r#"{"D":"1","b":null,"D_2":"3"}"#);
        assert_eq!(kept.rows[1].1, r#"{"D":"1","b":null,"A":"0"}"#);
        let at: Vec<_> = kept.findings.iter().map(|f| f.at.to_string()).collect();
        assert_eq!(at, ["S!D2", "S!A3"]);
    }

    #[test]
    fn an_index_without_a_name_is_a_column() {
        let (kept, _) = found(&[(1, &[(1, "A"), (2, "b")]), (2, &[(0, "0"), (1, "1")])]);
        assert_eq!(kept.heads[0].columns, ["A_2", "A", "b"]);
        assert_eq!(kept.heads[0].first_column, 0);
        assert_eq!(kept.rows[0].1, r#"{"A_2":"0","A":"1","b":null}"#);
        assert!(kept.findings.is_empty());
    }

    #[test]
    fn cells_out_of_order_are_put_in_order_and_twice_is_refused() {
        let (kept, _) = found(&[(1, &[(1, "b"), (0, "a")]), (2, &[(1, "2"), (0, "1")])]);
        assert_eq!(kept.rows[0].1, r#"{"a":"1","b":"2"}"#);
        let (_, end) = found(&[(1, &[(0, "a")]), (2, &[(0, "1"), (1, "2"), (0, "3")])]);
        assert!(problem(end).contains("S!A2"));
    }

    #[test]
    fn rows_that_repeat_or_go_backwards_are_refused() {
        for second in [3, 2] {
            let (_, end) = found(&[(1, &[(0, "a")]), (3, &[(0, "1")]), (second, &[(0, "2")])]);
            assert!(problem(end).contains("out of order"));
        }
    }

    #[test]
    fn rows_without_cells_may_repeat() {
        let (kept, end) = found(&[(1, &[]), (1, &[(0, "a")]), (4, &[]), (2, &[(0, "1")])]);
        assert!(end.is_ok());
        assert_eq!(kept.rows, [(2, r#"{"a":"1"}"#.into())]);
    }

    #[test]
    fn a_row_of_formulas_without_results_is_blank_and_told() {
        let (mut kept, limits) = (Kept::default(), ReadLimits::default());
        let none = AttributeColumns::default();
        let mut made = Rows::new(&mut kept, &limits, HeaderRow::Found, &none);
        made.open_sheet(0, Some("S"), Epoch::Y1900);
        let rows = [
            [Value::Text("a"), Value::Text("b")],
            [Value::Uncalculated, Value::Uncalculated],
            [Value::Uncalculated, Value::Bool(true)],
        ];
        for (row, cells) in (1..).zip(rows) {
            made.begin_row(row).unwrap();
            for (column, value) in (0..).zip(cells) {
                made.cell(column, value).unwrap();
            }
            made.end_row().unwrap();
        }
        assert_eq!((made.totals().blank_rows, made.totals().warnings), (1, 3));
        assert_eq!(kept.rows, [(3, r#"{"a":null,"b":true}"#.into())]);
    }

    #[test]
    fn a_header_is_told_or_found() {
        let rows: &[(u32, &[(u32, &str)])] =
            &[(1, &[(0, "title")]), (3, &[(0, "a")]), (4, &[(0, "1")])];
        let told = |row| sheet(&ReadLimits::default(), HeaderRow::Told(RowNumber(row)), rows);
        assert_eq!(told(3).0.rows, [(4, r#"{"a":"1"}"#.into())]);
        assert!(problem(told(2).1).contains("row 2"));
        assert!(problem(told(9).1).contains("row 9"));
        let (kept, _) = found(&[(1, &[(0, " ")]), (2, &[(0, "a")]), (3, &[(0, " ")])]);
        assert_eq!(kept.rows, [(3, r#"{"a":" "}"#.into())]);
        assert_eq!(found(&[(1, &[(0, "a")])]).1.unwrap().0, SheetEnd::HeaderOnly);
        assert_eq!(found(&[(1, &[])]).1.unwrap().0, SheetEnd::Empty);
    }

    #[test]
    fn limits_reject_rows_or_refuse_files() {
        let limits = ReadLimits {
            cell_bytes: 8,
            row_bytes: 40,
            columns: 3,
            rows: 2,
            findings: 1,
            ..ReadLimits::default()
        };
        let (kept, end) = sheet(
            &limits,
            HeaderRow::Found,
            &[
                (1, &[(0, "a")]),
                (2, &[(0, "much too long")]),
                (3, &[(0, "ok")]),
                (4, &[(0, "1"), (1, "2")]),
            ],
        );
        let (_, totals) = end.unwrap();
        assert_eq!((totals.rows, totals.rejected_rows, totals.warnings), (2, 1, 1));
        assert_eq!(kept.findings.len(), 1);
        assert_eq!(kept.findings[0].kind, FindingKind::Rejected);
        let (_, end) = sheet(&limits, HeaderRow::Found, &[(1, &[(0, "a")]), (2, &[(3, "x")])]);
        assert!(problem(end).contains("S!D2"));
    }

    #[test]
    fn chosen_columns_become_attributes() {
        let (mut kept, limits) = (Kept::default(), ReadLimits::default());
        let chosen = "c_2,n".parse().unwrap();
        let mut made = Rows::new(&mut kept, &limits, HeaderRow::Found, &chosen);
        let long = "x".repeat(crate::attributes::MOST_VALUE_CHARS + 1);
        let rows: [&[(u32, Value<'_>)]; 5] = [
            &[(1, Value::Text("c")), (2, Value::Text("c")), (3, Value::Text("n"))],
            &[(1, Value::Text("not")), (2, Value::Text("DE")), (3, Value::Bool(true))],
            // Out of order, and nothing in one of the columns.
            &[
                (3, Value::Digits("007", &super::super::format::Format::Plain)),
                (1, Value::Text("x")),
            ],
            &[(1, Value::Text("x"))],
            &[(2, Value::Text(&long))],
        ];
        made.open_sheet(0, Some("S"), Epoch::Y1900);
        for (row, cells) in (1..).zip(rows) {
            made.begin_row(row).unwrap();
            for (column, value) in cells {
                made.cell(*column, *value).unwrap();
            }
            made.end_row().unwrap();
        }
        assert_eq!((made.totals().rows, made.totals().rejected_rows), (3, 1));
        assert_eq!(
            kept.attributes,
            [(2, r#"{"c_2":"DE","n":"true"}"#.into()), (3, r#"{"n":"7"}"#.into())]
        );
        assert_eq!(kept.findings[0].at.to_string(), "S!C5");
        assert_eq!(kept.findings[0].kind, FindingKind::Rejected);
    }

    #[test]
    fn every_sheet_must_have_the_chosen_columns() {
        let (mut kept, limits) = (Kept::default(), ReadLimits::default());
        let chosen = "b".parse().unwrap();
        let mut made = Rows::new(&mut kept, &limits, HeaderRow::Found, &chosen);
        let mut sheet = |index: u16, name: &str, header: &str| {
            made.open_sheet(index, Some(name), Epoch::Y1900);
            for (row, text) in [(1, header), (2, "x")] {
                made.begin_row(row)?;
                made.cell(3, Value::Text(text))?;
                made.end_row()?;
            }
            Ok::<(), Stop>(())
        };
        sheet(0, "S", "b").unwrap();
        assert!(problem(sheet(1, "T", "c")).contains("T!1:1"));
        assert_eq!(kept.attributes, [(2, r#"{"b":"x"}"#.into())]);
    }
}
