//! The file once more, with what became of its rows: the original is read again, cell by cell and
//! with the options it was read with before, side by side with the ends of its rows, and each row is
//! written as soon as both are there. Nothing grows with the number of rows.
//!
//! | file | subject |
//! | --- | --- |
//! | `plan` | what is to be written, and of what |
//! | `ends` | how the ends of rows come here: a file of records in the order of rows |
//! | `columns` | the columns that are added, and what stands in them |
//! | `handed` | rows on their way from the thread that reads to the one that writes |
//! | `join` | rows and their ends, side by side |
//! | `xlsx`, `sheet`, `parts`, `zipped` | a workbook |
//! | `csv`, `ndjson` | text |
//!
//! What users wrote stays what it was: text is written as text, never as a formula or a link. In csv,
//! which cannot say so, text that a spreadsheet program would calculate is led by an apostrophe.
//!
//! The workbook is written by hand, on the zip library. rust_xlsxwriter was measured: 1,000,000 rows
//! of ten cells took it 16 s of one processor in its mode of constant memory, since it writes each
//! sheet to a file first and compresses it afterwards; and it cannot copy a number as the file spells
//! it. Here one thread reads, one writes and one compresses.

mod columns;
mod csv;
pub mod ends;
mod handed;
mod join;
mod ndjson;
mod parts;
pub mod plan;
mod sheet;
mod xlsx;
mod zipped;

use std::io;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::sink::Stop;
use handed::{BATCHES, Hand};
use join::Join;
use rowmill_domain::Problem;

pub use columns::{fields, harmless};
pub use ends::{EndOfRow, Status};
pub(crate) use parts::sheet_name;
pub use plan::{ExportForm, ExportPlan, ExportWhat, QueuePlan};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The original cannot be read any more.
    #[error(transparent)]
    Read(#[from] Problem),
    /// Something cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Stop> for ExportError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Problem(problem) => Self::Read(problem),
            Stop::Closed(error) => Self::Io(error),
        }
    }
}

/// Writes what the plan says; `progress` is told now and then how many rows of the original have been
/// passed. Answers how many rows were written.
///
/// # Errors
/// [`ExportError`]; what was written by then is no use.
pub fn export(plan: &ExportPlan, progress: &mut dyn FnMut(u64)) -> Result<u64, ExportError> {
    let mut join = Join::open(plan, progress)?;
    let (to, handed) = sync_channel(BATCHES);
    thread::scope(|scope| {
        let reading =
            thread::Builder::new().name("read".into()).spawn_scoped(scope, move || {
                let mut hand = Hand::to(to);
                super::read(&plan.file, &plan.options, &plan.limits, &mut hand)?;
                Ok::<_, Stop>(hand.flush()?)
            })?;
        // When writing fails, reading ends too: nobody takes what it hands over.
        let written = handed.into_iter().try_for_each(|batch| join.take(&batch));
        let read = reading.join().map_err(|_| io::Error::other("the reading thread panicked"))?;
        written?;
        read?;
        Ok(join.finish()?)
    })
}
