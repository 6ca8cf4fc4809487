//! The calls that the tests make, on a server of their own.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::server::{TestServer, client};
use crate::support::TestDatabase;

/// A server and a client of it.
pub(crate) struct Api {
    pub(crate) server: TestServer,
    pub(crate) client: reqwest::Client,
    _database: TestDatabase,
}

/// What was answered: the status, and the body as JSON.
pub(crate) type Answer = (u16, Value);

impl Api {
    pub(crate) async fn on(database: TestDatabase) -> Self {
        Self {
            server: TestServer::start(database.url()).await,
            client: client(),
            _database: database,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.server.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// Publishes `{"n": 1}`, `{"n": 2}`, … to `rows` and answers their ids there.
    pub(crate) async fn publish(&self, n: usize) -> Vec<String> {
        let messages: Vec<Value> = (1..=n).map(|n| json!({"data": {"n": n}})).collect();
        let (status, answer) =
            self.post("/topics/rows/messages", &json!({"messages": messages})).await;
        assert_eq!(status, 201, "{answer}");
        let ids = answer["messages"].as_array().unwrap().iter();
        ids.map(|message| message["ids"][0].as_str().unwrap().to_owned()).collect()
    }

    /// Receives up to `limit`, all that is there now.
    pub(crate) async fn receive(&self, queue: &str, limit: usize) -> Vec<Value> {
        let (status, answer) = self.get(&format!("/queues/{queue}/messages?limit={limit}")).await;
        assert_eq!(status, 200, "{answer}");
        answer["data"].as_array().unwrap().clone()
    }

    /// Receives until there are so many. What is asked for may come in several parts.
    pub(crate) async fn receive_all(&self, queue: &str, n: usize) -> Vec<Value> {
        let mut all = vec![];
        while all.len() < n {
            let path = format!("/queues/{queue}/messages?limit={}&wait=20", n - all.len());
            let (status, answer) = self.get(&path).await;
            assert_eq!(status, 200, "{answer}");
            let data = answer["data"].as_array().unwrap();
            assert!(!data.is_empty(), "{} came, and no more", all.len());
            all.extend(data.iter().cloned());
        }
        all
    }

    pub(crate) async fn settle(&self, body: Value) -> Value {
        let (status, answer) = self.post("/queues/rows/settle", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

/// Sends a request. A refusal has to be a problem document that says its own status.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    if status >= 400 {
        assert_eq!(kind, "application/problem+json");
        assert_eq!(body["status"], status, "{body}");
        for field in ["type", "title", "detail"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        }
    }
    (status, body)
}
