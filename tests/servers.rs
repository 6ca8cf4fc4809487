//! Two servers and three workers, real processes on one PostgreSQL, killed again and again: in the
//! end every row has exactly one outcome, and no row was worked on after its outcome was recorded.
//!
//! The witness is a web server of the test, outside of everything: the workers' handler posts each
//! message to it, and it notes the row and the time in a file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "support/process.rs"]
mod process;
mod support;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::routing::post;
use process::{Process, Server, http};
use rowmill::store::Store;
use rowmill::store::control::{NewQueue, Upload, UploadState};
use rowmill::store::log::{OutcomeKind, PageAfter, Standing};
use support::TestDatabase;
use tokio::time::{Instant, sleep};

const ROWS: u32 = 100_000;
const KILLS: u64 = 10;
/// How long a wait for the next event may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(180);

/// Notes every message that a handler was run for: the row, and when in milliseconds.
struct Witness {
    url: String,
    file: std::path::PathBuf,
}

impl Witness {
    async fn start(home: &Path) -> Self {
        let path = home.join("witness");
        let file = Arc::new(Mutex::new(std::fs::File::create(&path).unwrap()));
        let note = move |Json(message): Json<serde_json::Value>| {
            let file = Arc::clone(&file);
            async move {
                // The file is a csv, whose cells are text.
                let number: u32 = message["data"]["number"].as_str().unwrap().parse().unwrap();
                let line = format!("{number} {}\n", now_ms());
                file.lock().unwrap().write_all(line.as_bytes()).unwrap();
                Json(serde_json::json!({ "number": number }))
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/note", listener.local_addr().unwrap());
        let app = axum::Router::new().route("/note", post(note));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, file: path }
    }

    /// The times at which each row was worked on.
    fn notes(&self) -> HashMap<u32, Vec<i64>> {
        let mut notes: HashMap<u32, Vec<i64>> = HashMap::new();
        for line in std::fs::read_to_string(&self.file).unwrap().lines() {
            let (number, at) = line.split_once(' ').unwrap();
            notes.entry(number.parse().unwrap()).or_default().push(at.parse().unwrap());
        }
        notes
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

struct Scene {
    store: Store,
    upload: Upload,
}

impl Scene {
    async fn standing(&self) -> Standing {
        self.store.log.standing(self.upload.id).await.unwrap()
    }

    async fn now(&self) -> Upload {
        self.store.control.upload(self.upload.id).await.unwrap()
    }

    async fn until(&self, what: &str, mut reached: impl AsyncFnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !reached(self).await {
            assert!(
                Instant::now() < until,
                "waited too long for {what}: {:?}",
                self.standing().await
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_and_workers_are_killed_and_every_row_has_one_outcome() {
    let home = tempfile::tempdir().unwrap();
    let database = TestDatabase::postgres().await;
    let witness = Witness::start(home.path()).await;
    let options = ["--lease", "1s", "--spool", "spool"];
    let mut servers = [
        Server::start(home.path(), database.url(), &options).await,
        Server::start(home.path(), database.url(), &options).await,
    ];
    let store = database.open(4).await;
    shorten_the_deadline(&store).await;
    let id = send(&servers[0].url).await;
    let upload = store.control.upload_by_public_id(id).await.unwrap().unwrap();
    let scene = Scene { store, upload };

    ingestion(&scene, &mut servers).await;
    consumption(&scene, &servers, home.path(), &witness).await;
    check(&scene, &witness).await;
    for server in &mut servers {
        server.signal("-TERM");
        assert_eq!(server.wait(Duration::from_secs(40)), Some(0));
    }
    scene.store.close().await;
}

/// What a killed worker held comes again after this.
async fn shorten_the_deadline(store: &Store) {
    let control = &store.control;
    let rows = control.queue(&"rows".parse().unwrap()).await.unwrap().unwrap();
    let topic = control.topic(&"rows".parse().unwrap()).await.unwrap();
    let queue = NewQueue {
        topic,
        dead_queue: rows.dead_queue,
        deadline: Duration::from_secs(3),
        max_deliveries: 100,
        ..NewQueue::new("rows".parse().unwrap())
    };
    control.ensure_queue(&queue).await.unwrap();
}

async fn send(url: &str) -> uuid::Uuid {
    let mut csv = String::from("number,data\n");
    (1..=ROWS).for_each(|n| csv.push_str(&format!("{n},item {n}\n")));
    let part = reqwest::multipart::Part::bytes(csv.into_bytes()).file_name("rows.csv");
    let form = reqwest::multipart::Form::new().part("files", part);
    let send = http().post(format!("{url}/file/upload")).multipart(form).send();
    let answer = send.await.unwrap();
    assert_eq!(answer.status(), 202);
    let answer: serde_json::Value = answer.json().await.unwrap();
    answer["data"][0]["id"].as_str().unwrap().parse().unwrap()
}

/// Kills servers while the file is read, and stops one past its lease.
async fn ingestion(scene: &Scene, servers: &mut [Server; 2]) {
    for kill in 0..KILLS {
        let rows = u64::from(ROWS) * kill / (KILLS + 2);
        scene
            .until("rows to be published", async |scene| scene.standing().await.messages >= rows)
            .await;
        let which = fastrand::usize(..2);
        if kill == KILLS / 2 {
            // Neither knows which of them reads: both are stopped in turn, past the lease.
            for server in servers.iter() {
                let epoch = scene.now().await.epoch;
                server.signal("-STOP");
                let other_reads = async |scene: &Scene| {
                    let now = scene.now().await;
                    now.epoch > epoch || now.state != UploadState::Ingesting
                };
                let until = Instant::now() + Duration::from_secs(3);
                while Instant::now() < until && !other_reads(scene).await {
                    sleep(Duration::from_millis(20)).await;
                }
                server.signal("-CONT");
            }
        }
        servers[which].restart();
    }
    let published = async |scene: &Scene| scene.now().await.state == UploadState::Published;
    scene.until("the upload to be published", published).await;
    assert!(scene.now().await.epoch > 1, "nobody ever took the upload over");
    let standing = scene.standing().await;
    assert_eq!((standing.messages, standing.copies), (u64::from(ROWS), u64::from(ROWS)));
    for server in servers {
        server.ready().await;
    }
}

/// Three workers, two by HTTP and one on the database, killed in turn.
async fn consumption(scene: &Scene, servers: &[Server; 2], home: &Path, witness: &Witness) {
    let database = std::env::var("ROWMILL_TEST_POSTGRES_URL").unwrap();
    let (server, _) = database.rsplit_once('/').unwrap();
    let name: String = sqlx::query_scalar("select current_database()")
        .fetch_one(scene.store.postgres_pool().unwrap())
        .await
        .unwrap();
    let direct = format!("{server}/{name}");
    let start = |worker: usize| {
        let source = match worker {
            0 | 1 => ["--api-url", &servers[worker].url],
            _ => ["--database-url", &direct],
        };
        let arguments = ["work", "--queue", "rows", "--batch-size", "50", "--concurrency", "50"];
        let handler = ["--http", &witness.url];
        Process::start(home, &[&arguments[..], &source, &handler].concat())
    };
    let mut workers = [start(0), start(1), start(2)];
    for kill in 1..=KILLS {
        let done = u64::from(ROWS) * kill / (KILLS + 2);
        scene
            .until("rows to be done", async |scene| scene.standing().await.ended.done >= done)
            .await;
        let which = usize::try_from(kill).unwrap() % 3;
        workers[which].kill();
        workers[which] = start(which);
    }
    let ended = async |scene: &Scene| scene.now().await.state == UploadState::Ended;
    scene.until("the upload to end", ended).await;
}

async fn check(scene: &Scene, witness: &Witness) {
    let log = &scene.store.log;
    let queue = scene.store.control.queue(&"rows".parse().unwrap()).await.unwrap().unwrap().id;
    let notes = witness.notes();
    let (mut rows, mut again) = (0, 0);
    let mut after = PageAfter::default();
    loop {
        let (page, next) = log.rows(scene.upload.id, queue, after, 20).await.unwrap();
        for row in page {
            rows += 1;
            // The header is row 1.
            assert_eq!(row.row.0, rows + 1, "rows come in order, each once");
            let ended = row.ended.expect("every row has its outcome");
            assert_eq!(ended.kind, OutcomeKind::Done);
            let noted = &notes[&rows];
            again += noted.len() - 1;
            let late = noted.iter().find(|at| **at > ended.at_ms);
            assert_eq!(late, None, "row {rows} was worked on after it was done at {}", ended.at_ms);
        }
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(rows, ROWS);
    assert_eq!(scene.standing().await.ended.done, u64::from(ROWS));
    eprintln!("{again} rows were worked on more than once");
}
