//! The reader's process, driven through its parent: what is read, what is refused, and what
//! becomes of a reader that does not live to its last word.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rowmill::domain::{Problem, ProblemKind};
use rowmill::ingest::reader::Reader;
use rowmill::workbook::{Frame, ReadLimits, ReadOptions, SheetChoice, Totals};
use rust_xlsxwriter::Workbook;

const EXE: &str = env!("CARGO_BIN_EXE_rowmill");

fn start(exe: &Path, file: &Path, options: &ReadOptions, limits: &ReadLimits) -> Reader {
    Reader::start(exe, file, options, limits).unwrap()
}

async fn drain(reader: &mut Reader) -> Result<(Vec<String>, Totals), Problem> {
    let mut rows = Vec::new();
    reader.first_word().await?;
    while let Some(frame) = reader.next_frame().await? {
        match frame {
            Frame::Rows(frame) => rows
                .extend(frame.rows.iter().map(|row| String::from_utf8(row.data.to_vec()).unwrap())),
            Frame::End(totals) => return Ok((rows, totals)),
            _ => {}
        }
    }
    panic!("no last frame");
}

async fn read(bytes: &[u8], options: &ReadOptions) -> Result<(Vec<String>, Totals), Problem> {
    let file = on_disk(bytes);
    drain(&mut start(Path::new(EXE), file.path(), options, &ReadLimits::default())).await
}

async fn refusal(bytes: &[u8]) -> Problem {
    read(bytes, &ReadOptions::default()).await.unwrap_err()
}

fn on_disk(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".xlsx").tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn workbook(rows: u32) -> Vec<u8> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet().set_name("Orders").unwrap();
    sheet.write(0, 0, "id").unwrap().write(0, 1, "text").unwrap();
    for row in 1..=rows {
        sheet.write(row, 0, row).unwrap().write(row, 1, format!("row {row}")).unwrap();
    }
    workbook.save_to_buffer().unwrap()
}

/// A program that is no reader, in a folder that lives as long as the answer.
fn pretender(script: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let exe = folder.path().join("reader");
    std::fs::write(&exe, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o700)).unwrap();
    (folder, exe)
}

async fn pretended(script: &str, limits: &ReadLimits) -> Problem {
    let (_folder, exe) = pretender(script);
    let mut reader = start(&exe, Path::new("x"), &ReadOptions::default(), limits);
    reader.first_word().await.unwrap_err()
}

