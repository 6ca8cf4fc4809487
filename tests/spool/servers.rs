//! Real servers on one PostgreSQL and one bucket, with nothing else in common.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::multipart::{Form, Part};
use rowmill::store::Store;
use rowmill::store::control::{Upload, UploadState};
use rowmill::store::log::PageAfter;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep};

use crate::s3::TestBucket;
use crate::scene::PATIENCE;
use crate::server::{TestServer, client};
use crate::support::TestDatabase;

const ROWS: u32 = 100_000;

async fn start(database: &TestDatabase, bucket: &TestBucket) -> TestServer {
    let home: TempDir = tempfile::tempdir().unwrap();
    let mut command = TestServer::command(&home);
    command
        .args(["--listen", "127.0.0.1:0", "--database-url", database.url(), "--lease", "1s"])
        .args(["--spool", &bucket.place("mill")])
        .env("ROWMILL__INTAKE__S3__PART_BYTES", "5M")
        .envs(bucket.environment());
    TestServer::run(command, home).await
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < until, "waited too long for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// What a server has on its own disk of files that it received or fetched.
fn working_files(home: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(home.join("rowmill-work")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn send(server: &TestServer, name: &str, bytes: Vec<u8>) -> reqwest::Response {
    let form = Form::new().part("files", Part::bytes(bytes).file_name(name.to_owned()));
    client().post(server.url("/file/upload")).multipart(form).send().await.unwrap()
}

async fn taken(store: &Store, answer: reqwest::Response) -> Upload {
    assert_eq!(answer.status(), 202);
    let answer: serde_json::Value = answer.json().await.unwrap();
    let id = answer["data"][0]["id"].as_str().unwrap().parse().unwrap();
    store.control.upload_by_public_id(id).await.unwrap().unwrap()
}

/// A text of many rows, larger than a part.
fn many_rows() -> Vec<u8> {
    let mut csv = String::from("number,data\n");
    let data = "x".repeat(60);
    (1..=ROWS).for_each(|n| csv.push_str(&format!("{n},{data}\n")));
    csv.into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_killed_and_another_goes_on_with_what_it_received() {
    let (database, bucket) = (TestDatabase::postgres().await, TestBucket::new().await);
    let mut first = start(&database, &bucket).await;
    let store = database.open(4).await;
    let upload = taken(&store, send(&first, "rows.csv", many_rows()).await).await;
    assert_eq!(bucket.objects().await.len(), 1);
    assert!(bucket.unfinished().await.is_empty());
    assert_eq!(working_files(first.home()).len(), 1, "the reader has a file of this machine");
    until("rows to be published", async || {
        store.log.standing(upload.id).await.unwrap().messages >= 2_000
    })
    .await;
    first.signal("-KILL");
    first.ended().await;
    let before = store.log.standing(upload.id).await.unwrap().messages;
    assert!(before < u64::from(ROWS), "it was read to its end before it was killed");

    let second = start(&database, &bucket).await;
    let now = async || store.control.upload(upload.id).await.unwrap();
    until("the file to be published", async || now().await.state == UploadState::Published).await;
    assert!(now().await.epoch > 1, "nobody took it over");
    each_row_is_there_once(&store, &upload).await;
    until("the fetched copy to go", async || working_files(second.home()).is_empty()).await;

    // The object stays as long as its upload.
    assert_eq!(bucket.objects().await.len(), 1);
    let path = format!("/uploads/{}", upload.public_id);
    let cancelled = client().post(second.url(&format!("{path}/cancel"))).send().await.unwrap();
    assert_eq!(cancelled.status(), 200);
    let deleted = client().delete(second.url(&path)).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    assert!(bucket.objects().await.is_empty(), "{:?}", bucket.objects().await);
    store.close().await;
}

async fn each_row_is_there_once(store: &Store, upload: &Upload) {
    let standing = store.log.standing(upload.id).await.unwrap();
    assert_eq!((standing.messages, standing.waiting()), (u64::from(ROWS), u64::from(ROWS)));
    let queue = store.control.queue(&"rows".parse().unwrap()).await.unwrap().unwrap().id;
    let (mut rows, mut seen) = (BTreeSet::new(), 0);
    let mut after = PageAfter::default();
    loop {
        let (page, next) = store.log.rows(upload.id, queue, after, 20).await.unwrap();
        seen += page.len();
        rows.extend(page.into_iter().map(|row| row.row.0));
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    // The header is row 1.
    assert!(rows.into_iter().eq(2..=ROWS + 1), "a row is missing");
    assert_eq!(seen, ROWS as usize, "a row is there twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_taken_leaves_nothing() {
    let (database, bucket) = (TestDatabase::postgres().await, TestBucket::new().await);
    let mut server = start(&database, &bucket).await;
    let ready = client().get(server.url("/health/ready")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    assert!(bucket.objects().await.is_empty(), "{:?}", bucket.objects().await);

    let refused = send(&server, "picture.xlsx", b"\x89PNG\r\n\x1a\n no workbook".to_vec()).await;
    assert_eq!(refused.status(), 415);
    assert!(bucket.objects().await.is_empty(), "{:?}", bucket.objects().await);

    // A client that goes away when parts of its file are in the bucket already.
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "POST /file/upload HTTP/1.1\r\nHost: {}\r\nContent-Length: 90000000\r\n\
         Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n\
         Content-Disposition: form-data; name=\"files\"; filename=\"a.csv\"\r\n\r\n",
        server.address()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&many_rows()).await.unwrap();
    until("a part to be sent", async || !bucket.unfinished().await.is_empty()).await;
    drop(stream);
    until("it to be taken back", async || bucket.unfinished().await.is_empty()).await;
    assert!(bucket.objects().await.is_empty(), "{:?}", bucket.objects().await);
    until("the working files to go", async || working_files(server.home()).is_empty()).await;

    server.signal("-TERM");
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_damaged_meanwhile_is_a_fault_of_its_upload() {
    let (database, bucket) = (TestDatabase::postgres().await, TestBucket::new().await);
    let mut first = start(&database, &bucket).await;
    let store = database.open(4).await;
    let upload = taken(&store, send(&first, "rows.csv", many_rows()).await).await;
    first.signal("-KILL");
    first.ended().await;
    let key = bucket.objects().await.remove(0);
    bucket.put(&key, b"number,data\n1,other\n".to_vec()).await;

    let second = start(&database, &bucket).await;
    let now = async || store.control.upload(upload.id).await.unwrap();
    until("its fault to be told", async || now().await.state == UploadState::Failed).await;
    let shown = client().get(second.url(&format!("/uploads/{}", upload.public_id))).send().await;
    let shown: serde_json::Value = shown.unwrap().json().await.unwrap();
    assert!(shown.to_string().contains("not any more what was received"), "{shown}");
    assert_eq!(store.log.standing(upload.id).await.unwrap().messages, 0);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_not_there_is_told_at_the_start() {
    let bucket = TestBucket::new().await;
    let home = tempfile::tempdir().unwrap();
    let place = format!("s3://{}-not", bucket.name());
    let ended = TestServer::command(&home)
        .args(["--listen", "127.0.0.1:0", "--spool", &place])
        .envs(bucket.environment())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("the bucket fails"), "{said}");
}
