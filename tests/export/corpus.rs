//! Every cell of real workbooks, as openpyxl reads it in the original and in the file of results. The
//! folder is not part of the project: see tests/corpus.rs.

use std::fs::File;
use std::path::{Path, PathBuf};

use rowmill::domain::ColumnNumber;
use rowmill::workbook::export::{ExportForm, ExportPlan, ExportWhat, QueuePlan, Status, export};
use rowmill::workbook::{Frame, ReadLimits, ReadOptions, SheetHead};
use serde_json::Value;

use crate::book::{Book, read};

/// Cells that are compared at least; fewer would mean that nothing was looked at.
const LEAST: usize = 500;

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let folder = std::env::var_os("ROWMILL_CORPUS").map_or(beside, PathBuf::from);
    folder.join("MANIFEST.json").exists().then_some(folder)
}

/// Writes the results of a file of which no row has ended; `false` if it cannot be read.
fn written(file: &Path, none: &Path, out: &Path) -> bool {
    let plan = ExportPlan {
        what: ExportWhat::Results,
        form: ExportForm::Xlsx,
        file: file.to_owned(),
        options: ReadOptions::default(),
        limits: ReadLimits::default(),
        ends: none.to_owned(),
        rejects: none.to_owned(),
        out: out.to_owned(),
        upload: String::new(),
        sheets: vec![],
        queues: vec![QueuePlan { name: "q".into(), keys: vec![], rest: true }],
        untold: Status::Pending,
    };
    export(&plan, &mut |_| {}).is_ok()
}

/// The first sheet with rows, as the reader names its columns.
async fn head(file: &Path) -> SheetHead {
    let exe = Path::new(env!("CARGO_BIN_EXE_rowmill"));
    let (options, limits) = (ReadOptions::default(), ReadLimits::default());
    let mut reader = rowmill::ingest::reader::Reader::start(exe, file, &options, &limits).unwrap();
    let head = reader.first_word().await.unwrap();
    while let Some(frame) = reader.next_frame().await.unwrap() {
        assert!(!matches!(frame, Frame::Sheet(_)), "one sheet is read");
    }
    head
}

/// Where a cell of the original stands among the results: what is added comes before what has no name.
fn moved(address: &str, head: &SheetHead) -> Option<String> {
    const ADDED: u32 = 5;
    let letters = address.trim_end_matches(|c: char| c.is_ascii_digit());
    let row: u32 = address[letters.len()..].parse().unwrap();
    let column = letters.bytes().fold(0, |sum, b| sum * 26 + u32::from(b - b'A') + 1) - 1;
    let past = head.first_column + head.columns.len() as u32;
    let column = if column >= past { column + ADDED } else { column };
    (row > head.header_row.0).then(|| format!("{}{row}", ColumnNumber(column)))
}

fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

fn is_early(date: &Value) -> bool {
    date.as_str().and_then(|date| date.get(..4)).is_some_and(|year| year < "1900")
}

fn compare(original: &Book, results: &Book, head: &SheetHead) -> (usize, Vec<String>) {
    let name = head.name.as_deref().unwrap_or_default();
    let results = results.sheets.values().next().unwrap();
    let (mut count, mut errors) = (0, vec![]);
    // openpyxl finds no sheets in workbooks of the strict kind.
    for (address, (kind, value, format)) in original.sheets.get(name).into_iter().flatten() {
        let Some(at) = moved(address, head) else { continue };
        count += 1;
        let dated = |kind: &str| kind == "n" || kind == "d";
        match results.get(&at) {
            Some(got) if got.0 == *kind && same(&got.1, value) => {
                // A date that is spelled out may have no format; a broken style has none.
                let none = format.is_empty() || (kind == "d" && format == "General");
                if dated(kind) && !none && got.2 != *format {
                    errors.push(format!("{address}: the format {format:?} became {:?}", got.2));
                }
            }
            // Before 1900 a date is no number; it stays what it says.
            Some(got) if kind == "d" && got.0 == "s" && is_early(value) => {
                assert_eq!(got.1, *value);
            }
            got => errors.push(format!("{address}: {kind} {value} {format:?} became {got:?}")),
        }
    }
    (count, errors)
}

#[tokio::test]
async fn every_cell_of_real_workbooks_comes_back() {
    let Some(folder) = corpus() else { return };
    let manifest = std::fs::read(folder.join("MANIFEST.json")).unwrap();
    let manifest: Vec<Value> = serde_json::from_slice(&manifest).unwrap();
    let home = tempfile::tempdir().unwrap();
    let none = home.path().join("none");
    File::create(&none).unwrap();
    let (mut pairs, mut files) = (vec![], vec![]);
    for entry in &manifest {
        let name = entry["file"].as_str().unwrap();
        let original = folder.join("files").join(name);
        let out = home.path().join(format!("{name}.results.xlsx"));
        if !written(&original, &none, &out) {
            continue;
        }
        files.push(out.clone());
        // openpyxl reads these alone; of the others it only says whether it takes the results.
        if name.ends_with(".xlsx") || name.ends_with(".xlsm") {
            files.push(original.clone());
            pairs.push((name, original, out));
        }
    }
    let books = read(&files).await;
    let mut bad = vec![];
    for (file, book) in &books {
        if let (true, Some(error)) = (file.starts_with(home.path()), &book.error) {
            bad.push(format!("{}: {error}", file.display()));
        }
    }
    let mut cells = 0;
    for (name, original, out) in pairs {
        if books[&original].error.is_some() {
            continue;
        }
        let head = head(&original).await;
        let (count, mut errors) = compare(&books[&original], &books[&out], &head);
        cells += count;
        if !errors.is_empty() {
            let all = errors.len();
            errors.truncate(5);
            bad.push(format!("{name}: {all} of {count}\n    {}", errors.join("\n    ")));
        }
    }
    assert!(bad.is_empty(), "{}:\n{}", bad.len(), bad.join("\n"));
    assert!(cells >= LEAST, "only {cells} cells were compared");
}
