//! Spreadsheet to rows, each row as the JSON that is stored. Synchronous and without any notion of
//! a network, a database or a runtime; it runs in a process of its own, which limits itself first
//! (`cli::read`), because a spreadsheet is a program written by a stranger.
//!
//! | file | subject |
//! | --- | --- |
//! | `options`, `limits` | what may be said about reading, and how far it goes |
//! | `kind`, `container`, `package` | what the file is; its parts, checked before they are believed |
//! | `xlsx/`, `xlsb`, `ods/`, `xls/`, `csv/` | a format each: cells, one after another |
//! | `rows` | cells to rows: header, order, blanks, limits, findings |
//! | `cell`, `format`, `date`, `header` | the rules of a value, and of a column's name |
//! | `sheets` | which sheets |
//! | `correction/` | a table of failures that comes back corrected |
//! | `attributes` | which cells become attributes of their row's message |
//! | `rules/` | what a topic demands of rows; text dates |
//! | `preview/` | a look at a whole file that hands no row on |
//! | `sink`, `frame` | where rows go, and how they travel between processes |
//! | `styled`, `shape` | what a cell was in its file, for who writes it again |
//! | `export/` | the file once more, with what became of its rows |
//!
//! The formats whose files are read cell by cell have their own readers here, on top of the zip
//! and XML libraries. Calamine, which reads the old .xls for us, was measured and looked into for
//! the others: it hands out numbers without the digits they were written with and without their
//! number formats, cannot tell a formula without a result from an empty cell, takes a string index
//! it cannot parse for the first string, ends a binary sheet silently at a bad row number, and holds
//! an OpenDocument sheet in memory whole. Each of these is a row that is wrong and looks right.

pub mod attributes;
mod cell;
mod container;
pub mod correction;
mod csv;
mod date;
pub mod export;
mod format;
pub mod frame;
mod header;
mod kind;
pub mod limits;
mod ods;
pub mod options;
mod package;
pub mod preview;
mod rows;
pub mod rules;
mod shape;
mod sheets;
pub mod sink;
mod styled;
mod xls;
mod xlsb;
mod xlsx;
mod xml;

use std::fs::File;
use std::path::Path;

pub use attributes::AttributeColumns;
pub use correction::{Correction, CorrectionChoice};
pub use frame::{Frame, RowsFrame};
pub use limits::ReadLimits;
pub use options::{CsvOptions, HeaderRow, ReadOptions, SheetChoice};
pub use preview::{Preview, PreviewLimits, PreviewOptions};
pub use shape::{CellOfRow, CellsOfRow, Shape};
pub use sheets::Listed;
pub use sink::{SheetHead, Sink, Stop, Totals};

use container::Container;
use kind::{Inner, Outer};

/// Reads a file and hands its rows to the sink, one after another, in the order of the sheet.
/// Memory does not grow with the number of rows (an `.xls` is held in memory whole).
///
/// # Errors
/// [`Stop::Problem`] if the file is refused or something in it is wrong; what the sink was given
/// before that stays given. [`Stop::Closed`] if the sink takes no more.
pub fn read(
    path: &Path,
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
) -> Result<Totals, Stop> {
    rules::checked(options, limits, sink, |sink| match &options.correction {
        CorrectionChoice::Of(of) => correction::read(of, path, options, limits, sink),
        _ => read_cells(path, options, limits, sink),
    })
}

fn read_cells(
    path: &Path,
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
) -> Result<Totals, Stop> {
    let mut file = File::open(path)
        .map_err(|error| limits::unreadable(format!("the file cannot be opened: {error}")))?;
    match kind::outer(&mut file)? {
        Outer::Text => csv::read(file, options, limits, sink),
        Outer::Compound => xls::read(file, options, limits, sink),
        Outer::Records => xls::read_bare(file, options, limits, sink),
        Outer::Zip => {
            let mut container = Container::open_file(file, limits)?;
            if options.correction.is_found()
                && let Some(upload) = correction::told(&mut container)
            {
                sink.corrects(&upload)?;
            }
            match kind::inner(&mut container)? {
                Inner::Xlsx(part) => xlsx::read(&mut container, &part, options, limits, sink),
                Inner::Xlsb(part) => xlsb::read(&mut container, &part, options, limits, sink),
                Inner::Ods => ods::read(&mut container, options, limits, sink),
            }
        }
    }
}
