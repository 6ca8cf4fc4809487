//! The end of an upload, told by the real program to a real listener.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::multipart::{Form, Part};
use rowmill::api::{Data, Delivery, Upload, UploadAnswer, UploadStatus, WebhookStatus};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::scene::{PATIENCE, csv};
use crate::server::{TestServer, client};
use crate::support::TestDatabase;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What was told, and how often it was refused before.
#[derive(Debug)]
struct Told {
    id: String,
    body: Value,
}

/// One who is told: it refuses as often as it has answers for that.
struct Listener {
    url: String,
    told: mpsc::UnboundedReceiver<Told>,
}

type Answers = Arc<Mutex<VecDeque<u16>>>;

impl Listener {
    async fn new(refusals: &[u16]) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let answers: Answers = Arc::new(Mutex::new(refusals.iter().copied().collect()));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/told?secret=1", socket.local_addr().unwrap());
        let app = Router::new().route("/told", post(hear)).with_state((sender, answers));
        tokio::spawn(axum::serve(socket, app).into_future());
        Self { url, told }
    }

    async fn next(&mut self) -> Told {
        timeout(PATIENCE, self.told.recv()).await.expect("it was never told").unwrap()
    }
}

async fn hear(
    State((sender, answers)): State<(mpsc::UnboundedSender<Told>, Answers)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let said = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, at) = (said("webhook-id"), said("webhook-timestamp"));
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(&body);
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(said("webhook-signature"), signature);
    assert_eq!(said("content-type"), "application/json");
    sender.send(Told { id, body: serde_json::from_slice(&body).unwrap() }).unwrap();
    let answer = answers.lock().unwrap().pop_front().unwrap_or(204);
    StatusCode::from_u16(answer).unwrap()
}

/// A server that tells, and how often it looks for what is to be told.
async fn server(database: &TestDatabase, home: tempfile::TempDir, look_every: &str) -> TestServer {
    let mut command = TestServer::command(&home);
    command
        .args(["--listen", "127.0.0.1:0", "--database-url", database.url()])
        .env("ROWMILL_WEBHOOK_SECRET", SECRET)
        .env("ROWMILL__HTTP__WEBHOOK__HOSTS", "127.0.0.1")
        .env("ROWMILL__HTTP__WEBHOOK__LOOK_EVERY", look_every)
        .env("ROWMILL__HTTP__WEBHOOK__RETRY__FIRST", "50ms");
    TestServer::run(command, home).await
}

async fn upload(server: &TestServer, query: &str, rows: u32) -> Upload {
    let form = Form::new().part("files", Part::bytes(csv(rows)).file_name("few.csv"));
    let url = server.url(&format!("/file/upload?wait=true&{query}"));
    let answer = client().post(url).multipart(form).send().await.unwrap();
    let answer: Data<UploadAnswer> = answer.error_for_status().unwrap().json().await.unwrap();
    match answer.data.into_iter().next().unwrap() {
        UploadAnswer::Taken(upload) => *upload,
        UploadAnswer::Refused(problem) => panic!("{problem:?}"),
    }
}

async fn refused(server: &TestServer, webhook: &str) -> String {
    let form = Form::new().part("files", Part::bytes(csv(1)).file_name("few.csv"));
    let request = client().post(server.url("/file/upload")).query(&[("webhook", webhook)]);
    let answer = request.multipart(form).send().await.unwrap();
    assert_eq!(answer.status(), 422, "{webhook}");
    let problem: Value = answer.json().await.unwrap();
    problem["detail"].as_str().unwrap().to_owned()
}

/// Receives and acks so many over HTTP.
async fn work(server: &TestServer, rows: usize) {
    let mut left = rows;
    while left > 0 {
        let url = server.url(&format!("/queues/rows/messages?limit={left}&wait=30"));
        let got: Data<Delivery> = client().get(url).send().await.unwrap().json().await.unwrap();
        let acks: Vec<Value> =
            got.data.iter().map(|one| json!({"receipt": one.receipt.to_string()})).collect();
        left -= acks.len();
        let settle = client().post(server.url("/queues/rows/settle")).json(&json!({"acks": acks}));
        settle.send().await.unwrap().error_for_status().unwrap();
    }
}

async fn look(server: &TestServer, upload: &Upload) -> Upload {
    let answer = client().get(server.url(&upload.links.this)).send().await.unwrap();
    answer.error_for_status().unwrap().json().await.unwrap()
}

