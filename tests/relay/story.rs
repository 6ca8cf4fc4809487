//! The real thing: the program itself as server and workers, on a server of each test's own. One story,
//! every engine; an engine's own file says which it is, and what is true of it alone.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use rowmill::store::Store;
use rowmill::store::control::{QueueTerms, Upload, UploadState};
use rowmill::store::log::{Counts, OutcomeKind, OutcomeQuery, Whereabouts};
use serde_json::{Value, json};

use crate::engine_server::OwnServer;
use crate::process::{Process, Server, http};
use crate::support::TestDatabase;

/// How long a wait for the next event may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(180);

/// An engine, as far as the story has to know it.
pub(crate) struct Engine {
    /// What starts a server of it: `tests/SCRIPT`.
    pub(crate) script: &'static str,
    /// Rows of the longer story.
    pub(crate) rows: u32,
    /// Whether waiting messages can be looked at.
    pub(crate) peeks: bool,
}

/// Plays the story on an engine.
macro_rules! played {
    ($engine:expr) => {
        #[tokio::test]
        async fn an_upload_lives() {
            $crate::story::an_upload_lives($engine).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn a_server_and_a_worker_are_killed_and_every_row_has_one_outcome() {
            $crate::story::a_server_and_a_worker_are_killed($engine).await;
        }
    };
}

pub(crate) use played;

async fn send(url: &str, rows: u32, how: &str) -> uuid::Uuid {
    let mut csv = String::from("number,data\n");
    (1..=rows).for_each(|n| csv.push_str(&format!("{n},item {n}\n")));
    let part = reqwest::multipart::Part::bytes(csv.into_bytes()).file_name("rows.csv");
    let form = reqwest::multipart::Form::new().part("files", part);
    let answer = http().post(format!("{url}/file/upload{how}")).multipart(form).send();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let answer: Value = answer.json().await.unwrap();
    answer["data"][0]["id"].as_str().unwrap().parse().unwrap()
}

async fn until<T>(what: &str, mut reached: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(reached) = reached().await {
            return reached;
        }
        assert!(Instant::now() < until, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An upload, once it is in this state.
async fn upload_as(store: &Store, id: uuid::Uuid, state: UploadState) -> Upload {
    until(&format!("{state:?}"), async || {
        let upload = store.control.upload_by_public_id(id).await.unwrap().unwrap();
        (upload.state == state).then_some(upload)
    })
    .await
}

async fn get(url: String) -> (StatusCode, Value) {
    let answer = http().get(url).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

/// Receives `n` messages, in as many requests as it needs.
async fn receive(server: &Server, n: usize) -> Vec<Value> {
    let url = format!("{}/queues/rows/messages?limit=100&wait=10", server.url);
    let (mut all, until) = (vec![], Instant::now() + PATIENCE);
    while all.len() < n {
        let (status, answer) = get(url.clone()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        all.extend(answer["data"].as_array().unwrap().iter().cloned());
        assert!(Instant::now() < until, "{} of {n} came", all.len());
    }
    assert_eq!(all.len(), n);
    all
}

async fn settle(server: &Server, what: Value) -> Value {
    let url = format!("{}/queues/rows/settle", server.url);
    let answer = http().post(url).json(&what).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.json().await.unwrap()
}

fn ack(delivery: &Value) -> Value {
    json!({ "receipt": delivery["receipt"], "output": delivery["data"]["number"] })
}

async fn outcomes(store: &Store) -> Vec<(u32, OutcomeKind)> {
    let rows = store.control.queue(&"rows".parse().unwrap()).await.unwrap().unwrap().id;
    let mut query = OutcomeQuery { queue: Some(rows), ..OutcomeQuery::default() };
    let mut all = vec![];
    loop {
        let (found, next) = store.log.outcomes(query, 1_000).await.unwrap();
        for found in found {
            let Whereabouts::Ended(ended) = found.at else { panic!("{found:?}") };
            all.push((found.row.unwrap().0, ended.kind));
        }
        match next {
            Some(after) => query.after = Some(after),
            None => return all,
        }
    }
}

/// One upload's life over HTTP: published, acked, tried again until it is dead, and redriven.
pub(crate) async fn an_upload_lives(engine: Engine) {
    let (_engine, url) = OwnServer::start(engine.script);
    let home = tempfile::tempdir().unwrap();
    let database = TestDatabase::sqlite();
    let options = ["--broker-url", &url, "--read-limit", "rows=40"];
    let server = Server::start(home.path(), database.url(), &options).await;
    let store = database.open(2).await;

    // Its fault is after its first rows: not one of them is published.
    let bad = send(&server.url, 60, "").await;
    upload_as(&store, bad, UploadState::Failed).await;
    let stats = format!("{}/queues/rows/stats", server.url);
    assert_eq!(get(stats.clone()).await.1["num_undelivered_messages"], 0);

    let id = send(&server.url, 30, "").await;
    upload_as(&store, id, UploadState::Published).await;
    let counted = async |name: &str, n: u64| {
        // Engines count a little behind what they do.
        until(name, async || (get(stats.clone()).await.1[name] == n).then_some(())).await
    };
    counted("num_undelivered_messages", 30).await;
    let (status, peeked) = get(format!("{}/queues/rows/messages/peek?limit=1", server.url)).await;
    match engine.peeks {
        true => assert_eq!((status, &peeked["data"][0]["row"]), (StatusCode::OK, &json!(2))),
        false => assert_eq!(status, StatusCode::NOT_IMPLEMENTED),
    }

    let mut all = receive(&server, 30).await;
    // Not every engine keeps an order.
    all.sort_by_key(|delivery| delivery["row"].as_u64());
    assert_eq!(all[0]["data"], json!({ "number": "1", "data": "item 1" }));
    assert_eq!((&all[0]["row"], &all[0]["filename"]), (&json!(2), &json!("rows.csv")));
    let acks: Vec<Value> = all[2..].iter().map(ack).collect();
    let reject = json!({ "receipt": all[1]["receipt"], "reason": "never" });
    let nack = |delivery: &Value| json!([{ "receipt": delivery["receipt"], "reason": "not yet", "delay_seconds": 0 }]);
    let settled =
        settle(&server, json!({ "acks": acks, "rejects": [reject], "nacks": nack(&all[0]) })).await;
    assert_eq!(
        (&settled["done"], &settled["dead"], &settled["again"]),
        (&json!(28), &json!(1), &json!(1))
    );
    for attempt in 2..=5 {
        let again = receive(&server, 1).await;
        assert_eq!(again[0]["delivery_attempts"], attempt);
        let settled = settle(&server, json!({ "nacks": nack(&again[0]) })).await;
        assert_eq!(settled["dead"], u8::from(attempt == 5));
    }
    let upload = upload_as(&store, id, UploadState::Ended).await;
    let ended = store.log.standing(upload.id).await.unwrap().ended;
    assert_eq!(ended, Counts { done: 28, dead: 2, ..Counts::default() });
    counted("num_dead_messages", 2).await;

    let one = all[0]["id"].as_str().unwrap();
    let (status, result) = get(format!("{}/results/{one}", server.url)).await;
    assert_eq!(
        (status, &result["status"], &result["error"]),
        (StatusCode::OK, &json!("dead"), &json!("not yet"))
    );
    let (status, problem) = get(format!("{}/messages/{one}", server.url)).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
    assert_eq!(problem["type"], "/problems/unsupported");

    let redrive = http().put(format!("{}/queues/rows-dead/redrive", server.url));
    let redrive = redrive.json(&json!({ "destination_queue_id": "rows" })).send().await.unwrap();
    assert_eq!(redrive.status(), StatusCode::NO_CONTENT);
    let again = receive(&server, 2).await;
    assert_eq!(again[0]["delivery_attempts"], 1);
    let acks: Vec<Value> = again.iter().map(ack).collect();
    assert_eq!(settle(&server, json!({ "acks": acks })).await["done"], 2);
    let kinds: Vec<OutcomeKind> = outcomes(&store).await.into_iter().map(|one| one.1).collect();
    assert_eq!(kinds, vec![OutcomeKind::Done; 30]);
}

/// What a killed worker held comes again after this.
async fn shorten_the_deadline(store: &Store) {
    let control = &store.control;
    let rows = control.queue_record(&"rows".parse().unwrap()).await.unwrap().unwrap();
    // Not every engine can change more of a queue.
    let deadline = Duration::from_secs(3);
    let terms = QueueTerms { deadline, max_deliveries: Some(100), ..rows.terms };
    control.replace_queue(&rows.name, &terms).await.unwrap();
}

/// The server is killed while it publishes and while it is worked from, a worker too: rows are sent
/// twice and delivered twice, and each has one outcome.
pub(crate) async fn a_server_and_a_worker_are_killed(engine: Engine) {
    let (_engine, url) = OwnServer::start(engine.script);
    let home = tempfile::tempdir().unwrap();
    let database = TestDatabase::postgres().await;
    let options = ["--lease", "1s", "--spool", "spool", "--broker-url", &url];
    let mut server = Server::start(home.path(), database.url(), &options).await;
    let store = database.open(4).await;
    shorten_the_deadline(&store).await;
    let id = send(&server.url, engine.rows, "?stream=true").await;
    let upload = store.control.upload_by_public_id(id).await.unwrap().unwrap();
    let standing = async || store.log.standing(upload.id).await.unwrap();
    let published = async |n: u64| {
        until("rows to be published", async || (standing().await.messages >= n).then_some(())).await
    };
    let done = async |n: u32| {
        let reached = async || (standing().await.ended.done >= u64::from(n)).then_some(());
        until("rows to be done", reached).await
    };

    published(1).await;
    server.restart();
    server.ready().await;
    let mut workers = [
        worker(home.path(), &["--database-url", database.url(), "--broker-url", &url]),
        worker(home.path(), &["--database-url", database.url(), "--broker-url", &url]),
        worker(home.path(), &["--api-url", &server.url]),
    ];
    done(engine.rows / 4).await;
    workers[0].kill();
    done(engine.rows / 2).await;
    server.restart();
    server.ready().await;
    let ended = upload_as(&store, id, UploadState::Ended).await;
    assert!(ended.epoch > 1, "the upload was published before the server was killed");

    let standing = standing().await;
    let all = u64::from(engine.rows);
    assert_eq!((standing.messages, standing.copies), (all, all));
    assert_eq!(standing.ended, Counts { done: all, ..Counts::default() });
    let outcomes = outcomes(&store).await;
    let rows: HashSet<u32> = outcomes.iter().map(|(row, _)| *row).collect();
    assert_eq!((outcomes.len(), rows.len()), (engine.rows as usize, engine.rows as usize));
    // What is left in the engine are second copies, and they are acked when they are taken.
    until("the queue to be empty", async || {
        let stats = get(format!("{}/queues/rows/stats", server.url)).await.1;
        let left = ["num_undelivered_messages", "num_in_flight_messages"];
        left.iter().all(|name| stats[name] == 0).then_some(())
    })
    .await;
    assert_eq!(store.log.standing(upload.id).await.unwrap().ended.done, all);
}

fn worker(home: &Path, place: &[&str]) -> Process {
    let work = ["work", "--queue", "rows", "--sleep", "1ms", "--batch-size", "50"];
    Process::start(home, &[&work[..], place].concat())
}
