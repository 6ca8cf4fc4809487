//! Real spreadsheets, read through the reader's process and compared with what independent readers
//! found in them. The folder is not part of the project: without it (`ROWMILL_CORPUS`, or
//! `../shared/corpus` beside the project) there is nothing to compare and the test passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use rowmill::domain::{ColumnNumber, Problem};
use rowmill::ingest::reader::Reader;
use rowmill::workbook::{Frame, ReadLimits, ReadOptions, SheetChoice, SheetHead, Totals};
use serde_json::{Map, Value};

/// Files that are refused, and a word of the reason.
const REFUSED: &[(&str, &str)] = &[];

#[derive(Debug, Default)]
struct Sheet {
    head: Option<SheetHead>,
    rows: Vec<(u32, Map<String, Value>)>,
    totals: Totals,
}

async fn read(file: &Path, sheet: SheetChoice) -> Result<Sheet, Problem> {
    let options = ReadOptions { sheet, ..ReadOptions::default() };
    let exe = Path::new(env!("CARGO_BIN_EXE_rowmill"));
    let mut reader = Reader::start(exe, file, &options, &ReadLimits::default()).unwrap();
    let mut sheet = Sheet { head: Some(reader.first_word().await?), ..Sheet::default() };
    while let Some(frame) = reader.next_frame().await? {
        match frame {
            Frame::Rows(rows) => sheet.rows.extend(
                rows.rows.iter().map(|row| (row.row.0, serde_json::from_slice(&row.data).unwrap())),
            ),
            Frame::End(totals) => sheet.totals = totals,
            other => panic!("{other:?}"),
        }
    }
    Ok(sheet)
}

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let folder = std::env::var_os("ROWMILL_CORPUS").map_or(beside, PathBuf::from);
    folder.join("MANIFEST.json").exists().then_some(folder)
}

fn column(letters: &str) -> u32 {
    letters.bytes().fold(0, |sum, b| sum * 26 + u32::from(b - b'A') + 1) - 1
}

/// Our value of a column, by its key.
fn ours<'a>(head: &SheetHead, row: &'a Map<String, Value>, at: u32) -> &'a Value {
    let named = at.checked_sub(head.first_column).and_then(|i| head.columns.get(i as usize));
    let letters = ColumnNumber(at).to_string();
    let beyond = if head.columns.contains(&letters) { letters + "_2" } else { letters };
    row.get(named.unwrap_or(&beyond)).unwrap_or(&Value::Null)
}

/// Seconds of `49:30:00` or `PT49H30M`.
fn seconds(text: &str) -> f64 {
    let Some(rest) = text.strip_prefix("PT") else {
        return text.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap());
    };
    let (mut total, mut number) = (0.0, String::new());
    for c in rest.chars() {
        let unit = match c {
            'H' => 3600.0,
            'M' => 60.0,
            'S' => 1.0,
            digit => {
                number.push(digit);
                continue;
            }
        };
        total += std::mem::take(&mut number).parse::<f64>().unwrap() * unit;
    }
    total
}

fn same(kind: u8, expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= a.abs() * 1e-12
        }
        (Value::String(a), Value::String(b)) if kind == b'U' => {
            b.starts_with("PT") && (seconds(a) - seconds(b)).abs() < 1.0
        }
        // Independent readers round times to seconds.
        (Value::String(a), Value::String(b)) if kind == b'T' => {
            (seconds(a) - seconds(b)).abs() < 1.0
        }
        (a, b) => a == b,
    }
}

/// Whether readers disagree on the cell and one of them agrees with us.
fn allowed(expected: &Value, row: i64, at: u32, got: &Value) -> bool {
    expected["alternatives"].as_array().into_iter().flatten().any(|alternative| {
        let cell = alternative["cell"].as_str().unwrap_or_default();
        let place = cell.trim_end_matches(|c: char| c.is_ascii_digit());
        alternative["row"].as_i64() == Some(row)
            && column(place) == at
            && (alternative["values"].as_object().unwrap().values().any(|v| v == got)
                || alternative["also"].as_array().is_some_and(|also| also.contains(got)))
    })
}

struct Comparison<'a> {
    expected: &'a Value,
    head: &'a SheetHead,
    errors: Vec<String>,
}

