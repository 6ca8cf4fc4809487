//! PostgreSQL is stopped and started in the middle of ingestion and of consumption: both go on by
//! themselves, and every row has exactly one outcome.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/process.rs"]
mod process;
mod support;

use std::time::Duration;

use cluster::Cluster;
use process::{Process, Server, http};
use rowmill::store::control::{Upload, UploadState};
use rowmill::store::log::{OutcomeKind, PageAfter, Standing};
use rowmill::store::{Store, StoreOptions};
use support::TestDatabase;
use tokio::time::{Instant, sleep};

const ROWS: u32 = 50_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks again while the database is away.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "waited too long for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

struct Scene {
    store: Store,
    upload: Upload,
}

impl Scene {
    async fn standing(&self) -> Option<Standing> {
        self.store.log.standing(self.upload.id).await.ok()
    }

    async fn state(&self) -> Option<UploadState> {
        self.store.control.upload(self.upload.id).await.ok().map(|upload| upload.state)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_stopped_and_started_and_both_go_on() {
    let (cluster, url) = Cluster::start("outage");
    let database = TestDatabase::on_server(&url).await;
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), database.url(), &["--lease", "2s"]).await;
    let options = StoreOptions { wait: Duration::from_secs(1), ..StoreOptions::default() };
    let store = database.open_by(&options).await;
    let mut csv = String::from("number\n");
    (1..=ROWS).for_each(|n| csv.push_str(&format!("{n}\n")));
    let part = reqwest::multipart::Part::bytes(csv.into_bytes()).file_name("rows.csv");
    let form = reqwest::multipart::Form::new().part("files", part);
    let upload = format!("{}/file/upload", server.url);
    let answer = http().post(upload).multipart(form).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let answer: serde_json::Value = answer.json().await.unwrap();
    let id = answer["data"][0]["id"].as_str().unwrap().parse().unwrap();
    let upload = store.control.upload_by_public_id(id).await.unwrap().unwrap();
    let scene = Scene { store, upload };

    let reading = async || scene.standing().await.filter(|now| now.messages > 2_000);
    until("the first rows", reading).await;
    cluster.run("stop");
    assert!(scene.standing().await.is_none(), "the database is away");
    cluster.run("start");
    let before = until("the database", async || scene.state().await).await;
    let published = async || scene.state().await.filter(|now| *now == UploadState::Published);
    until("the upload to be published", published).await;
    assert_eq!(before, UploadState::Ingesting, "it was stopped in the middle");

    let api = ["work", "--queue", "rows", "--api-url", &server.url, "--sleep", "1ms"];
    let direct = ["work", "--queue", "rows", "--database-url", database.url(), "--sleep", "1ms"];
    let _workers = [Process::start(home.path(), &api), Process::start(home.path(), &direct)];
    let working = async || scene.standing().await.filter(|now| now.ended.done > 2_000);
    until("the first outcomes", working).await;
    cluster.run("stop");
    cluster.run("start");
    let before = until("the database", async || scene.standing().await).await;
    assert!(before.ended.done < u64::from(ROWS), "it was stopped in the middle");
    let ended = async || scene.state().await.filter(|now| *now == UploadState::Ended);
    until("the upload to end", ended).await;

    let queue = scene.store.control.queue(&"rows".parse().unwrap()).await.unwrap().unwrap().id;
    let (mut rows, mut after) = (0, PageAfter::default());
    loop {
        let (page, next) = scene.store.log.rows(scene.upload.id, queue, after, 20).await.unwrap();
        for row in page {
            rows += 1;
            assert_eq!(row.row.0, rows + 1, "rows come in order, each once");
            assert_eq!(row.ended.map(|ended| ended.kind), Some(OutcomeKind::Done));
        }
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(rows, ROWS);
    scene.store.close().await;
    drop(database);
}
