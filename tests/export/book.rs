//! A workbook as openpyxl reads it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::python::{file, program};

/// A cell: its kind (`n`, `s`, `b`, `d`, `e`, `f`), its value, its number format.
pub(crate) type Cell = (String, Value, String);

/// What openpyxl makes of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Book {
    pub(crate) error: Option<String>,
    pub(crate) sheets: BTreeMap<String, BTreeMap<String, Cell>>,
    pub(crate) properties: BTreeMap<String, String>,
}

impl Book {
    /// A cell's value; null if there is nothing.
    pub(crate) fn value(&self, sheet: &str, address: &str) -> Value {
        self.sheets[sheet].get(address).map_or(Value::Null, |cell| cell.1.clone())
    }

    /// The address of a name in a row.
    pub(crate) fn column(&self, sheet: &str, row: u32, name: &str) -> String {
        let cells = self.sheets[sheet].iter();
        let mut found = cells.filter(|(address, cell)| {
            address.trim_start_matches(|c: char| c.is_ascii_uppercase()) == row.to_string()
                && cell.1 == name
        });
        let (address, _) = found.next().unwrap_or_else(|| panic!("no {name} in {self:?}"));
        address.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
    }
}

/// Reads files.
pub(crate) async fn read(files: &[PathBuf]) -> BTreeMap<PathBuf, Book> {
    let mut command = program("python3").await;
    let output = command.arg(file("tests/export/cells.py")).args(files).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Reads one file, which must be readable.
pub(crate) async fn read_one(file: &Path) -> Book {
    let book = read(&[file.to_owned()]).await.remove(file).unwrap();
    assert_eq!(book.error, None);
    book
}