impl Comparison<'_> {
    fn expect(&mut self, what: &str, want: &Value, got: impl Into<Value>) {
        let got = got.into();
        if *want != got {
            self.errors.push(format!("{what}: expected {want}, got {got}"));
        }
    }

    fn columns(&self) -> Vec<u32> {
        let columns = self.expected["columns"].as_array().unwrap();
        columns.iter().map(|letters| column(letters.as_str().unwrap())).collect()
    }

    fn names(&mut self) {
        let mut seen = std::collections::HashSet::new();
        let header = self.expected["header"].as_array().unwrap();
        for (name, at) in header.iter().zip(self.columns()) {
            let place = at.checked_sub(self.head.first_column);
            let got = place.and_then(|i| self.head.columns.get(i as usize));
            let fits = match name.as_str().map(str::trim).filter(|name| !name.is_empty()) {
                Some(name) if seen.insert(name) => got.is_some_and(|got| got == name),
                // A number behind it; which one is the header's business.
                Some(name) => got.is_some_and(|got| got.starts_with(&format!("{name}_"))),
                None => got.is_none_or(|got| got.starts_with(&ColumnNumber(at).to_string())),
            };
            if !fits {
                self.errors.push(format!("name of column {at}: expected {name}, got {got:?}"));
            }
        }
    }

    fn row(&mut self, i: i64, want: &Value, kinds: &str, got: &Map<String, Value>) {
        for (j, at) in self.columns().into_iter().enumerate() {
            let (want, got) = (&want[j], ours(self.head, got, at));
            let kind = kinds.as_bytes().get(j).copied().unwrap_or(b't');
            if !same(kind, want, got) && !allowed(self.expected, i, at, got) {
                self.errors.push(format!("row {i} column {at}: expected {want}, got {got}"));
            }
        }
    }
}

fn compare(expected: &Value, sheet: &Sheet) -> Vec<String> {
    let head = sheet.head.as_ref().unwrap();
    let mut all = Comparison { expected, head, errors: Vec::new() };
    all.expect("sheet", &expected["sheet"], head.name.clone());
    all.expect("header row", &expected["header_row"], head.header_row.0);
    all.expect("rows", &expected["n_rows_non_empty"], sheet.totals.rows);
    all.expect("all rows", &expected["n_rows"], sheet.totals.rows + sheet.totals.blank_rows);
    all.names();
    let rows = expected["rows"].as_array().unwrap();
    for (i, want) in rows.iter().enumerate() {
        let number = expected["row_numbers"][i].as_u64().unwrap();
        let kinds = expected["kinds"][i].as_str().unwrap();
        match sheet.rows.iter().find(|(row, _)| u64::from(*row) == number) {
            Some((_, got)) => all.row(i as i64, want, kinds, got),
            None if want.as_array().unwrap().iter().all(Value::is_null) => {}
            None => all.errors.push(format!("row {number} is missing")),
        }
    }
    // The last row's kinds are known only if all rows are listed.
    if expected["n_rows"].as_u64() > Some(rows.len() as u64)
        && let Some((_, got)) = sheet.rows.last()
    {
        all.row(expected["n_rows"].as_i64().unwrap() - 1, &expected["last_row"], "", got);
    }
    all.errors
}

async fn check(folder: &Path, file: &Value, sheet: &Value, choice: SheetChoice) -> Vec<String> {
    let name = file["file"].as_str().unwrap();
    let refused = REFUSED.iter().find(|(file, _)| *file == name);
    let header_only = sheet["n_rows_non_empty"] == 0;
    match (read(&folder.join("files").join(name), choice).await, refused) {
        (Ok(_), Some(_)) => vec!["should have been refused".into()],
        (Ok(got), None) => compare(sheet, &got),
        (Err(problem), Some((_, word))) if problem.to_string().contains(word) => Vec::new(),
        (Err(_), None) if file["refusal_ok"].is_string() => Vec::new(),
        (Err(problem), None) if header_only && problem.to_string().contains("no row") => Vec::new(),
        (Err(problem), _) => vec![problem.to_string()],
    }
}

#[tokio::test]
async fn real_spreadsheets_say_what_other_readers_say() {
    let Some(folder) = corpus() else { return };
    let manifest = std::fs::read(folder.join("MANIFEST.json")).unwrap();
    let manifest: Vec<Value> = serde_json::from_slice(&manifest).unwrap();
    let mut bad = Vec::new();
    for entry in &manifest {
        let name = entry["file"].as_str().unwrap();
        let expected = std::fs::read(folder.join("expected").join(format!("{name}.json"))).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let mut errors = check(&folder, &expected, &expected, SheetChoice::First).await;
        for other in expected["other_sheets"].as_array().into_iter().flatten() {
            let choice = SheetChoice::Name(other["sheet"].as_str().unwrap().to_owned());
            errors.extend(check(&folder, &expected, other, choice).await);
        }
        if !errors.is_empty() {
            errors.truncate(5);
            bad.push(format!("{name}\n    {}", errors.join("\n    ")));
        }
    }
    assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), manifest.len(), bad.join("\n"));
}
