//! A table of failures that comes back corrected is understood as that: only its rows run, as if they
//! had stood so in the original.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Response, StatusCode};
use rowmill::api::{Data, Finding, Page, PreviewAnswer, Upload, UploadStatus};
use rowmill::broker::Source;
use rowmill::domain::{Delivery, QueueName, Settlement, Verdict};
use rowmill::http::HttpLimits;
use rowmill::store::control::NewQueue;
use rowmill::workbook::ReadLimits;
use rust_xlsxwriter::{Format, Workbook};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::book::{Book, read_one};
use crate::python::{file, program, run};
use crate::scene::{Scene, problem};
use crate::support::TestDatabase;

const ROWS: u32 = 12;
/// Rows of the sheet, whose names stand in its third row and begin in its second column.
const DEAD: [u32; 3] = [6, 10, 14];
/// The row whose cell is too long.
const LONG: u32 = 8;

/// With a column that is called as one of those that are added.
fn original() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet().set_name("Orders May").unwrap();
    let day = Format::new().set_num_format("dd/mm/yyyy");
    let number = Format::new().set_num_format("00000");
    sheet.write_string(0, 1, "Orders of May").unwrap();
    for (column, name) in (1..).zip(["id", "row", "day", "zip", "note"]) {
        sheet.write_string(2, column, name).unwrap();
    }
    for n in 1..=ROWS {
        let row = n + 2;
        let note = match row + 1 {
            LONG => "x".repeat(300),
            at if DEAD.contains(&at) => "bad".into(),
            _ => "good".into(),
        };
        sheet.write_number(row, 1, n).unwrap();
        sheet.write_string(row, 2, format!("theirs {n}")).unwrap();
        sheet.write_number_with_format(row, 3, 46_000.0 + f64::from(n), &day).unwrap();
        sheet.write_number_with_format(row, 4, n, &number).unwrap();
        sheet.write_string(row, 5, note).unwrap();
        if row + 1 == DEAD[0] {
            // Under no name.
            sheet.write_string(row, 7, "beyond").unwrap();
        }
    }
    book.save_to_buffer().unwrap()
}

async fn scene(database: TestDatabase) -> Scene {
    let read = ReadLimits { cell_bytes: 200, ..ReadLimits::default() };
    Scene::with(database, HttpLimits::default(), read).await
}

/// Rejects what is bad, and answers what was received.
async fn work(scene: &Scene) -> Vec<Delivery> {
    let queue: QueueName = "rows".parse().unwrap();
    let mut all = vec![];
    loop {
        let wait = Duration::from_millis(100);
        let leases = scene.broker.receive(&queue, 100, wait).await.unwrap();
        if leases.is_empty() {
            return all;
        }
        let settle = |delivery: &Delivery| {
            let data: Value = serde_json::from_str(&delivery.data).unwrap();
            let verdict = match data["note"] == "bad" {
                true => Verdict::Reject { reason: "it is bad".into() },
                false => Verdict::Done { output: None },
            };
            Settlement { position: delivery.position, verdict }
        };
        let settlements = leases
            .iter()
            .map(|lease| (lease.receipt, lease.deliveries.iter().map(settle).collect()));
        scene.broker.settle(settlements.collect()).await.unwrap();
        all.extend(leases.into_iter().flat_map(|lease| lease.deliveries));
    }
}

async fn sent(scene: &Scene, query: &str, file: &Path) -> Response {
    scene.upload(query, &[("mended.xlsx", std::fs::read(file).unwrap())]).await
}

async fn taken(scene: &Scene, query: &str, file: &Path) -> Upload {
    let answer = sent(scene, query, file).await;
    scene.taken(answer).await.remove(0)
}

async fn now(scene: &Scene, upload: &Upload) -> Upload {
    scene.get(&upload.links.this).await
}

/// Fetches the table of failures of an upload.
async fn failures(scene: &Scene, upload: &Upload, home: &TempDir) -> (PathBuf, Book) {
    let url = scene.url(&format!("{}?wait=30", upload.links.failures));
    let answer = scene.client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let path = home.path().join(format!("{}.failures.xlsx", upload.id));
    std::fs::write(&path, answer.bytes().await.unwrap()).unwrap();
    let book = read_one(&path).await;
    (path, book)
}

async fn mended(from: &Path, name: &str, edits: &[&str]) -> PathBuf {
    let to = from.with_file_name(name);
    let mut command = program("python3").await;
    command.arg(file("tests/export/mend.py")).arg(from).arg(&to).args(edits);
    run(command).await;
    to
}

