//! schemathesis asks a running server whatever its description allows, and what it does not: every
//! answer must be one that is described, and none a 5xx.
//!
//! What it cannot ask is left out below, each with its reason; which checks cannot hold for an
//! operation is in `schemathesis.toml`. What fails is told with a request to repeat it by hand.

use reqwest::multipart::{Form, Part};
use rowmill::http::openapi;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::python;
use crate::server::{TestServer, client};
use crate::support::TestDatabase;

/// Paths that are not asked, as a regular expression.
const LEFT_OUT: &str = concat!(
    // Streams of events go on until what they tell of is over; a client that reads answers whole
    // would wait for that. Their own tests read them.
    "/events$",
    // A WebSocket is asked for by headers that no description of HTTP names.
    "|/ws$",
);

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_described_on_sqlite() {
    answers_are_described(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_described_on_postgres() {
    answers_are_described(TestDatabase::postgres().await).await;
}

async fn answers_are_described(database: TestDatabase) {
    let server = TestServer::start(database.url()).await;
    let key = key(&database).await;
    Seed { server: &server, client: client(), key: &key }.sow().await;
    let scratch = tempfile::tempdir().unwrap();
    let mut st = python::program("st").await;
    st.current_dir(scratch.path())
        .arg("--config-file")
        .arg(python::file("tests/documented/schemathesis.toml"))
        .args(["run", &server.url("/openapi.json"), "--no-color"])
        .args(["--exclude-path-regex", LEFT_OUT])
        .args(["--header", &format!("Authorization: Bearer {key}")]);
    let said = python::run(st).await;
    // It would be as content with a server of which it reached nothing.
    let tested = format!("Tested: {}\n", asked());
    assert!(said.contains(&tested), "not {tested}{said}");
}

/// How many operations are described and not left out.
fn asked() -> usize {
    let document = serde_json::to_value(openapi::document()).unwrap();
    // The document that it reads the operations from is not asked again.
    let left_out =
        |path: &str| path.ends_with("/events") || path.ends_with("/ws") || path == "/openapi.json";
    let paths = document["paths"].as_object().unwrap();
    let asked = paths.iter().filter(|(path, _)| !left_out(path));
    let methods = ["get", "put", "post", "delete", "patch"];
    asked.map(|(_, item)| methods.iter().filter(|method| item.get(method).is_some()).count()).sum()
}

/// A key that may do everything.
async fn key(database: &TestDatabase) -> String {
    let mut add = Command::new(env!("CARGO_BIN_EXE_rowmill"));
    add.args(["key", "add", "schemathesis", "--scope", "admin", "--database-url", database.url()]);
    let made = add.output().await.unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// What is there before the first question, so that there is something to be found, taken, ended.
struct Seed<'a> {
    server: &'a TestServer,
    client: reqwest::Client,
    key: &'a str,
}

impl Seed<'_> {
    async fn sow(&self) {
        for n in 1..=20 {
            let csv = format!("id,country\n{n},DE\n{n},FR\n");
            let name = format!("orders-{n}.csv");
            let form = || {
                Form::new()
                    .part("files", Part::bytes(csv.clone().into_bytes()).file_name(name.clone()))
            };
            let request =
                self.client.post(self.server.url("/file/upload?wait=true&attributes=country"));
            let taken = self.send(request.multipart(form())).await;
            // Some are over, so that they can be deleted.
            if n % 2 == 0 {
                let id = taken["data"][0]["id"].as_str().unwrap();
                self.post(&format!("/uploads/{id}/cancel"), None).await;
            }
        }
        let messages: Vec<Value> =
            (1..=50).map(|n| json!({"data": {"n": n}, "attributes": {"country": "DE"}})).collect();
        self.post("/topics/rows/messages", Some(json!({"messages": messages}))).await;
        // Ends of each kind, and some that stay in hands.
        let taken = self.get("/queues/rows/messages?limit=40").await;
        let receipt = |at: usize| taken["data"][at]["receipt"].clone();
        let ends = json!({
            "acks": (0..10).map(|at| json!({"receipt": receipt(at), "output": {"at": at}})).collect::<Vec<_>>(),
            "nacks": (10..15).map(|at| json!({"receipt": receipt(at), "reason": "no"})).collect::<Vec<_>>(),
            "rejects": (15..20).map(|at| json!({"receipt": receipt(at), "reason": "bad"})).collect::<Vec<_>>(),
        });
        self.post("/queues/rows/settle", Some(ends)).await;
    }

    async fn get(&self, path: &str) -> Value {
        self.send(self.client.get(self.server.url(path))).await
    }

    async fn post(&self, path: &str, body: Option<Value>) -> Value {
        let mut request = self.client.post(self.server.url(path));
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Value {
        let response = request.bearer_auth(self.key).send().await.unwrap();
        let (status, path) = (response.status(), response.url().path().to_owned());
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }
}
