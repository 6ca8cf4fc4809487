//! A server in this process, and the calls that the tests make.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;
use rowmill::api::{Copy, Delivery, NewMessage, NewQueue, QueueTerms};
use rowmill::broker::SqlBroker;
use rowmill::client::{Client, ClientError, ClientLimits};
use rowmill::config::Config;
use rowmill::http::server::{Exposure, Server};
use rowmill::store::Store;
use rowmill::worker::Stop;
use serde_json::Value;
use serde_json::value::to_raw_value;

use crate::support::TestDatabase;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server; it ends when this goes.
pub(crate) struct Api {
    pub(crate) client: Client,
    pub(crate) http: reqwest::Client,
    pub(crate) store: Store,
    pub(crate) url: String,
    stop: Stop,
    _home: tempfile::TempDir,
}

/// What was answered: the status, and the body as JSON, null when there is none.
pub(crate) type Answer = (u16, Value);

impl Api {
    pub(crate) async fn on(database: &TestDatabase) -> Self {
        let store = database.open(6).await;
        let home = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".into();
        config.server.grace = Duration::from_secs(5);
        let exe = env!("CARGO_BIN_EXE_rowmill").into();
        let spool = rowmill::ingest::spool::Spool::directory(home.path().join("spool"));
        let settings = config.server_settings(exe, spool, Exposure::Loopback);
        let stop = Stop::default();
        let carry = |broker: SqlBroker| broker;
        let server = Server::open(store.clone(), carry, settings, stop.clone()).await.unwrap();
        let url = format!("http://{}", server.address());
        tokio::spawn(server.run());
        let limits = ClientLimits { retries: 0, ..ClientLimits::default() };
        let client = Client::new(&url, limits).unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { client, http, store, url, stop, _home: home }
    }

    /// Sends a request with a JSON body. A refusal has to be a problem document of its own status.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await
    }

    /// Makes a topic and a queue of it, of the same name.
    pub(crate) async fn provide(&self, name: &str, terms: QueueTerms) {
        self.client.create_topic(name).await.unwrap();
        self.queue(name, QueueTerms { topic_id: Some(name.into()), ..terms }).await;
    }

    pub(crate) async fn queue(&self, name: &str, terms: QueueTerms) {
        self.client.create_queue(&NewQueue::new(name, terms)).await.unwrap();
    }

    /// Publishes `{"n": n}` with attributes, and answers its copies.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        n: u32,
        attributes: &[(&str, &str)],
    ) -> Vec<Copy> {
        self.client.publish(topic, message(n, attributes), None).await.unwrap()
    }

    /// Publishes `{"n": n}` to a topic with one queue, and answers its id there.
    pub(crate) async fn publish_one(&self, topic: &str, n: u32) -> String {
        let mut copies = self.publish(topic, n, &[]).await;
        assert_eq!(copies.len(), 1);
        copies.remove(0).id
    }

    /// What can be received now.
    pub(crate) async fn receive(&self, queue: &str) -> Vec<Delivery> {
        self.client.receive(queue, 100, Duration::ZERO).await.unwrap()
    }

    /// Waits for one message.
    pub(crate) async fn receive_one(&self, queue: &str) -> Delivery {
        let mut received = self.client.receive(queue, 1, Duration::from_secs(20)).await.unwrap();
        assert_eq!(received.len(), 1, "nothing came");
        received.remove(0)
    }

    /// Asks for something until it is so.
    pub(crate) async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !so().await {
            assert!(begun.elapsed() < PATIENCE, "never so: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.drain.cancel();
        self.stop.now.cancel();
    }
}

pub(crate) fn message(n: u32, attributes: &[(&str, &str)]) -> NewMessage {
    let attributes: BTreeMap<String, String> =
        attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    NewMessage { data: to_raw_value(&serde_json::json!({"n": n})).unwrap(), attributes }
}

/// The status of a refusal.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> u16 {
    answer.unwrap_err().status().unwrap()
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").cloned();
    let text = response.text().await.unwrap();
    if text.is_empty() {
        assert_eq!(status, 204);
        return (status, Value::Null);
    }
    let body: Value = serde_json::from_str(&text).unwrap();
    if status >= 400 {
        assert_eq!(kind.unwrap(), "application/problem+json");
        assert_eq!(body["status"], status, "{body}");
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    }
    (status, body)
}
