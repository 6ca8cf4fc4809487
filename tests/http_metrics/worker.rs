//! `--metrics` of a worker: a real one, on a real server's queue.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::scene::{PATIENCE, Scene};
use crate::scrape::Scrape;
use crate::support::TestDatabase;

/// A worker, and where its numbers are.
struct Worker {
    child: Child,
    url: String,
    _lines: Lines<BufReader<ChildStderr>>,
}

impl Worker {
    /// Starts `rowmill` with these arguments, and waits until it serves its numbers.
    async fn start(home: &std::path::Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
        command.current_dir(home).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it ended");
                if let Some(url) = line.strip_prefix("rowmill: metrics on ") {
                    return url.to_owned();
                }
            }
        };
        let url = timeout(PATIENCE, said).await.expect("it never served its numbers");
        Self { child, url, _lines: lines }
    }

    async fn scrape(&self, client: &reqwest::Client) -> Scrape {
        let response = client.get(&self.url).send().await.unwrap();
        assert_eq!(
            response.headers()["content-type"],
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        Scrape::parse(&response.text().await.unwrap())
    }
}

async fn a_workers_messages_are_counted_by_verdict(database: TestDatabase) {
    let scene = Scene::with(database, &[]).await;
    // 65 rejects a row, 0 is done, and 7 is killed by the shell before it says anything.
    scene.upload("codes.csv", "code\n0\n0\n0\n65\n65\n").await;
    let server = scene.server.url("");
    let arguments = [
        "work",
        "--metrics",
        "127.0.0.1:0",
        "--api-url",
        &server,
        "--exec",
        "sh",
        "-c",
        "exit \"$1\"",
        "sh",
        "{code}",
    ];
    let mut worker = Worker::start(scene.server.home(), &arguments).await;
    let scrape = scene
        .until("all are settled", async || {
            let scrape = worker.scrape(&scene.client).await;
            let settled: f64 =
                scrape.all("rowmill_worker_settled_messages_total").map(|(_, n)| n).sum();
            (settled >= 5.0).then_some(scrape)
        })
        .await;
    let settled =
        |verdict| scrape.value("rowmill_worker_settled_messages_total", &[("verdict", verdict)]);
    assert_eq!((settled("done"), settled("dead")), (Some(3.0), Some(2.0)));
    let handled = |verdict| {
        let labels = [("handler", "exec"), ("verdict", verdict)];
        scrape.value("rowmill_handler_duration_seconds_count", &labels)
    };
    assert_eq!(
        (handled("done"), handled("reject"), handled("retry")),
        (Some(3.0), Some(2.0), None)
    );
    assert_eq!(scrape.value("rowmill_worker_received_messages_total", &[]), Some(5.0));
    assert_eq!(scrape.value("rowmill_worker_in_hand_messages", &[]), Some(0.0));
    assert_eq!(scrape.value("rowmill_worker_running_handlers", &[]), Some(0.0));
    worker.child.kill().await.unwrap();
}

/// While handlers are at work they are in hand.
#[tokio::test]
async fn a_run_serves_its_numbers_while_it_works() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("rows.csv"), "id\n1\n2\n3\n").unwrap();
    let arguments =
        ["run", "rows.csv", "--metrics", "127.0.0.1:0", "--concurrency", "2", "--sleep", "1h"];
    let mut worker = Worker::start(home.path(), &arguments).await;
    let client = crate::server::client();
    let busy = async {
        loop {
            let scrape = worker.scrape(&client).await;
            if scrape.value("rowmill_worker_running_handlers", &[]) == Some(2.0) {
                return scrape;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let scrape = timeout(PATIENCE, busy).await.expect("no handler ever ran");
    assert_eq!(scrape.value("rowmill_worker_in_hand_messages", &[]), Some(2.0));
    assert!(scrape.value("rowmill_build_info", &[]).is_some());
    worker.child.kill().await.unwrap();
}

on_both!(a_workers_messages_are_counted_by_verdict);
