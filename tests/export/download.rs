//! Files of results over HTTP: whole, in every form, while the upload runs and after it.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use rowmill::api::{Building, Upload};
use rowmill::broker::Source;
use rowmill::domain::{Delivery, QueueName, Settlement, Verdict};
use rowmill::http::HttpLimits;
use rowmill::workbook::ReadLimits;
use rust_xlsxwriter::{Format, Workbook};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::book::{Book, read_one};
use crate::scene::{Scene, problem};
use crate::support::TestDatabase;

const SHEET: &str = "=1+1 & <b>";
const NAME: &str = "=1+1 <b>Bücher.xlsx";
const ROWS: u32 = 40;
/// The row whose cell is too long.
const LONG: u32 = 5;

/// What somebody may call a column.
const PAID: &str = "=paid & <b>";

/// What somebody may write into a cell.
const WRITTEN: [&str; 6] =
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "<script>alert(1)</script>", "plain"];

fn original() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet().set_name(SHEET).unwrap();
    let (money, day) = (
        Format::new().set_num_format("#,##0.00 \"€\""),
        Format::new().set_num_format("dd/mm/yyyy"),
    );
    for (column, name) in (0..).zip(["id", "name", "amount", "day", "status", PAID]) {
        sheet.write_string(0, column, name).unwrap();
    }
    for row in 1..=ROWS {
        // A row with nothing in it stays where it is.
        let at = if row > 20 { row + 1 } else { row };
        let name = WRITTEN[row as usize % WRITTEN.len()];
        let long = "x".repeat(300);
        sheet.write_number(at, 0, row).unwrap();
        sheet.write_string(at, 1, if at + 1 == LONG { &long } else { name }).unwrap();
        sheet.write_number_with_format(at, 2, f64::from(row) * 1.1, &money).unwrap();
        sheet.write_number_with_format(at, 3, 46_000.0 + f64::from(row), &day).unwrap();
        sheet.write_string(at, 4, "theirs").unwrap();
        sheet.write_boolean(at, 5, row % 2 == 0).unwrap();
    }
    book.save_to_buffer().unwrap()
}

fn verdict(delivery: &Delivery) -> Verdict {
    let data: Value = serde_json::from_str(&delivery.data).unwrap();
    let id = data["id"].as_u64().unwrap();
    match id % 7 {
        0 => Verdict::Reject { reason: "=1+1 <b>no</b>".into() },
        1 => Verdict::Done { output: Some("\"@plain\"".into()) },
        _ => {
            let output =
                json!({"charge": id, "note": "=HYPERLINK(\"http://x\")", "deep": {"a": 1}});
            Verdict::Done { output: Some(output.to_string().into()) }
        }
    }
}

async fn work(scene: &Scene, queue: &str) {
    let queue: QueueName = queue.parse().unwrap();
    loop {
        let wait = Duration::from_millis(200);
        let leases = scene.broker.receive(&queue, 100, wait).await.unwrap();
        if leases.is_empty() {
            return;
        }
        let settle = |delivery: &Delivery| Settlement {
            position: delivery.position,
            verdict: verdict(delivery),
        };
        let all = leases
            .iter()
            .map(|lease| (lease.receipt, lease.deliveries.iter().map(settle).collect()));
        scene.broker.settle(all.collect()).await.unwrap();
    }
}

/// Fetches a file; answers what `X-Rowmill-Complete` says.
async fn fetch(scene: &Scene, upload: &Upload, name: &str) -> (PathBuf, bool) {
    let url = scene.url(&format!("{}/{name}?wait=30", upload.links.this));
    let answer = scene.client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{name}");
    let headers = answer.headers().clone();
    let disposition = headers["content-disposition"].to_str().unwrap();
    assert!(disposition.starts_with("attachment; filename=\"_1_1 _b_B_cher."), "{disposition}");
    assert!(
        disposition.contains("filename*=UTF-8''%3D1%2B1%20%3Cb%3EB%C3%BCcher."),
        "{disposition}"
    );
    let bytes = answer.bytes().await.unwrap();
    assert_eq!(headers["content-length"], bytes.len().to_string());
    let path = std::env::temp_dir().join(format!("{}-{name}", upload.id));
    std::fs::write(&path, &bytes).unwrap();
    (path, headers["x-rowmill-complete"] == "true")
}

