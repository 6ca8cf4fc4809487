//! `FILE.results.csv`: every row of the file in its order, with what became of it.
//!
//! It is written beside its final name and moved there when it is whole, so that nobody finds half
//! of it. Rows are read from the log by pages: memory does not grow with the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use crate::store::log::{OutcomeKind, PageAfter, QueueId, RowOutcome, UploadId};
use crate::store::{Log, StoreError};
use crate::workbook::SheetHead;
use crate::workbook::export::harmless;
use crate::worker::handler::display_output;

/// Batches read from the log at a time: some ten thousand rows.
const PAGE: u32 = 20;

/// Why the results could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResultsError {
    /// The file cannot be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A message is not the JSON object that was published.
    #[error("a row in the message log is not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes the results of an upload, and answers how many rows that were.
pub(super) async fn write(
    log: &Log,
    upload: UploadId,
    queue: QueueId,
    sheets: &[SheetHead],
    path: &Path,
) -> Result<u64, ResultsError> {
    let failed = |source| ResultsError::Write { path: path.to_owned(), source };
    let unfinished = with_suffix(path, ".part");
    let file = File::create(&unfinished).map_err(failed)?;
    let mut csv = csv::Writer::from_writer(BufWriter::new(file));
    let table = Table::new(sheets);
    csv.write_record(table.header()).map_err(|error| failed(error.into()))?;
    let mut rows = 0;
    let mut after = Some(PageAfter::default());
    while let Some(page) = after {
        let (outcomes, next) =
            log.rows(upload, queue, page, PAGE).await.map_err(StoreError::from)?;
        for outcome in &outcomes {
            csv.write_record(table.record(outcome)?).map_err(|error| failed(error.into()))?;
        }
        rows += outcomes.len() as u64;
        after = next;
    }
    let buffer = csv.into_inner().map_err(|error| failed(error.into_error()))?;
    let file = buffer.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&unfinished, path).map_err(failed)?;
    Ok(rows)
}

/// `orders.xlsx` and `.results.csv` make `orders.xlsx.results.csv`.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The columns of the results: where the row is, the file's own columns, what became of it.
struct Table {
    /// The names of the sheets by number, when there are several.
    sheets: Option<HashMap<u16, String>>,
    /// The columns of all sheets, each once, in the order in which they first appear.
    columns: Vec<String>,
}

const ENDS: [&str; 4] = ["status", "output", "error", "attempts"];

impl Table {
    fn new(sheets: &[SheetHead]) -> Self {
        let mut columns: Vec<String> = vec![];
        let mut seen = std::collections::HashSet::new();
        for column in sheets.iter().flat_map(|sheet| &sheet.columns) {
            if seen.insert(column) {
                columns.push(column.clone());
            }
        }
        let names = sheets
            .iter()
            .map(|sheet| (sheet.index, sheet.name.clone().unwrap_or_default()))
            .collect();
        Self { sheets: (sheets.len() > 1).then_some(names), columns }
    }

    /// Our own columns give way to the file's: a file with a `status` makes ours `status_2`.
    fn header(&self) -> Vec<String> {
        let own = |name: &str| {
            let mut free = name.to_owned();
            let mut n = 1;
            while self.columns.contains(&free) {
                n += 1;
                free = format!("{name}_{n}");
            }
            free
        };
        let place = self.sheets.iter().map(|_| own("sheet")).chain([own("row")]);
        place
            .chain(self.columns.iter().map(|column| harmless(column.as_str().into()).into_owned()))
            .chain(ENDS.map(own))
            .collect()
    }

    fn record(&self, outcome: &RowOutcome) -> Result<Vec<String>, serde_json::Error> {
        let data: HashMap<String, &RawValue> = serde_json::from_str(&outcome.data)?;
        let mut record = Vec::with_capacity(self.columns.len() + 6);
        if let Some(names) = &self.sheets {
            let name = names.get(&outcome.sheet).map_or("", String::as_str);
            record.push(harmless(name.into()).into_owned());
        }
        record.push(outcome.row.to_string());
        for column in &self.columns {
            let value = data.get(column).map_or("", |value| value.get());
            record.push(cell(value)?);
        }
        let Some(ended) = &outcome.ended else {
            record.extend(["waiting", "", "", ""].map(str::to_owned));
            return Ok(record);
        };
        let status = match ended.kind {
            OutcomeKind::Done => "done",
            OutcomeKind::Dead => "dead",
            OutcomeKind::Expired => "expired",
            OutcomeKind::Cancelled => "cancelled",
        };
        let output = ended.output.as_deref().map(display_output).unwrap_or_default();
        record.push(status.to_owned());
        record.push(harmless(output).into_owned());
        record.push(harmless(ended.error.as_deref().unwrap_or_default().into()).into_owned());
        record.push(ended.attempts.to_string());
        Ok(record)
    }
}

/// A value as a cell: text as it is, nothing for null, anything else as its JSON.
fn cell(json: &str) -> Result<String, serde_json::Error> {
    match json.as_bytes().first() {
        Some(b'"') => Ok(harmless(serde_json::from_str::<String>(json)?.into()).into_owned()),
        _ if json == "null" => Ok(String::new()),
        _ => Ok(json.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RowNumber;
    use crate::store::log::Ended;

    fn sheet(index: u16, columns: &[&str]) -> SheetHead {
        SheetHead {
            index,
            name: Some(format!("S{index}")),
            header_row: RowNumber(1),
            first_column: 0,
            columns: columns.iter().map(ToString::to_string).collect(),
        }
    }

    fn dead(sheet: u16, data: &str) -> RowOutcome {
        RowOutcome {
            id: 1,
            sheet,
            row: RowNumber(7),
            data: data.into(),
            ended: Some(Ended {
                kind: OutcomeKind::Dead,
                attempts: 3,
                output: None,
                error: Some("=cmd|' /C calc'!A0".into()),
                at_ms: 0,
            }),
        }
    }

    #[test]
    fn the_files_columns_keep_their_names_and_ours_give_way() {
        let table = Table::new(&[sheet(0, &["id", "status"])]);
        assert_eq!(
            table.header(),
            ["row", "id", "status", "status_2", "output", "error", "attempts"]
        );
        assert_eq!(
            table.record(&dead(0, r#"{"id":12345678901234567890,"status":null}"#)).unwrap(),
            ["7", "12345678901234567890", "", "dead", "", "'=cmd|' /C calc'!A0", "3"]
        );
    }

    #[test]
    fn several_sheets_share_a_table() {
        let table = Table::new(&[sheet(0, &["a"]), sheet(2, &["b", "a"])]);
        let record = table.record(&dead(2, r#"{"b":"x\"y","a":true}"#)).unwrap();
        assert_eq!(table.header()[..4], ["sheet", "row", "a", "b"]);
        assert_eq!(record[..4], ["S2", "7", "true", "x\"y"]);
    }
}
