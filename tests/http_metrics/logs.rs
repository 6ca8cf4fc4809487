//! The log as JSON: every line of it, through an upload's life.

use std::process::Stdio;
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;

use crate::scene::PATIENCE;
use crate::server::{TestServer, client};
use crate::support::TestDatabase;

/// A server whose every line on stderr has to be a JSON object.
struct Logged {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    all: Vec<Value>,
}

impl Logged {
    fn start(database: &TestDatabase, home: &tempfile::TempDir) -> Self {
        let mut command = TestServer::command(home);
        command.args(["--listen", "127.0.0.1:0", "--database-url", database.url()]);
        command.args(["--log-format", "json"]).env("ROWMILL_LOG", "info");
        let command = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, all: vec![] }
    }

    /// Reads on until a line fits.
    async fn until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("never logged: {what}")).unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended without {what}: {:#?}", self.all));
            let value: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(value["level"].is_string() && value["timestamp"].is_string(), "{line}");
            self.all.push(value.clone());
            if fits(&value) {
                return value;
            }
        }
    }

    async fn step(&mut self, step: &str) -> Value {
        self.until(step, |line| line["step"] == step).await
    }

    /// The lines so far of one upload.
    fn of(&self, id: &str) -> Vec<&Value> {
        self.all.iter().filter(|line| line.to_string().contains(id)).collect()
    }
}

async fn send(url: &str, name: &str, csv: &str, request_id: &str) -> Value {
    let part = Part::bytes(csv.as_bytes().to_vec()).file_name(name.to_owned());
    let form = Form::new().part("files", part);
    let url = format!("{url}/file/upload?wait=true");
    let request = client().post(url).header("x-request-id", request_id).multipart(form);
    request.send().await.unwrap().json().await.unwrap()
}

/// What the spans round a line say of something.
fn spanned<'a>(line: &'a Value, span: &str, field: &str) -> &'a Value {
    let spans = line["spans"].as_array().unwrap_or_else(|| panic!("no spans: {line}"));
    let found = spans.iter().find(|one| one["name"] == span);
    &found.unwrap_or_else(|| panic!("no span {span}: {line}"))[field]
}

async fn an_upload_is_followed_from_its_receipt_to_its_end(database: TestDatabase) {
    let home = tempfile::tempdir().unwrap();
    let mut log = Logged::start(&database, &home);
    let listening = "listening on ";
    let line = log
        .until(listening, |line| {
            line["message"].as_str().is_some_and(|text| text.starts_with(listening))
        })
        .await;
    let url = line["message"].as_str().unwrap().strip_prefix(listening).unwrap().to_owned();

    let answer = send(&url, "orders.csv", "name\nprivate-1\nprivate-2\n", "walk-1").await;
    let id = answer["data"][0]["id"].as_str().unwrap().to_owned();
    let mut steps = vec![];
    for step in ["received", "read", "published", "released"] {
        let line = log.step(step).await;
        assert_eq!(spanned(&line, "upload", "upload"), id.as_str(), "{line}");
        assert_eq!(spanned(&line, "upload", "filename"), "orders.csv");
        assert_eq!(spanned(&line, "upload", "topic"), "rows");
        assert_eq!(spanned(&line, "request", "request_id"), "walk-1");
        assert_eq!(line["level"], "INFO");
        steps.push(line);
    }
    assert_eq!(steps[0]["bytes"], json!(25));
    assert_eq!((&steps[1]["rows"], &steps[1]["rejected"]), (&json!(2), &json!(0)));
    assert_eq!((&steps[2]["rows"], &steps[3]["rows"]), (&json!(2), &json!(2)));

    let queue = format!("{url}/queues/rows/messages?limit=10&wait=10");
    let received: Value = client().get(queue).send().await.unwrap().json().await.unwrap();
    let deliveries = received["data"].as_array().unwrap();
    let acks: Vec<Value> =
        deliveries.iter().map(|one| json!({"receipt": one["receipt"]})).collect();
    assert_eq!(acks.len(), 2);
    let settle = format!("{url}/queues/rows/settle");
    let settled = client().post(settle).json(&json!({"acks": acks})).send().await.unwrap();
    assert_eq!(settled.status(), 200);
    let ended = log.step("ended").await;
    assert_eq!((&ended["upload"], &ended["filename"]), (&json!(id), &json!("orders.csv")));

    // What is refused is told of without what the file says.
    let answer = send(&url, "empty.csv", "private-header\n", "walk-2").await;
    assert_eq!(answer["status"], 422, "{answer}");
    log.step("refused").await;
    for step in ["received", "read", "published", "released", "ended"] {
        let lines = log.of(&id);
        let told = lines.iter().filter(|line| line["step"] == step).count();
        assert_eq!(told, 1, "{step}: {lines:#?}");
    }

    let pid = log.child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    log.until("the stop", |line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("stopping"))
    })
    .await;
    let rest = async {
        while let Some(line) = log.lines.next_line().await.unwrap() {
            log.all.push(serde_json::from_str(&line).unwrap());
        }
    };
    timeout(Duration::from_secs(30), rest).await.expect("the server never ended");
    for line in &log.all {
        assert!(!line.to_string().contains("private"), "{line}");
    }
}

on_both!(an_upload_is_followed_from_its_receipt_to_its_end);