async fn book(scene: &Scene, upload: &Upload, name: &str) -> (Book, bool) {
    let (path, complete) = fetch(scene, upload, name).await;
    let book = read_one(&path).await;
    std::fs::remove_file(path).unwrap();
    let formulas = book.sheets.values().flatten().filter(|(_, cell)| cell.0 == "f");
    assert_eq!(formulas.count(), 0);
    (book, complete)
}

async fn scene(database: TestDatabase) -> Scene {
    let read = ReadLimits { cell_bytes: 200, ..ReadLimits::default() };
    Scene::with(database, HttpLimits::default(), read).await
}

async fn the_spreadsheet_comes_back(database: TestDatabase) {
    let scene = scene(database).await;
    let upload = scene.published(NAME, original()).await;

    let (early, complete) = book(&scene, &upload, "results.xlsx").await;
    assert!(!complete);
    let status = early.column(SHEET, 1, "status_2");
    assert_eq!(early.value(SHEET, &format!("{status}2")), "pending");
    assert_eq!(early.value(SHEET, &format!("{status}{LONG}")), "rejected");

    work(&scene, "rows").await;
    let (results, complete) = book(&scene, &upload, "results.xlsx").await;
    assert!(complete);
    let path = std::env::temp_dir().join(format!("{}-original.xlsx", upload.id));
    std::fs::write(&path, original()).unwrap();
    let before = read_one(&path).await;
    std::fs::remove_file(path).unwrap();
    for (address, cell) in &before.sheets[SHEET] {
        assert_eq!(results.sheets[SHEET].get(address), Some(cell), "{address}");
    }
    let of = |name: &str, row: u32| {
        let column = results.column(SHEET, 1, name);
        results.value(SHEET, &format!("{column}{row}"))
    };
    assert_eq!((of("status_2", 8), of("error", 8)), (json!("dead"), json!("=1+1 <b>no</b>")));
    assert_eq!((of("status_2", 3), of("result.charge", 3)), (json!("done"), json!(2.0)));
    assert_eq!(of("result.note", 3), "=HYPERLINK(\"http://x\")");
    assert_eq!((of("result.deep", 3), of("attempts", 3)), (json!("{\"a\":1}"), json!(1.0)));
    assert_eq!(of("result", 2), "@plain");
    assert!(of("finished_at", 3).as_str().unwrap().starts_with("20"), "{:?}", of("finished_at", 3));
    assert_eq!(of("status_2", LONG), "rejected");
    let error = of("error", LONG);
    assert!(error.as_str().unwrap().starts_with("=1+1 & <b>!B5: the cell takes"), "{error}");

    let (csv, complete) = fetch(&scene, &upload, "results.csv").await;
    assert!(complete);
    let mut csv_rows = 0;
    // The names of the columns are somebody's words, too.
    for record in csv::ReaderBuilder::new().has_headers(false).from_path(&csv).unwrap().records() {
        for field in &record.unwrap() {
            let number = field.parse::<f64>().is_ok();
            assert!(number || !field.starts_with(['=', '+', '-', '@']), "{field}");
        }
        csv_rows += 1;
    }
    assert_eq!(csv_rows, ROWS + 1);
    let (lines, _) = fetch(&scene, &upload, "results.ndjson").await;
    let text = std::fs::read_to_string(&lines).unwrap();
    let lines_read: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines_read.len(), ROWS as usize);
    assert_eq!((&lines_read[6]["status"], &lines_read[6]["row"]), (&json!("dead"), &json!(8)));
    assert_eq!(lines_read[1]["result"]["charge"], 2);
    // Where nobody calculates, text stays what it was.
    assert_eq!(lines_read[5]["data"]["name"], "=1+1");
    assert_eq!(lines_read[5]["data"][PAID], true);
    assert_eq!(lines_read[6]["error"], "=1+1 <b>no</b>");
    for file in [csv, lines] {
        std::fs::remove_file(file).unwrap();
    }

    let (failures, _) = book(&scene, &upload, "failures.xlsx").await;
    assert_eq!(failures.properties["rowmill-upload"], upload.id.to_string());
    let rows: Vec<Value> = (2..=20).map(|row| failures.value(SHEET, &format!("A{row}"))).collect();
    let expected = [5.0, 8.0, 15.0, 23.0, 30.0, 37.0].map(Value::from);
    assert_eq!(rows[..6], expected);
    assert!(rows[6..].iter().all(Value::is_null), "{rows:?}");
    assert_eq!(failures.value(SHEET, "B3"), "=1+1 & <b>!8:8: =1+1 <b>no</b>");
    assert_eq!(failures.value(SHEET, "C3"), 7.0, "the id");
    assert_eq!(
        (failures.value(SHEET, "H1"), failures.value(SHEET, "D3")),
        (json!(PAID), json!("+cmd|' /C calc'!A0"))
    );

    let deleted = scene.client.delete(scene.url(&upload.links.this)).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    let gone = scene.client.get(scene.url(&upload.links.results)).send().await.unwrap();
    assert_eq!(problem(gone).await.status, 404);
}

