//! `tests/cluster`: three RabbitMQ nodes, two servers, four workers; one node and one server are
//! killed while rows are published and worked on, and every row has exactly one outcome.
//!
//! A program of its own, which the suite does not run: it starts eleven processes and takes minutes.
//! Two rounds are played on one cluster. In the first the killed are started again while there is
//! work; in the second they stay dead until it is done. Moments are chosen by counts, never by the
//! clock. A round whose uploads do not end says what is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::large_futures
)]

mod count;
mod handler;
mod mill;
mod nodes;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use rowmill::api::{Upload, UploadStatus};
use rowmill::client::{Client, UploadOptions};
use uuid::Uuid;

use count::Count;
use handler::Office;
use mill::{Mill, sample};
use nodes::Nodes;
use support::TestDatabase;

/// Rows of each of the two uploads of a round.
const ROWS: u64 = 10_000;
/// Rows that must be left to end when what was killed is back.
const LEFT: u64 = 2 * ROWS / 10;
/// Only a failing round waits so long, for any one thing.
const PATIENCE: Duration = Duration::from_secs(300);
/// Where rows wait for workers.
const QUEUE: &str = "rows";

/// What becomes of those that were killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    StayDead,
    ComeBack,
}

#[tokio::main]
async fn main() {
    let begun = Instant::now();
    let nodes = Nodes::named();
    let database = TestDatabase::postgres().await;
    let home = tempfile::tempdir().unwrap();
    let office = Office::open().await;
    let workbook = home.path().join("orders.xlsx");
    sample(&workbook, ROWS);
    let mut mill = Mill::start(home.path(), database.url(), &nodes, &office).await;
    let queue = nodes.queue(QUEUE).await;
    assert_eq!(queue.members.len(), 3, "a queue is on all nodes: {queue:?}");
    println!("3 RabbitMQ nodes, 2 servers, 4 workers, 2 uploads of {ROWS} rows a round");
    let mut rounds = 0;
    for killed in [Killed::ComeBack, Killed::StayDead] {
        rounds += 1;
        println!("round {rounds}: the killed {killed:?}");
        play(&mut mill, &nodes, &office, &workbook, database.url(), killed).await;
    }
    println!("passed: {rounds} rounds, {:.0} s", begun.elapsed().as_secs_f64());
}

async fn play(
    mill: &mut Mill,
    nodes: &Nodes,
    office: &Office,
    workbook: &Path,
    database: &str,
    killed: Killed,
) {
    let begun = Instant::now();
    office.begin();
    let (stays, goes) = (mill.client(0), mill.client(1));
    let (one, other) = tokio::join!(upload(&stays, workbook), upload(&goes, workbook));
    let both = [one, other];

    // The second server has published a part of its upload, and workers have ended a part of that.
    let at = until("a moment in the middle", async || {
        let upload = stays.upload_status(other).await.ok()?;
        let part = upload.counts.published >= ROWS / 4 && ended(&upload) > 0;
        assert_eq!(upload.status, UploadStatus::Ingesting, "it was too fast: no row is left");
        part.then_some(upload.counts)
    })
    .await;
    let leader = nodes.queue(QUEUE).await.leader;
    let cut = nodes.connections(&leader).await;
    mill.kill_server(1);
    nodes.run(&leader, "crash");
    println!(
        "  killed server 2 when {} of its {ROWS} rows were published, {} ended;",
        at.published,
        at.done + at.dead
    );
    println!("  killed {leader}, which led `{QUEUE}` and had {cut} connections");

    if killed == Killed::ComeBack {
        // A node needs its time to start; there must be work when it is there.
        office.slow(true);
        let ended_then = all_ended(&stays, &both).await;
        until("work to go on without them", async || {
            (all_ended(&stays, &both).await? > ended_then? + 500).then_some(())
        })
        .await;
        bring_back(mill, nodes, &leader).await;
        let left = 2 * ROWS - all_ended(&stays, &both).await.unwrap_or_default();
        println!("  started both again; {left} rows were left to end");
        assert!(left >= LEFT, "they came back when there was nothing to do any more");
        office.slow(false);
    }
    let ends = until("both uploads to end", async || all_over(&stays, &both).await.then_some(()));
    // What there is, is told in any case.
    let in_time = std::panic::AssertUnwindSafe(ends).catch_unwind().await.is_ok();
    let took = begun.elapsed();
    let counted = Count::of(database, &stays, &both, office).await;
    println!("  {counted}; {:.1} s", took.as_secs_f64());
    assert!(in_time, "rows have no outcome, and nothing moves");
    counted.check(2 * ROWS);
    if killed == Killed::StayDead {
        bring_back(mill, nodes, &leader).await;
    }
    until("the queue to be on all nodes, and empty", async || {
        let queue = nodes.queue(QUEUE).await;
        let stats = stays.queue_stats(QUEUE).await.ok()?;
        (queue.online.len() == 3 && stats.num_undelivered_messages == 0).then_some(())
    })
    .await;
    println!("  `{QUEUE}` is empty, and its three members are in line");
}

async fn upload(server: &Client, workbook: &Path) -> Uuid {
    let sent = Arc::default();
    server.upload(workbook, &UploadOptions::default(), &sent).await.unwrap().id
}

/// How many of an upload's messages have their outcome.
fn ended(upload: &Upload) -> u64 {
    let counts = upload.counts;
    counts.done + counts.dead + counts.expired + counts.cancelled
}

async fn all_over(server: &Client, uploads: &[Uuid]) -> bool {
    for upload in uploads {
        match server.upload_status(*upload).await {
            Ok(upload) if upload.status == UploadStatus::Ended => {}
            _ => return false,
        }
    }
    true
}

async fn all_ended(server: &Client, uploads: &[Uuid]) -> Option<u64> {
    let mut sum = 0;
    for upload in uploads {
        sum += ended(&server.upload_status(*upload).await.ok()?);
    }
    Some(sum)
}

async fn bring_back(mill: &mut Mill, nodes: &Nodes, node: &str) {
    nodes.run(node, "start");
    mill.start_server(1).await;
}

/// Looks until there is an answer.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = look().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