/// An upload of the original, worked off.
async fn failed(scene: &Scene) -> Upload {
    let query = "?wait=true&header_row=3&attributes=zip";
    let answer = scene.upload(query, &[("orders.xlsx", original())]).await;
    let upload = scene.taken(answer).await.remove(0);
    assert_eq!(work(scene).await.len(), 11);
    let now = now(scene, &upload).await;
    assert_eq!((now.counts.dead, now.counts.rejected, now.counts.done), (3, 1, 8));
    now
}

async fn only_the_rows_of_a_correction_run(database: TestDatabase) {
    let (scene, home) = (scene(database).await, tempfile::tempdir().unwrap());
    let upload = failed(&scene).await;
    let (table, book) = failures(&scene, &upload, &home).await;
    assert_eq!(book.properties["rowmill-upload"], upload.id.to_string());
    let cells = book.sheets.values().next().unwrap();
    assert_eq!((&cells["A1"].1, &cells["B1"].1), (&json!("row_2"), &json!("problem")));

    // Two are mended, one stays as it was, one is left out.
    let edits = ["G2=good", "G3=short", "D2=ours"];
    let file = mended(&table, "mended.xlsx", &edits).await;

    // A look says so, with the rows that it would send.
    let answer = sent(&scene, "?dry_run=true", &file).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let PreviewAnswer::Seen(look) =
        answer.json::<Data<PreviewAnswer>>().await.unwrap().data.remove(0)
    else {
        panic!("refused");
    };
    assert_eq!((look.corrects, look.counts.rows), (Some(upload.id), 4));
    let rows: Vec<_> = look.sheets[0].first.iter().map(|row| row.row).collect();
    assert_eq!(rows, [6, 8, 10, 14]);
    assert_eq!(look.sheets[0].header_row, 3);

    let correction = taken(&scene, "?wait=true", &file).await;
    assert_eq!((correction.corrects, correction.topic.as_str()), (Some(upload.id), "rows"));
    assert_eq!((correction.counts.read, correction.counts.published), (4, 4));
    assert_eq!(now(&scene, &upload).await.corrected_by, [correction.id]);

    // They are what they would have been, had they stood so in the original.
    let deliveries = work(&scene).await;
    let origins: Vec<_> = deliveries
        .iter()
        .map(|one| one.origin.as_ref().unwrap())
        .map(|at| (at.upload_id, at.sheet.as_deref().unwrap(), at.row.0))
        .collect();
    assert_eq!(origins, [6, 8, 10, 14].map(|row| (correction.id, "Orders May", row)));
    let data: Vec<Value> =
        deliveries.iter().map(|one| serde_json::from_str(&one.data).unwrap()).collect();
    let first =
        r#"{"id":3,"row":"ours","day":"2025-12-12","zip":"00003","note":"good","H":"beyond"}"#;
    assert_eq!(&*deliveries[0].data, first);
    assert_eq!((&data[1]["note"], &data[2]["note"]), (&json!("short"), &json!("bad")));
    assert_eq!(data[3]["zip"], "00011");
    let attributes: Value =
        serde_json::from_str(deliveries[0].attributes.as_deref().unwrap()).unwrap();
    assert_eq!(attributes, json!({"corrects": upload.id, "zip": "00003"}));
    let ended = now(&scene, &correction).await;
    assert_eq!((ended.counts.done, ended.counts.dead), (2, 2));
    assert_eq!(ended.status, UploadStatus::Ended);

    // Its results stand where the rows stood.
    let url = scene.url(&format!("{}?wait=30", correction.links.results));
    let bytes = scene.client.get(url).send().await.unwrap().bytes().await.unwrap();
    let results = home.path().join("results.xlsx");
    std::fs::write(&results, bytes).unwrap();
    let results = read_one(&results).await;
    let at = |address: &str| results.value("Orders May", address);
    assert_eq!((at("B3"), at("F6"), at("B14")), (json!("id"), json!("good"), json!(11.0)));
    assert_eq!((at("G6"), at("G10")), (json!("done"), json!("dead")));

    // What was done is not done again; what died is, from whichever table.
    let again = taken(&scene, "?wait=true", &file).await;
    assert_eq!((again.counts.published, again.counts.duplicates, again.counts.read), (2, 2, 4));
    let told: Page<Finding> = scene.get(&again.links.rejects).await;
    let told: Vec<_> = told.data.iter().filter(|one| one.detail.contains("duplicate")).collect();
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].address.as_str(), told[0].rejected), ("Orders May!6:6", false));
    assert!(told[0].detail.contains(&correction.id.to_string()), "{told:?}");
    work(&scene).await;
    let (table, book) = failures(&scene, &again, &home).await;
    let cells = book.sheets.values().next().unwrap();
    assert_eq!((&cells["A2"].1, &cells["A3"].1), (&json!(10.0), &json!(14.0)));
    let file = mended(&table, "second.xlsx", &["G2=good", "G3=good", "title=Renamed"]).await;
    let last = taken(&scene, "?wait=true", &file).await;
    assert_eq!((last.corrects, last.counts.published), (Some(again.id), 2));
    let rows: Vec<_> =
        work(&scene).await.iter().map(|one| one.origin.as_ref().unwrap().row.0).collect();
    assert_eq!(rows, [10, 14]);
    assert_eq!(now(&scene, &last).await.counts.done, 2);
    let original = taken(&scene, "?wait=true", &home.path().join("mended.xlsx")).await;
    assert_eq!((original.counts.published, original.counts.duplicates), (0, 4));
    assert_eq!(now(&scene, &original).await.status, UploadStatus::Ended);
}

