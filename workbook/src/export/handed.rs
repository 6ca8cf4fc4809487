//! Rows on their way from the thread that reads the original to the one that writes it again: reading
//! takes two thirds of the time, and goes on while rows are written. What is on the way is bounded in
//! rows, bytes and batches.

use std::io;
use std::ops::Range;
use std::sync::mpsc::SyncSender;

use crate::shape::{CellOfRow, CellsOfRow, Shape};
use crate::sink::{SheetHead, Sink, Stop};
use rowmill_domain::{Finding, RowNumber};

/// Batches that may wait.
pub(super) const BATCHES: usize = 4;
/// Rows of a batch.
const ROWS: usize = 512;
/// Bytes after which a batch is handed over as it is.
const BYTES: usize = 256 << 10;

/// What a batch consists of, in the order in which it was read.
#[derive(Debug)]
pub(super) enum Handed<'a> {
    /// A sheet begins.
    Sheet(&'a SheetHead),
    /// A row of it.
    Row(CellsOfRow<'a>),
}

/// Sheets and rows that are handed over together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    cells: Vec<Cell>,
    json: Vec<u8>,
    words: String,
}

#[derive(Debug)]
enum Item {
    Sheet(SheetHead),
    Row(Row),
}

#[derive(Debug)]
struct Row {
    row: RowNumber,
    json: Range<usize>,
    refused: Option<(Option<u32>, Range<usize>)>,
    dates_from_1904: bool,
    cells: Range<usize>,
}

#[derive(Debug)]
struct Cell {
    column: u32,
    json: Range<usize>,
    shape: Kept,
}

#[derive(Debug)]
enum Kept {
    Text,
    Bool,
    Error,
    Empty,
    Number { digits: Range<usize>, code: Range<usize> },
}

impl Batch {
    fn is_full(&self) -> bool {
        self.items.len() >= ROWS || self.json.len() + self.words.len() >= BYTES
    }

    fn json(&mut self, json: &[u8]) -> Range<usize> {
        let start = self.json.len();
        self.json.extend_from_slice(json);
        start..self.json.len()
    }

    fn word(&mut self, word: &str) -> Range<usize> {
        let start = self.words.len();
        self.words.push_str(word);
        start..self.words.len()
    }

    fn push(&mut self, row: &CellsOfRow<'_>) {
        let first = self.cells.len();
        for cell in &row.cells {
            let json = self.json(cell.json);
            let shape = match cell.shape {
                Shape::Text => Kept::Text,
                Shape::Bool => Kept::Bool,
                Shape::Error => Kept::Error,
                Shape::Empty => Kept::Empty,
                Shape::Number { digits, code } => {
                    Kept::Number { digits: self.word(digits), code: self.word(code) }
                }
            };
            self.cells.push(Cell { column: cell.column, json, shape });
        }
        let row = Row {
            row: row.row,
            json: self.json(row.json),
            refused: row.refused.map(|(column, why)| (column, self.word(why))),
            dates_from_1904: row.dates_from_1904,
            cells: first..self.cells.len(),
        };
        self.items.push(Item::Row(row));
    }

    /// What is in it. The ranges are of what was put in with them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Handed<'_>> {
        self.items.iter().map(|item| match item {
            Item::Sheet(head) => Handed::Sheet(head),
            Item::Row(row) => Handed::Row(CellsOfRow {
                row: row.row,
                json: &self.json[row.json.clone()],
                refused: row
                    .refused
                    .as_ref()
                    .map(|(column, why)| (*column, &self.words[why.clone()])),
                dates_from_1904: row.dates_from_1904,
                cells: self.cells[row.cells.clone()].iter().map(|cell| self.cell(cell)).collect(),
            }),
        })
    }

    fn cell(&self, cell: &Cell) -> CellOfRow<'_> {
        let shape = match &cell.shape {
            Kept::Text => Shape::Text,
            Kept::Bool => Shape::Bool,
            Kept::Error => Shape::Error,
            Kept::Empty => Shape::Empty,
            Kept::Number { digits, code } => Shape::Number {
                digits: &self.words[digits.clone()],
                code: &self.words[code.clone()],
            },
        };
        CellOfRow { column: cell.column, json: &self.json[cell.json.clone()], shape }
    }
}