#[tokio::test]
async fn a_workbook_is_read_to_its_end() {
    let (rows, totals) = read(&workbook(10_000), &ReadOptions::default()).await.unwrap();
    assert_eq!((rows.len(), totals.rows, totals.sheets), (10_000, 10_000, 1));
    assert_eq!(rows[9_999], r#"{"id":10000,"text":"row 10000"}"#);
}

#[tokio::test]
async fn what_is_no_spreadsheet_is_refused_with_what_it_is() {
    let png = refusal(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01").await;
    assert_eq!(png.kind, ProblemKind::WrongKind);
    assert!(png.detail.contains("PNG"));
    let cut = workbook(1_000);
    let cut = refusal(&cut[..cut.len() / 2]).await;
    assert_eq!(cut.kind, ProblemKind::Unreadable);
    assert_eq!(refusal(b"").await.kind, ProblemKind::Empty);
    assert_eq!(refusal(&workbook(0)).await.kind, ProblemKind::Empty);
    let csv = refusal(b"a,b\n1,\"2\n3,4\n").await;
    assert_eq!((csv.kind, csv.at.to_string().as_str()), (ProblemKind::Unreadable, "2:2"));
}

#[tokio::test]
async fn a_password_is_noticed() {
    let mut file = cfb::CompoundFile::create(Cursor::new(Vec::new())).unwrap();
    for name in ["EncryptionInfo", "EncryptedPackage"] {
        file.create_stream(name).unwrap().write_all(&[7; 5_000]).unwrap();
    }
    file.flush().unwrap();
    assert_eq!(refusal(&file.into_inner().into_inner()).await.kind, ProblemKind::Encrypted);
}

#[tokio::test]
async fn a_sheet_that_is_not_there_is_told_with_those_that_are() {
    let options = ReadOptions { sheet: SheetChoice::Name("Nope".into()), ..ReadOptions::default() };
    let problem = read(&workbook(3), &options).await.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::NoSuchSheet);
    assert!(problem.detail.contains("`Orders`"));
}

#[tokio::test]
async fn a_reader_killed_on_the_way_is_a_problem() {
    let file = on_disk(&workbook(100_000));
    let (options, limits) = (ReadOptions::default(), ReadLimits::default());
    let mut reader = start(Path::new(EXE), file.path(), &options, &limits);
    reader.first_word().await.unwrap();
    // It waits in its write: the pipe is full long before the end of the file.
    let id = i32::try_from(reader.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let problem = loop {
        match reader.next_frame().await {
            Ok(Some(Frame::Rows(_))) => {}
            Ok(other) => panic!("{other:?}"),
            Err(problem) => break problem,
        }
    };
    assert_eq!(problem.kind, ProblemKind::ReaderDied);
    assert!(problem.detail.contains("killed"));
}

#[tokio::test]
async fn memory_has_an_end() {
    // Shared strings are held whole; these are more than the reader may have.
    let mut strings = Workbook::new();
    let sheet = strings.add_worksheet();
    let mut random = fastrand::Rng::with_seed(7);
    for row in 0..10_000 {
        let text: String = (0..3_000).map(|_| random.alphanumeric()).collect();
        sheet.write(row, 0, text).unwrap();
    }
    let strings = strings.save_to_buffer().unwrap();
    let mut text = String::from("id\n\"");
    text.push_str(&"x".repeat(96 << 20));
    let file = on_disk(&strings);
    let limits = ReadLimits { memory_bytes: 24 << 20, ..ReadLimits::default() };
    let mut reader = start(Path::new(EXE), file.path(), &ReadOptions::default(), &limits);
    let problem = drain(&mut reader).await.map(|_| ()).unwrap_err();
    assert_eq!(problem.kind, ProblemKind::ReaderDied);
    assert!(problem.detail.contains("memory"), "{problem}");
    // The endless field of a csv is not even kept.
    let (file, limits) =
        (on_disk(text.as_bytes()), ReadLimits { memory_bytes: 112 << 20, ..ReadLimits::default() });
    let mut reader = start(Path::new(EXE), file.path(), &ReadOptions::default(), &limits);
    assert_eq!(drain(&mut reader).await.unwrap_err().kind, ProblemKind::Unreadable);
}

#[tokio::test]
async fn output_has_an_end() {
    let file = on_disk(&workbook(50_000));
    let limits = ReadLimits { output_bytes: 500_000, ..ReadLimits::default() };
    let mut reader = start(Path::new(EXE), file.path(), &ReadOptions::default(), &limits);
    assert_eq!(drain(&mut reader).await.unwrap_err().kind, ProblemKind::TooLarge);
}

#[tokio::test]
async fn silence_and_nonsense_are_problems() {
    let limits = ReadLimits { silence_seconds: 1, ..ReadLimits::default() };
    let started = Instant::now();
    let silent = pretended("exec sleep 100", &limits).await;
    assert!(silent.detail.contains("1 seconds"), "{silent}");
    assert!(started.elapsed() < Duration::from_secs(8));
    for script in [
        "exit 0",
        "exit 4",
        "kill -SEGV $$",
        "echo hello, world",
        "printf '\\377\\377\\377\\377\\001'",
    ] {
        let problem = pretended(script, &ReadLimits::default()).await;
        assert_eq!(problem.kind, ProblemKind::ReaderDied, "{script}: {problem}");
    }
}

#[tokio::test]
async fn processor_time_has_an_end() {
    let limits = ReadLimits { cpu_seconds: 1, ..ReadLimits::default() };
    let problem = pretended("ulimit -t 1; while :; do :; done", &limits).await;
    assert_eq!(problem.kind, ProblemKind::ReaderDied);
}