async fn a_row_that_was_done_needs_no_correction(database: TestDatabase) {
    let (scene, home) = (scene(database).await, tempfile::tempdir().unwrap());
    let control = &scene.store.control;
    let dead = control.ensure_queue(&NewQueue::new("rows.dead".parse().unwrap())).await.unwrap();
    let queue = NewQueue {
        topic: control.topic(&"rows".parse().unwrap()).await.unwrap(),
        dead_queue: Some(dead),
        ..NewQueue::new("rows".parse().unwrap())
    };
    control.ensure_queue(&queue).await.unwrap();
    let upload = failed(&scene).await;
    let (table, _) = failures(&scene, &upload, &home).await;
    // Row 7 is done, and nobody else's.
    let file = mended(&table, "mended.xlsx", &["A3=7", "G2=good", "G3=short"]).await;
    let correction = taken(&scene, "?wait=true", &file).await;
    assert_eq!((correction.counts.published, correction.counts.duplicates), (3, 1));
    let told: Page<Finding> = scene.get(&correction.links.rejects).await;
    let told = told.data.iter().find(|one| one.row == Some(7)).unwrap();
    assert!(told.detail.contains("it is done in upload"), "{told:?}");
    // Nor does one that is tried again just now.
    work(&scene).await;
    let retried = scene.client.post(scene.url(&format!("{}/retry", upload.links.this)));
    assert_eq!(retried.send().await.unwrap().status(), StatusCode::OK);
    let file = mended(&table, "again.xlsx", &["G3=short", "G4=good"]).await;
    let correction = taken(&scene, "?wait=true", &file).await;
    let counts = correction.counts;
    assert_eq!((counts.duplicates, counts.published), (3, 1), "{counts:?}");
}