/// Takes what is read and hands it over.
pub(super) struct Hand {
    to: SyncSender<Batch>,
    batch: Batch,
}

impl Hand {
    pub(super) fn to(to: SyncSender<Batch>) -> Self {
        Self { to, batch: Batch::default() }
    }

    /// Hands over what is left.
    ///
    /// # Errors
    /// Nobody takes it any more.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.to.send(batch).map_err(|_| io::Error::other("nobody writes any more"))
    }
}

impl Sink for Hand {
    fn sheet(&mut self, head: &SheetHead) -> Result<(), Stop> {
        self.batch.items.push(Item::Sheet(head.clone()));
        Ok(())
    }

    fn row(&mut self, _: RowNumber, _: &[u8], _: Option<&[u8]>) -> Result<(), Stop> {
        Ok(())
    }

    fn finding(&mut self, _: Finding) -> Result<(), Stop> {
        Ok(())
    }

    fn wants_cells(&self) -> bool {
        true
    }

    fn cells(&mut self, row: &CellsOfRow<'_>) -> Result<(), Stop> {
        self.batch.push(row);
        if self.batch.is_full() {
            self.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn what_is_handed_over_is_what_was_read() {
        let (to, handed) = sync_channel(2 * ROWS);
        let mut hand = Hand::to(to);
        let head = SheetHead {
            index: 3,
            name: Some("Orders".into()),
            header_row: RowNumber(2),
            first_column: 1,
            columns: vec!["a".into()],
        };
        hand.sheet(&head).unwrap();
        let shapes = [
            Shape::Number { digits: "1.50", code: "0.00" },
            Shape::Text,
            Shape::Bool,
            Shape::Error,
            Shape::Empty,
        ];
        let json: [&[u8]; 5] = [b"1.5", "\"ü\"".as_bytes(), b"true", b"\"#N/A\"", b"null"];
        let cells = |row: u32| CellsOfRow {
            row: RowNumber(row),
            json: br#"{"a":1.5}"#,
            refused: (row == 7).then_some((Some(4), "why")),
            dates_from_1904: row == 8,
            cells: (0..)
                .zip(shapes.into_iter().zip(json))
                .map(|(column, (shape, json))| CellOfRow { column, json, shape })
                .collect(),
        };
        let rows = ROWS as u32 + 9;
        for row in 1..=rows {
            hand.cells(&cells(row)).unwrap();
        }
        hand.flush().unwrap();
        drop(hand);
        let batches: Vec<Batch> = handed.iter().collect();
        assert_eq!(batches.len(), 2);
        let told: Vec<String> =
            batches.iter().flat_map(Batch::iter).map(|item| format!("{item:?}")).collect();
        assert_eq!(told[0], format!("{:?}", Handed::Sheet(&head)));
        for (row, told) in (1..).zip(&told[1..]) {
            assert_eq!(*told, format!("{:?}", Handed::Row(cells(row))));
        }
        assert_eq!(told.len() as u32, rows + 1);
    }

    #[test]
    fn few_bytes_are_on_the_way_however_long_a_row_is() {
        let (to, handed) = sync_channel(2 * ROWS);
        let mut hand = Hand::to(to);
        let long = vec![b' '; BYTES];
        for row in 1..=3 {
            let row = RowNumber(row);
            let cells = vec![];
            let row = CellsOfRow { row, json: &long, refused: None, dates_from_1904: false, cells };
            hand.cells(&row).unwrap();
        }
        assert_eq!(handed.try_iter().count(), 3);
        drop(handed);
        hand.sheet(&SheetHead {
            index: 0,
            name: None,
            header_row: RowNumber(1),
            first_column: 0,
            columns: vec![],
        })
        .unwrap();
        assert!(hand.flush().is_err(), "it was handed to nobody");
    }
}
