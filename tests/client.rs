//! The client, and the commands that use it, against rowmill itself: a real `rowmill serve` on a
//! database of its own, and workers and producers as processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowmill::api::{State, UploadStatus};
use rowmill::broker::{BrokerError, Source};
use rowmill::client::{Client, ClientLimits, RemoteSource, ResultsOf, UploadOptions};
use rowmill::domain::{QueueName, Settlement, Verdict};
use serde_json::Value;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server in a directory of its own; killed when dropped.
struct Scene {
    home: tempfile::TempDir,
    server: Child,
    url: String,
}

fn rowmill(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
    command.current_dir(home).args(arguments).env_remove("DATABASE_URL");
    command
}

impl Scene {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", home.path().join("rows.db").display());
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--database-url", &database];
        let mut server = rowmill(home.path(), &arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(server.stderr.take().unwrap());
        let mut line = String::new();
        let url = loop {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "the server ended");
            if let Some(url) = line.trim().strip_prefix("rowmill: listening on ") {
                break url.to_owned();
            }
        };
        // Read on, so that it never waits for its log to be taken.
        std::thread::spawn(move || {
            said.lines().map_while(Result::ok).for_each(|l| eprintln!("{l}"))
        });
        Self { home, server, url }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn csv(&self, name: &str, rows: u32) -> PathBuf {
        let rows: String = (1..=rows).map(|n| format!("{n},item {n}\n")).collect();
        fs::write(self.path(name), format!("id,name\n{rows}")).unwrap();
        self.path(name)
    }

