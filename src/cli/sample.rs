//! `rowmill sample`: workbooks to try things with. The four that come with the project are made
//! here, always the same bytes; large ones are written with flat memory for measurements.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, Workbook, Worksheet, XlsxError};
use serde_json::json;

/// Names and sizes of the sample workbooks.
const SAMPLES: [(&str, u32); 4] = [
    ("sample-21-items.xlsx", 21),
    ("sample-100-items.xlsx", 100),
    ("sample-1k-items.xlsx", 1_000),
    ("sample-10k-items.xlsx", 10_000),
];

/// Every sample was created on this day: the same rows are the same bytes.
const CREATED: (u16, u8, u8) = (2026, 1, 1);

const WORDS: [&str; 8] = ["apples", "bread", "cheese", "dates", "eggs", "flour", "grapes", "honey"];

/// Writes sample workbooks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the samples go.
    #[arg(long, env = "ROWMILL_DIR", default_value = "resources")]
    dir: PathBuf,
    /// Write one workbook of that many rows of mixed values to FILE instead.
    #[arg(long, env = "ROWMILL_ROWS", requires = "file", value_parser = clap::value_parser!(u32).range(1..1_048_576))]
    rows: Option<u32>,
    /// How many columns it has.
    #[arg(long, env = "ROWMILL_COLUMNS", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=16_384))]
    columns: u16,
    /// Where it goes.
    #[arg(requires = "rows")]
    file: Option<PathBuf>,
    /// Say on stdout as JSON what was written: {"files": […]}
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,
}

impl Args {
    /// Runs the subcommand.
    #[allow(clippy::print_stdout)] // what --json asked for
    pub(crate) fn run(self) -> ExitCode {
        let done = match (self.rows, &self.file) {
            (Some(rows), Some(file)) => {
                large(file, rows, self.columns).map(|()| vec![file.to_owned()])
            }
            _ => SAMPLES
                .iter()
                .map(|(name, rows)| {
                    let file = self.dir.join(name);
                    small(*rows)?.save(&file).map(|()| file)
                })
                .collect(),
        };
        match done {
            Ok(files) => {
                if self.json {
                    println!("{}", json!({ "files": files }));
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                // Nowhere to tell that there is nowhere to tell it.
                let _ = writeln!(io::stderr(), "the sample cannot be written: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

fn created() -> Result<ExcelDateTime, XlsxError> {
    let (year, month, day) = CREATED;
    ExcelDateTime::from_ymd(year, month, day)
}

fn workbook() -> Result<Workbook, XlsxError> {
    let mut workbook = Workbook::new();
    workbook.set_properties(&DocProperties::new().set_creation_datetime(&created()?));
    Ok(workbook)
}

fn word(i: u32) -> &'static str {
    WORDS[i as usize % WORDS.len()]
}

/// The sample workbook of so many rows, as it comes with the project.
pub(super) fn small(rows: u32) -> Result<Workbook, XlsxError> {
    let mut workbook = workbook()?;
    let sheet = workbook.add_worksheet();
    sheet.write(0, 0, "number")?.write(0, 1, "data")?;
    for i in 1..=rows {
        sheet.write(i, 0, i)?.write(i, 1, format!("{} {i}", word(i)))?;
    }
    Ok(workbook)
}

fn large(file: &Path, rows: u32, columns: u16) -> Result<(), XlsxError> {
    let mut workbook = workbook()?;
    let date = Format::new().set_num_format("yyyy-mm-dd");
    let sheet = workbook.add_worksheet_with_constant_memory()?;
    for column in 0..columns {
        sheet.write(0, column, format!("column {}", column + 1))?;
    }
    for i in 1..=rows {
        for column in 0..columns {
            mixed(sheet, i, column, &date)?;
        }
    }
    workbook.save(file)
}

/// Text, integer, decimal, date, truth value and longer text, in turns.
fn mixed(sheet: &mut Worksheet, row: u32, column: u16, date: &Format) -> Result<(), XlsxError> {
    match column % 6 {
        0 => sheet.write(row, column, format!("{} {row}", word(row)))?,
        1 => sheet.write(row, column, row)?,
        2 => sheet.write(row, column, f64::from(row) * 1.25 + 0.01)?,
        3 => sheet.write_with_format(row, column, 40_000 + row % 10_000, date)?,
        4 => sheet.write(row, column, row.is_multiple_of(3))?,
        _ => {
            sheet.write(row, column, format!("{} and {}, order {row}", word(row), word(row / 7)))?
        }
    };
    Ok(())
}