async fn several_queues_have_columns_of_their_own(database: TestDatabase) {
    let scene = scene(database).await;
    scene.queue_of_rows("few", &["2", "3"]).await;
    let upload = scene.published(NAME, original()).await;
    work(&scene, "rows").await;
    work(&scene, "few").await;
    let (results, _) = book(&scene, &upload, "results.xlsx").await;
    let of = |name: &str, row: u32| {
        let column = results.column(SHEET, 1, name);
        results.value(SHEET, &format!("{column}{row}"))
    };
    assert_eq!((of("status (few)", 3), of("status (rows)", 3)), (json!("done"), json!("done")));
    assert_eq!((of("status (few)", 4), of("status (rows)", 4)), (json!("unrouted"), json!("done")));
    assert_eq!(of("result.charge (few)", 3), 2.0);
    assert_eq!(of("status (few)", LONG), "rejected");
}

async fn what_cannot_be_is_said(database: TestDatabase) {
    let scene = scene(database).await;
    let upload = scene.published(NAME, original()).await;
    let get = async |path: String| scene.client.get(scene.url(&path)).send().await.unwrap();
    let this = &upload.links.this;
    for (path, status) in [
        (format!("{this}/results.xlsx?wait=31"), 422),
        (format!("{this}/results.xlsx?wait=-1"), 422),
        (format!("{this}/results.xlsx?form=pdf"), 422),
        (format!("{this}/results.pdf"), 404),
        ("/uploads/6c6f0d5c-9d53-4f5a-a8ba-3f3f3f3f3f3f/failures.xlsx".to_owned(), 404),
    ] {
        assert_eq!(problem(get(path.clone()).await).await.status, status, "{path}");
    }
    let first = get(format!("{this}/results.csv?wait=0")).await;
    assert_eq!(first.status(), StatusCode::ACCEPTED, "it cannot be there at once");
    assert_eq!(first.headers()["retry-after"], "1");
    let building: Building = first.json().await.unwrap();
    assert_eq!(building.rows_total, u64::from(ROWS));
    let (file, _) = fetch(&scene, &upload, "results.csv").await;
    std::fs::remove_file(file).unwrap();
}

async fn results_are_fetched_at_the_terminal(database: TestDatabase) {
    let scene = scene(database).await;
    let upload = scene.published(NAME, original()).await;
    let home = tempfile::tempdir().unwrap();
    let rowmill = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
        command.args(arguments).args(["--api-url", &format!("http://{}", scene.address)]);
        command.env("NO_PROXY", "127.0.0.1").current_dir(home.path()).output().await.unwrap()
    };
    let id = upload.id.to_string();
    let so_far = rowmill(&["results", &id, "-o", "some.ndjson"]).await;
    assert_eq!(so_far.status.code(), Some(1), "{so_far:?}");
    work(&scene, "rows").await;
    for (name, failures) in
        [("all.xlsx", false), ("all.csv", false), ("all.ndjson", false), ("bad.xlsx", true)]
    {
        let mut arguments = vec!["results", id.as_str(), "-o", name];
        arguments.extend(failures.then_some("--failures"));
        let fetched = rowmill(&arguments).await;
        assert_eq!(fetched.status.code(), Some(0), "{name}: {fetched:?}");
        assert!(home.path().join(name).metadata().unwrap().len() > 0, "{name}");
    }
    let pdf = rowmill(&["results", &id, "-o", "all.pdf"]).await;
    assert_eq!(pdf.status.code(), Some(2), "{pdf:?}");
    let listed = rowmill(&["uploads"]).await;
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains(&id) && text.contains(NAME), "{text}");
    let listed = rowmill(&["uploads", "--json"]).await;
    let line: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(line["id"], id);
}

on_both!(
    the_spreadsheet_comes_back,
    several_queues_have_columns_of_their_own,
    what_cannot_be_is_said,
    results_are_fetched_at_the_terminal,
);