    fn script(&self, body: &str) {
        fs::write(self.path("handler"), format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(self.path("handler"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn client(&self) -> Client {
        Client::new(&self.url, ClientLimits::default()).unwrap()
    }

    /// Runs a command that speaks to the server.
    fn run(&self, arguments: &[&str]) -> Output {
        rowmill(self.home.path(), arguments).env("ROWMILL_API_URL", &self.url).output().unwrap()
    }

    /// The same with `--json`: its exit code and what it said.
    fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let mut command = rowmill(self.home.path(), arguments);
        let output =
            command.env("ROWMILL_API_URL", &self.url).env("ROWMILL_JSON", "true").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let json = serde_json::from_str(&said);
        (output.status.code(), json.unwrap_or_else(|_| panic!("{said}\n{error}")))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Looks again and again until there is something.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn queue() -> QueueName {
    "rows".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_uploaded_worked_off_and_its_results_are_read() {
    let scene = Scene::start();
    let client = scene.client();
    client.health().await.unwrap();
    let file = scene.csv("March 2026 ü.csv", 250);
    let sent = Arc::default();
    let options = UploadOptions { wait: true, ..UploadOptions::default() };
    let upload = client.upload(&file, &options, &sent).await.unwrap();
    assert_eq!(upload.filename, "March 2026 ü.csv");
    assert_eq!((upload.counts.read, upload.counts.published), (250, 250));
    assert_eq!(upload.bytes, sent.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(client.uploads(None, 10).await.unwrap().data[0].id, upload.id);

    scene.script("[ $1 = 13 ] && exit 65; echo got $1");
    let work = ["work", "--until-empty", "--concurrency", "8", "--exec", "./handler", "{id}"];
    let (code, said) = scene.json(&work);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        (&said["done"], &said["dead"], &said["status"]),
        (&249.into(), &1.into(), &"ended".into())
    );

    let ended = until(async || {
        let upload = client.upload_status(upload.id).await.unwrap();
        (upload.status == UploadStatus::Ended).then_some(upload)
    })
    .await;
    assert_eq!((ended.counts.done, ended.counts.dead), (249, 1));

    let mut of = ResultsOf { upload: Some(upload.id), limit: Some(100), ..ResultsOf::default() };
    let mut rows = vec![];
    loop {
        let page = client.results(&of).await.unwrap();
        rows.extend(
            page.data.iter().filter(|outcome| outcome.queue == "rows").filter_map(|o| o.row),
        );
        match page.next {
            Some(next) => of.after = Some(next),
            None => break,
        }
    }
    rows.sort_unstable();
    assert_eq!(rows, (2..=251).collect::<Vec<_>>());
    let dead = ResultsOf {
        queue: Some("rows".into()),
        upload: Some(upload.id),
        status: Some(State::Dead),
        ..ResultsOf::default()
    };
    let dead = client.results(&dead).await.unwrap().data.remove(0);
    assert_eq!((dead.row, dead.error.as_deref()), (Some(14), Some("exit code 65")));
    assert_eq!(client.result(&dead.id).await.unwrap().status, State::Dead);
    assert_eq!(client.result("no-such-id").await.unwrap_err().status(), Some(404));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_steered_at_the_terminal() {
    let scene = Scene::start();
    let file = scene.csv("rows.csv", 5);
    let options = UploadOptions { wait: true, ..UploadOptions::default() };
    let id = scene.client().upload(&file, &options, &Arc::default()).await.unwrap().id.to_string();
    let (code, paused) = scene.json(&["uploads", "pause", &id]);
    assert_eq!((code, paused["id"].as_str()), (Some(0), Some(&*id)));
    assert!(paused["paused"].is_object(), "{paused}");
    let listed = scene.run(&["uploads"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains(&id) && listed.contains("paused"), "{listed}");
    let (code, resumed) = scene.json(&["uploads", "resume", &id]);
    assert_eq!((code, &resumed["paused"]), (Some(0), &Value::Null), "{resumed}");
    let (code, cancelled) = scene.json(&["uploads", "cancel", &id]);
    assert_eq!((code, cancelled["status"].as_str()), (Some(0), Some("cancelled")), "{cancelled}");
    let nobody = scene.run(&["uploads", "pause", "00000000-0000-4000-8000-000000000000"]);
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
}

#[test]
fn one_by_one_has_one_in_hand() {
    let scene = Scene::start();
    scene.csv("in.csv", 6);
    assert_eq!(scene.run(&["ingest", "in.csv"]).status.code(), Some(0));
    scene.script("echo begin >> log; sleep 0.02; echo end >> log");
    let work = ["work", "--one-by-one", "--until-empty", "--exec", "./handler"];
    let (code, said) = scene.json(&work);
    assert_eq!((code, &said["done"]), (Some(0), &6.into()), "{said}");
    assert_eq!(fs::read_to_string(scene.path("log")).unwrap(), "begin\nend\n".repeat(6));
}

#[test]
fn a_file_produced_twice_is_published_once() {
    let scene = Scene::start();
    scene.csv("in.csv", 40);
    for _ in 0..2 {
        let (code, said) = scene.json(&["produce", "in.csv"]);
        assert_eq!((code, &said["published"]), (Some(0), &40.into()), "{said}");
    }
    let (code, said) = scene.json(&["work", "--until-empty", "--sleep", "0s"]);
    assert_eq!((code, &said["done"]), (Some(0), &40.into()), "{said}");
    // Its bytes decide, not its name.
    fs::rename(scene.path("in.csv"), scene.path("renamed.csv")).unwrap();
    assert_eq!(scene.json(&["produce", "renamed.csv"]).0, Some(0));
    let (_, said) = scene.json(&["work", "--until-empty", "--sleep", "0s"]);
    assert_eq!(said["received"], 0, "{said}");
}

#[test]
fn a_damaged_file_is_produced_up_to_the_damage_and_told() {
    let scene = Scene::start();
    fs::write(scene.path("cut.csv"), "id,name\n1,a\n2,\"never closed\n").unwrap();
    let (code, said) = scene.json(&["produce", "cut.csv"]);
    assert_eq!((code, &said["status"]), (Some(2), &"failed".into()), "{said}");
    assert_eq!(said["problem"]["kind"], "unreadable", "{said}");
    let output = scene.run(&["produce", "none.csv"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.csv"));
    let output = scene.run(&["produce", "cut.csv", "--topic", "no-such-topic"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-topic"));
}

#[test]
fn good_files_are_ingested_beside_a_bad_one() {
    let scene = Scene::start();
    scene.csv("a.csv", 30);
    fs::write(scene.path("b.xlsx"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
    scene.csv("c.csv", 20);
    let worker = ["work", "--sleep", "0s"];
    let mut worker = rowmill(scene.home.path(), &worker)
        .env("ROWMILL_API_URL", &scene.url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (code, said) = scene.json(&["ingest", "a.csv", "b.xlsx", "c.csv", "--until-done"]);
    assert_eq!(code, Some(1), "{said}");
    let field = |at: usize, name: &str| said[at][name].clone();
    assert_eq!([field(0, "status"), field(2, "status")], ["ended", "ended"], "{said}");
    assert_eq!(said[0]["counts"]["done"], 30);
    assert_eq!((field(1, "status"), field(1, "filename")), (415.into(), "b.xlsx".into()));
    // Ctrl-C is how a worker ends: no failure.
    let kill = Command::new("kill").args(["-INT", &worker.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let ended = worker.wait().unwrap();
    assert_eq!(ended.code(), Some(0));

    let (code, said) = scene.json(&["ingest", "a.csv", "none.csv"]);
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(said[0]["status"], "published");
    assert!(said[1]["error"].as_str().unwrap().contains("none.csv"), "{said}");
    let output = scene.run(&["ingest", "a.csv", "--topic", "no-such-topic"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("no-such-topic"), "{error}");
}

#[test]
fn a_worker_on_the_database_needs_no_server() {
    let scene = Scene::start();
    scene.csv("in.csv", 25);
    assert_eq!(scene.run(&["ingest", "in.csv"]).status.code(), Some(0));
    let database = format!("sqlite:{}", scene.path("rows.db").display());
    // What is said on the command line wins over the server that the environment names.
    let work = ["work", "--database-url", &database, "--until-empty", "--sleep", "0s"];
    let (code, said) = scene.json(&work);
    assert_eq!((code, &said["done"]), (Some(0), &25.into()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_behind_a_server_is_a_source() {
    let scene = Scene::start();
    let file = scene.csv("in.csv", 8);
    let options = UploadOptions { wait: true, ..UploadOptions::default() };
    scene.client().upload(&file, &options, &Arc::default()).await.unwrap();
    let source = RemoteSource::new(scene.client(), queue());
    let leases = source.receive(&queue(), 8, Duration::from_secs(5)).await.unwrap();
    let deliveries: usize = leases.iter().map(|lease| lease.deliveries.len()).sum();
    assert_eq!(deliveries, 8);
    let first = &leases[0].deliveries[0];
    assert_eq!(&*first.data, r#"{"id":"1","name":"item 1"}"#);
    let origin = first.origin.as_ref().unwrap();
    assert_eq!((&*origin.filename, origin.row.0, first.attempt), ("in.csv", 2, 1));

    let deadlines = source.extend(leases.iter().map(|l| l.receipt).collect()).await.unwrap();
    assert!(deadlines.iter().all(Option::is_some), "{deadlines:?}");

    let mut verdicts = [
        Verdict::Done { output: Some("{\"a\":1.10}".into()) },
        Verdict::Done { output: None },
        Verdict::Reject { reason: "bad".into() },
        Verdict::Retry { reason: "later".into(), after: Some(Duration::from_secs(600)) },
    ]
    .into_iter()
    .chain(std::iter::repeat(Verdict::Release));
    let mut asked = vec![];
    for lease in &leases {
        let settlements = lease.deliveries.iter().map(|delivery| Settlement {
            position: delivery.position,
            verdict: verdicts.next().unwrap(),
        });
        asked.push((lease.receipt, settlements.collect::<Vec<_>>()));
    }
    let settled = source.settle(asked.clone()).await.unwrap();
    let sum = |count: fn(&rowmill::domain::Settled) -> u32| settled.iter().map(count).sum::<u32>();
    assert_eq!((sum(|s| s.done), sum(|s| s.dead), sum(|s| s.again)), (2, 1, 5));
    assert!(settled.iter().all(|settled| settled.stale.is_empty()));
    // Asked again, it is too late for every one of them.
    let settled = source.settle(asked).await.unwrap();
    assert_eq!(settled.iter().map(|s| s.stale.len()).sum::<usize>(), 8);
    assert!(settled.iter().all(|s| s.done + s.dead + s.again == 0));
    let deadlines = source.extend(leases.iter().map(|l| l.receipt).collect()).await.unwrap();
    assert!(deadlines.iter().all(Option::is_none), "{deadlines:?}");

    // What was released is there at once.
    let leases = source.receive(&queue(), 8, Duration::from_secs(5)).await.unwrap();
    assert!(!leases.is_empty());

    let none: QueueName = "none".parse().unwrap();
    let source = RemoteSource::new(scene.client(), none.clone());
    let error = source.receive(&none, 1, Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, BrokerError::NoQueue(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_published_with_its_attributes() {
    let scene = Scene::start();
    let client = scene.client();
    let message = |text: &str| rowmill::api::NewMessage {
        data: serde_json::value::RawValue::from_string(text.into()).unwrap(),
        attributes: [("kind".to_owned(), "test".to_owned())].into(),
    };
    let copies = client.publish("rows", message(r#"{"n":1.10}"#), Some("k")).await.unwrap();
    assert_eq!((copies.len(), copies[0].queue_id.as_str()), (1, "rows"));
    let again = client.publish("rows", message(r#"{"n":1.10}"#), Some("k")).await.unwrap();
    assert_eq!(again[0].id, copies[0].id);
    let other = client.publish("rows", message("{}"), Some("k")).await.unwrap_err();
    assert_eq!(other.status(), Some(409), "{other}");
    let many = vec![message(r#"{"n":2}"#), message(r#"{"n":3}"#)];
    let accepted = client.publish_many("rows", many, None).await.unwrap();
    assert_eq!(accepted.iter().map(|one| one.ids.len()).collect::<Vec<_>>(), [1, 1]);
    let mut received = vec![];
    while received.len() < 3 {
        let some = client.receive("rows", 10, Duration::from_secs(5)).await.unwrap();
        assert!(!some.is_empty(), "only {} came", received.len());
        received.extend(some);
    }
    let mut data: Vec<_> = received.iter().map(|one| one.data.get()).collect();
    data.sort_unstable();
    assert_eq!(data, [r#"{"n":1.10}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
    assert_eq!(received[0].attributes.as_ref().unwrap().get(), r#"{"kind":"test"}"#);
}

#[test]
fn what_cannot_be_is_said() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = rowmill(home.path(), arguments);
        let output = command
            .env_remove("ROWMILL_API_URL")
            .env_remove("ROWMILL_DATABASE_URL")
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!error.contains("panicked"), "{error}");
        (output.status.code(), error)
    };
    let refused = |arguments: &[&str], expected: &str| {
        let (code, error) = run(arguments);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
    };
    refused(&["work"], "--http");
    refused(&["work", "--sleep", "1s", "--http", "http://h"], "cannot be used with");
    refused(&["work", "--http", "nonsense"], "the handler's address");
    refused(
        &["work", "--sleep", "1s", "--api-url", "http://h", "--database-url", "sqlite:x"],
        "cannot be used with",
    );
    refused(&["work", "--sleep", "1s", "--api-url", "h:1"], "server's address");
    refused(&["work", "--sleep", "1s", "--database-url", "sqlite:rows.db"], "rowmill migrate");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "a database was made");
    fs::write(home.path().join("rows.db"), "").unwrap();
    refused(&["work", "--sleep", "1s", "--database-url", "sqlite:rows.db"], "rowmill migrate");
    fs::write(home.path().join("a.csv"), "id\n1\n").unwrap();
    refused(&["ingest"], "FILES");
    refused(&["ingest", "a.csv", "--no-wait", "--until-done"], "cannot be used with");
    refused(&["ingest", "a.csv", "--header-row", "0"], "row number");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://mill:s3cret@{}", listener.local_addr().unwrap());
    drop(listener);
    for arguments in [
        &["ingest", "a.csv", "--api-url", &url][..],
        &["produce", "a.csv", "--api-url", &url, "--retries", "1"],
    ] {
        let (code, error) = run(arguments);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains("cannot be reached") && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_worker_of_a_queue_that_does_not_exist_ends() {
    let scene = Scene::start();
    let output = scene.run(&["work", "--queue", "none", "--sleep", "0s"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), error.contains("`none`")), (Some(2), true), "{error}");
}
