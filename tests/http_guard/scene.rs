//! A server with keys, and one in this process with limits of the test's own.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response};
use rowmill::broker::SqlBroker;
use rowmill::config::Config;
use rowmill::http::SafetyLimits;
use rowmill::http::server::{Exposure, Server, ServerEnd};
use rowmill::worker::Stop;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::server::{TestServer, client};
use crate::support::TestDatabase;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `rowmill` with these arguments to its end.
pub(crate) async fn rowmill(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rowmill"));
    command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null());
    command.env_remove("DATABASE_URL").env_remove("ROWMILL_API_KEY").kill_on_drop(true);
    // Said once more: what was removed may be what the test sets.
    command.envs(environment.iter().copied());
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it never ended").unwrap()
}

/// What a command says on stderr.
pub(crate) fn error_of(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Makes a key, and answers it.
pub(crate) async fn key(database: &TestDatabase, name: &str, scope: &str) -> String {
    let arguments = ["key", "add", name, "--scope", scope, "--database-url", database.url()];
    let output = rowmill(&arguments, &[]).await;
    assert!(output.status.success(), "{}", error_of(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server of a database that has a key of each scope.
pub(crate) struct Guarded {
    pub(crate) server: TestServer,
    pub(crate) client: reqwest::Client,
    pub(crate) keys: Vec<(&'static str, String)>,
    pub(crate) database: TestDatabase,
}

impl Guarded {
    pub(crate) async fn on(database: TestDatabase) -> Self {
        let mut keys = vec![];
        for scope in ["read", "publish", "consume", "admin"] {
            keys.push((scope, key(&database, &format!("may {scope}"), scope).await));
        }
        let server = TestServer::start(database.url()).await;
        Self { server, client: client(), keys, database }
    }

    /// The key with that scope.
    pub(crate) fn key(&self, scope: &str) -> &str {
        &self.keys.iter().find(|(of, _)| *of == scope).unwrap().1
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.server.url(path))
    }

    pub(crate) async fn get(&self, path: &str, key: &str) -> Response {
        self.request(Method::GET, path).bearer_auth(key).send().await.unwrap()
    }

    /// The cookie of a session that a key begins.
    pub(crate) async fn log_in(&self, key: &str) -> String {
        let body = serde_json::json!({ "key": key });
        let answer = self.request(Method::POST, "/session").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 204);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }
}

/// A refusal's kind: what stands after `/problems/`.
pub(crate) async fn refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    let kind = problem["type"].as_str().unwrap().strip_prefix("/problems/").unwrap();
    (status, kind.to_owned())
}

/// Asks until the answer has this status.
pub(crate) async fn until(status: u16, ask: impl AsyncFn() -> Response) -> Response {
    let begun = Instant::now();
    loop {
        let answer = ask().await;
        if answer.status() == status {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "still {}", answer.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server in this process, on SQLite and without keys.
pub(crate) struct Local {
    pub(crate) address: String,
    pub(crate) client: reqwest::Client,
    stop: Stop,
    running: JoinHandle<ServerEnd>,
    _home: tempfile::TempDir,
    _database: TestDatabase,
}

impl Local {
    pub(crate) async fn with(safety: SafetyLimits) -> Self {
        let database = TestDatabase::sqlite();
        let store = database.open(4).await;
        let home = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".into();
        config.server.grace = PATIENCE;
        config.http.safety = safety;
        let exe = env!("CARGO_BIN_EXE_rowmill").into();
        let spool = rowmill::ingest::spool::Spool::directory(home.path().join("spool"));
        let settings = config.server_settings(exe, spool, Exposure::Loopback);
        let stop = Stop::default();
        let carry = |broker: SqlBroker| broker;
        let server = Server::open(store, carry, settings, stop.clone()).await.unwrap();
        let address = server.address().to_string();
        let running = tokio::spawn(server.run());
        let client = client();
        Self { address, client, stop, running, _home: home, _database: database }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap()
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) async fn drain(self) -> ServerEnd {
        self.stop.drain.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap()
    }
}