async fn what_cannot_be_a_correction_is_told(database: TestDatabase) {
    let (scene, home) = (scene(database).await, tempfile::tempdir().unwrap());
    let upload = failed(&scene).await;
    let (table, _) = failures(&scene, &upload, &home).await;
    for (edits, part, address) in [
        (&["sort=1"][..], "sort the sheet by its column `row_2`", (Some(3), Some("A"))),
        (&["A3=6"], "row 6 is there twice", (Some(3), Some("A"))),
        (&["A6=x", "G6=new"], "rows cannot be added", (Some(6), Some("A"))),
        (&["delete=1"], "the column `row_2` is missing", (Some(1), None)),
        (&["delete=7"], "the column `note` is missing", (Some(1), None)),
    ] {
        let file = mended(&table, "broken.xlsx", edits).await;
        let refused = problem(sent(&scene, "?wait=true", &file).await).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(refused.detail.contains(part), "{refused:?}");
        assert!(refused.detail.contains("correction=off"), "{refused:?}");
        assert_eq!((refused.row, refused.column.as_deref()), address, "{refused:?}");
    }
    // As a file of its own it is one like any other.
    let plain = taken(&scene, "?wait=true&correction=off", &table).await;
    assert_eq!((plain.corrects, plain.counts.read), (None, 4));
    let rows = work(&scene).await;
    assert!(rows[0].data.contains(r#""row_2":6,"problem":"#), "{:?}", rows[0].data);
    assert_eq!(rows[0].origin.as_ref().unwrap().row.0, 2);
    let asked = sent(&scene, "?correction=on", &table).await;
    assert_eq!(asked.status(), StatusCode::UNPROCESSABLE_ENTITY);
    // Its upload is gone.
    let delete = scene.client.delete(scene.url(&upload.links.this)).send().await.unwrap();
    assert_eq!(delete.status(), StatusCode::NO_CONTENT);
    for query in ["", "?dry_run=true"] {
        let refused = problem(sent(&scene, query, &table).await).await;
        assert_eq!((refused.status, refused.kind.as_str()), (422, "/problems/not-correctable"));
        assert!(refused.detail.contains(&upload.id.to_string()), "{refused:?}");
        assert!(refused.detail.contains("correction=off"), "{refused:?}");
    }
}

async fn a_correction_goes_where_its_upload_went(database: TestDatabase) {
    let (scene, home) = (scene(database).await, tempfile::tempdir().unwrap());
    let topic = scene.store.control.ensure_topic(&"orders".parse().unwrap()).await.unwrap();
    let queue = NewQueue { topic: Some(topic), ..NewQueue::new("orders".parse().unwrap()) };
    scene.store.control.ensure_queue(&queue).await.unwrap();
    let csv = format!("id,note\nA,good\nB,{}\nC,{}\n", "x".repeat(300), "y".repeat(300));
    let query = "?wait=true&topic=orders&key=id";
    let answer = scene.upload(query, &[("orders.csv", csv.into_bytes())]).await;
    let upload = scene.taken(answer).await.remove(0);
    assert_eq!((upload.counts.rejected, upload.counts.published), (2, 1));
    assert_eq!(scene.work("orders", 1).await, 1);
    let (table, book) = failures(&scene, &upload, &home).await;
    assert_eq!(book.value("Sheet", "A2"), json!(3.0));
    // It is known by the same key: a row that was made like another is a duplicate of that.
    let file = mended(&table, "mended.xlsx", &["D2=short", "C3=A", "D3=short"]).await;
    let correction = taken(&scene, "?wait=true", &file).await;
    assert_eq!(correction.topic, "orders");
    let counts = correction.counts;
    assert_eq!((counts.published, counts.duplicates, counts.rejected), (1, 1, 0), "{counts:?}");
    let leases = scene
        .broker
        .receive(&"orders".parse().unwrap(), 10, Duration::from_secs(10))
        .await
        .unwrap();
    let delivery = &leases[0].deliveries[0];
    assert_eq!(&*delivery.data, r#"{"id":"B","note":"short"}"#);
    let origin = delivery.origin.as_ref().unwrap();
    assert_eq!((origin.sheet.as_deref(), origin.row.0), (None, 3));
    // Another topic may be named all the same.
    let file = mended(&table, "other.xlsx", &["D2=short", "D3=short"]).await;
    let other = taken(&scene, "?wait=true&topic=rows", &file).await;
    assert_eq!(other.topic, "rows");
    assert_eq!((other.counts.published, other.counts.duplicates), (1, 1));
}

#[tokio::test]
async fn run_understands_the_table_that_it_wrote() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    std::fs::write(at("in.csv"), "id,fit\n1,yes\n2,no\n3,yes\n4,no\n").unwrap();
    let run = async |name: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
        command.arg("run").arg(at(name)).args(["--json", "--retries", "0"]).args(more);
        command.args(["--exec", "sh", "-c", "test $0 = yes && echo $1", "{fit}", "{id}"]);
        let output = command.env_remove("DATABASE_URL").output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default(), said)
    };
    let (report, said) = run("in.csv", &[]).await;
    assert_eq!((&report["done"], &report["dead"]), (&json!(2), &json!(2)), "{report} {said}");
    let table = at("in.csv.failures.xlsx");
    mended(&table, "mended.xlsx", &["D2=yes"]).await;
    std::fs::rename(at("mended.xlsx"), &table).unwrap();
    let (report, said) = run("in.csv.failures.xlsx", &[]).await;
    assert_eq!((&report["done"], &report["dead"]), (&json!(1), &json!(1)), "{report} {said}");
    let results = std::fs::read_to_string(at("in.csv.failures.xlsx.results.csv")).unwrap();
    assert!(results.lines().nth(1).unwrap().starts_with("3,2,yes,done"), "{results}");
    // Elsewhere nobody knows of it, and it says so.
    std::fs::copy(&table, at("alone.xlsx")).unwrap();
    let (_, said) = run("alone.xlsx", &[]).await;
    assert!(said.contains("is not known here"), "{said}");
    let (report, said) = run("alone.xlsx", &["--correction", "off"]).await;
    assert_eq!(report["done"], 1, "{report} {said}");
}

on_both!(
    only_the_rows_of_a_correction_run,
    a_row_that_was_done_needs_no_correction,
    what_cannot_be_a_correction_is_told,
    a_correction_goes_where_its_upload_went,
);
