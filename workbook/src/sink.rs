//! Where rows go, and what is said about them. A reader knows nothing of pipes or frames: it
//! hands a [`Sink`] the sheet's head, then rows and findings in the order of the sheet.

use std::io;

use serde::{Deserialize, Serialize};

use super::shape::CellsOfRow;
use super::sheets::Listed;
use rowmill_domain::{Finding, Problem, RowNumber};

/// Why reading ends before the file does.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The file is refused, or something in it is wrong.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// Whoever takes the rows is gone.
    #[error("the rows have nowhere to go: {0}")]
    Closed(#[from] io::Error),
}

/// What is known of a sheet before its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheetHead {
    /// The sheet's place in the workbook, from 0.
    pub index: u16,
    /// The sheet's name; a csv file has none.
    pub name: Option<String>,
    /// The row that the names were taken from.
    pub header_row: RowNumber,
    /// The column, from 0, that the first of `columns` stands in; the others follow side by side.
    pub first_column: u32,
    /// The names, each once: keys of every row's JSON object, unless rules give others.
    pub columns: Vec<String>,
}

/// What was read, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Sheets that had rows.
    pub sheets: u16,
    /// Rows handed over.
    pub rows: u64,
    /// Rows with nothing in them, between the header and the last filled row.
    pub blank_rows: u64,
    /// Rows that did not become JSON.
    pub rejected_rows: u64,
    /// Warnings, also those beyond the limit of findings.
    pub warnings: u64,
}

/// Takes what a reader finds. Returning an error ends the reading.
pub trait Sink {
    /// The sheets of a workbook, before any is read. Most have no use for it.
    fn listed(&mut self, _sheets: &[Listed]) {}

    /// The file says that it corrects this upload, before anything is read. Most do not care.
    ///
    /// # Errors
    /// Whatever makes it useless to go on.
    fn corrects(&mut self, _upload: &str) -> Result<(), Stop> {
        Ok(())
    }

    /// A sheet begins; called before its first row, and only if it has one.
    ///
    /// # Errors
    /// Whatever makes it useless to go on.
    fn sheet(&mut self, head: &SheetHead) -> Result<(), Stop>;

    /// A row of the sheet that began last, as a JSON object; `attributes` are those chosen of it, an
    /// object of strings, if there are any.
    ///
    /// # Errors
    /// Whatever makes it useless to go on.
    fn row(&mut self, row: RowNumber, json: &[u8], attributes: Option<&[u8]>) -> Result<(), Stop>;

    /// The row as it stands in the file, before [`Sink::row`] if that is called at all: only where
    /// rows are checked, and may be changed or rejected.
    ///
    /// # Errors
    /// Whatever makes it useless to go on.
    fn original(&mut self, row: RowNumber, json: &[u8]) -> Result<(), Stop> {
        let _ = (row, json);
        Ok(())
    }

    /// Nothing was handed over for many rows, and reading goes on.
    ///
    /// # Errors
    /// Whatever makes it useless to go on.
    fn pulse(&mut self) -> Result<(), Stop> {
        Ok(())
    }

    /// Something worth knowing, before the row that it is about.
    ///
    /// # Errors
    /// Whatever makes it useless to go on.
    fn finding(&mut self, finding: Finding) -> Result<(), Stop>;

    /// Whether [`Sink::cells`] is to be called.
    fn wants_cells(&self) -> bool {
        false
    }

    /// The cells of a row as they stand in the file, before [`Sink::row`], and of a row that is
    /// rejected too.
    ///
    /// # Errors
    /// Whatever makes it useless to go on.
    fn cells(&mut self, row: &CellsOfRow<'_>) -> Result<(), Stop> {
        let _ = row;
        Ok(())
    }
}