/// Looks again until something is so.
async fn until(server: &TestServer, upload: &Upload, so: impl Fn(&Upload) -> bool) -> Upload {
    let looked = timeout(PATIENCE, async {
        loop {
            let now = look(server, upload).await;
            if so(&now) {
                return now;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    looked.await.expect("it never came to this")
}

async fn an_end_is_told_until_it_is_taken(database: TestDatabase) {
    let mut listener = Listener::new(&[500, 302]).await;
    let server = server(&database, tempfile::tempdir().unwrap(), "20ms").await;
    let webhook = format!("webhook={}", listener.url.replace('?', "%3F").replace('=', "%3D"));
    let sent = upload(&server, &webhook, 5).await;
    let state = sent.webhook.as_ref().unwrap();
    assert_eq!((state.status, state.attempts), (WebhookStatus::Waiting, 0));
    let host = listener.url.split("/told").next().unwrap();
    assert_eq!(state.host, host, "neither the path nor the query is shown");
    work(&server, 5).await;
    let tries = [listener.next().await, listener.next().await, listener.next().await];
    assert!(tries.iter().all(|told| told.id == tries[0].id), "{tries:?}");
    let body: Upload = serde_json::from_value(tries[2].body.clone()).unwrap();
    assert_eq!((body.id, body.status, body.counts.done), (sent.id, UploadStatus::Ended, 5));
    assert!(body.timings.ended_at.is_some() && body.webhook.is_none());
    let told = |now: &Upload| now.webhook.as_ref().unwrap().status == WebhookStatus::Delivered;
    let state = until(&server, &sent, told).await.webhook.unwrap();
    assert_eq!((state.attempts, state.last_status, state.last_error), (3, Some(204), None));

    // One that is withdrawn ends too, and one who is gone is left alone.
    let mut gone = Listener::new(&[410]).await;
    let webhook = format!("webhook={}", gone.url.replace('?', "%3F").replace('=', "%3D"));
    let sent = upload(&server, &webhook, 5).await;
    let cancel = client().post(server.url(&format!("{}/cancel", sent.links.this)));
    cancel.send().await.unwrap().error_for_status().unwrap();
    assert_eq!(gone.next().await.body["status"], "cancelled");
    let over = |now: &Upload| now.webhook.as_ref().unwrap().status == WebhookStatus::GivenUp;
    let state = until(&server, &sent, over).await.webhook.unwrap();
    assert_eq!((state.attempts, state.last_status), (1, Some(410)));

    for (bad, why) in [
        ("http://127.0.0.2/", "not among the hosts"),
        ("https://example.com/", "not among the hosts"),
        ("ftp://127.0.0.1/", "ftp"),
        ("http://a:b@127.0.0.1/", "password"),
    ] {
        let said = refused(&server, bad).await;
        assert!(said.contains(why), "{bad}: {said}");
    }
}

/// The server that recorded the end dies before it tells; so does its pause survive.
async fn an_end_that_a_dead_server_recorded_is_told(database: TestDatabase) {
    let mut listener = Listener::new(&[]).await;
    let webhook = format!("webhook={}", listener.url.replace('?', "%3F").replace('=', "%3D"));
    let first = server(&database, tempfile::tempdir().unwrap(), "1h").await;
    let sent = upload(&first, &webhook, 5).await;
    let paused = upload(&first, "topic=rows", 3).await;
    let pause = client().post(first.url(&format!("{}/pause", paused.links.this)));
    pause.send().await.unwrap().error_for_status().unwrap();
    work(&first, 5).await;
    until(&first, &sent, |now| now.timings.ended_at.is_some()).await;
    first.signal("-KILL");
    drop(first);
    assert!(listener.told.try_recv().is_err(), "it was told by the first");

    let second = server(&database, tempfile::tempdir().unwrap(), "20ms").await;
    let told = listener.next().await;
    assert_eq!(told.body["id"], sent.id.to_string());
    let now = look(&second, &paused).await;
    assert!(now.paused.is_some() && now.counts.waiting == 3, "{now:?}");
    let url = second.url("/queues/rows/messages?limit=10");
    let got: Data<Delivery> = client().get(url).send().await.unwrap().json().await.unwrap();
    assert!(got.data.is_empty(), "{got:?}");
    let resume = client().post(second.url(&format!("{}/resume", paused.links.this)));
    resume.send().await.unwrap().error_for_status().unwrap();
    work(&second, 3).await;
}

async fn nothing_is_told_to_the_servers_own_network(database: TestDatabase) {
    let home = tempfile::tempdir().unwrap();
    let mut command = TestServer::command(&home);
    command
        .args(["--listen", "127.0.0.1:0", "--database-url", database.url()])
        .env("ROWMILL_WEBHOOK_SECRET", SECRET);
    let server = TestServer::run(command, home).await;
    for bad in
        ["http://127.0.0.1:1/", "http://localhost/", "http://169.254.169.254/", "http://[::1]/"]
    {
        let said = refused(&server, bad).await;
        assert!(said.contains("public"), "{bad}: {said}");
    }
    let unsigned = TestServer::start(database.url()).await;
    assert!(refused(&unsigned, "https://example.com/").await.contains("ROWMILL_WEBHOOK_SECRET"));
}

on_both!(
    an_end_is_told_until_it_is_taken,
    an_end_that_a_dead_server_recorded_is_told,
    nothing_is_told_to_the_servers_own_network,
);
