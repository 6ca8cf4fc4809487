//! What `rowmill run` cannot do, it says: a clear message, the right exit code, nothing
//! half-published, nothing crashed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

fn run(home: &Path, file: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rowmill"))
        .current_dir(home)
        .args(["run", file])
        .args(more)
        .env_remove("DATABASE_URL")
        .output()
        .unwrap()
}

/// Runs on a file with these bytes and expects a refusal that says `expected`.
fn refused(name: &str, bytes: &[u8], more: &[&str], expected: &str) {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(name), bytes).unwrap();
    let output = run(home.path(), name, more);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(expected), "`{expected}` is not in: {error}");
    assert!(!error.contains("panicked"), "{error}");
    assert!(!home.path().join(format!("{name}.results.csv")).exists(), "results of nothing");
}

const SLEEP: &[&str] = &["--sleep", "0s"];

fn zip_with(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    for (name, content) in parts {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn an_empty_file() {
    refused("empty.xlsx", b"", SLEEP, "no bytes");
}

#[test]
fn a_picture_named_xlsx() {
    refused("picture.xlsx", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01", SLEEP, "picture");
}

#[test]
fn a_truncated_workbook() {
    let whole = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/resources/sample-100-items.xlsx"));
    let whole = whole.unwrap();
    refused("cut.xlsx", &whole[..whole.len() * 2 / 3], SLEEP, "damaged");
}

#[test]
fn a_zip_that_is_no_workbook() {
    let zip = zip_with(&[("readme.txt", b"hello")]);
    refused("archive.xlsx", &zip, SLEEP, "not a spreadsheet");
}

#[test]
fn a_sheet_that_does_not_exist() {
    let whole = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/resources/sample-21-items.xlsx"));
    let options = &["--sheet", "Orders", "--sleep", "0s"];
    refused("items.xlsx", &whole.unwrap(), options, "Orders");
}

#[test]
fn a_header_with_no_rows() {
    refused("header.csv", b"id,name\n", SLEEP, "no rows");
}

#[test]
fn a_broken_csv_line() {
    refused("broken.csv", b"id,name\n1,a\n2,\"b\n3,c\n", SLEEP, "3");
}

#[test]
fn a_fault_after_many_good_rows_publishes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut csv = String::from("id,name\n");
    (0..20_000).for_each(|n| csv.push_str(&format!("{n},some name\n")));
    csv.push_str("20000,\"never closed\n");
    fs::write(home.path().join("late.csv"), csv).unwrap();
    let output = run(home.path(), "late.csv", &["--exec", "touch", "ran-{id}"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("20002"), "the line is not named: {error}");
    let ran = fs::read_dir(home.path()).unwrap().filter_map(Result::ok);
    let ran = ran.filter(|entry| entry.file_name().to_string_lossy().starts_with("ran-"));
    assert_eq!(ran.count(), 0, "rows of a file that failed were run");
    // Mended, it is another file, and runs.
    fs::write(home.path().join("late.csv"), "id,name\n1,a\n").unwrap();
    let output = run(home.path(), "late.csv", &["--exec", "touch", "ran-{id}"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(home.path().join("ran-1").exists());
}

#[test]
fn a_handler_that_does_not_exist() {
    refused("a.csv", b"id\n1\n", &["--exec", "./no-such-thing", "{id}"], "no-such-thing");
}

#[test]
fn a_column_that_does_not_exist() {
    refused("a.csv", b"id\n1\n", &["--exec", "true", "{amount}"], "amount");
}

#[test]
fn a_file_that_does_not_exist_and_a_directory() {
    let home = tempfile::tempdir().unwrap();
    for (file, expected) in [("none.xlsx", "none.xlsx"), (".", "directory")] {
        let output = run(home.path(), file, SLEEP);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2));
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn no_handler_and_two_handlers() {
    refused("a.csv", b"id\n1\n", &[], "--sleep");
    refused("a.csv", b"id\n1\n", &["--sleep", "1s", "--exec", "true"], "cannot be used with");
}

#[test]
fn a_database_that_cannot_be_reached() {
    let url = "postgres://nobody:s3cret@127.0.0.1:1/none";
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a.csv"), "id\n1\n").unwrap();
    let output = run(home.path(), "a.csv", &["--database-url", url, "--sleep", "0s"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("127.0.0.1:1") && !error.contains("s3cret"), "{error}");
}
