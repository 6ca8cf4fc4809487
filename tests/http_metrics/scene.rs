//! A server of a test's own, and what the tests ask of it.

use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::scrape::Scrape;
use crate::server::{TestServer, client};
use crate::support::TestDatabase;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    pub(crate) server: TestServer,
    pub(crate) client: reqwest::Client,
    pub(crate) database: TestDatabase,
}

impl Scene {
    /// With settings, as the environment says them. Nothing is kept between scrapes unless told.
    pub(crate) async fn with(database: TestDatabase, settings: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = TestServer::command(&home);
        command
            .args(["--listen", "127.0.0.1:0", "--database-url", database.url()])
            .env("ROWMILL__HTTP__OBSERVE__FRESH", "0s")
            .envs(settings.iter().copied());
        Self { server: TestServer::run(command, home).await, client: client(), database }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.client.get(self.server.url(path)).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn text(&self) -> String {
        let response = self.client.get(self.server.url("/metrics")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.text().await.unwrap()
    }

    pub(crate) async fn scrape(&self) -> Scrape {
        Scrape::parse(&self.text().await)
    }

    /// Uploads a file and waits until it is published; answers its id.
    pub(crate) async fn upload(&self, name: &str, csv: &str) -> String {
        let part = Part::bytes(csv.as_bytes().to_vec()).file_name(name.to_owned());
        let url = self.server.url("/file/upload?wait=true");
        let form = Form::new().part("files", part);
        let response = self.client.post(url).multipart(form).send().await.unwrap();
        assert_eq!(response.status(), 202);
        let answer: Value = response.json().await.unwrap();
        answer["data"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Publishes so many messages to `rows`.
    pub(crate) async fn publish(&self, n: usize) {
        let messages = vec![json!({"data": {"n": 1}}); n];
        let url = self.server.url("/topics/rows/messages");
        let body = json!({"messages": messages});
        let response = self.client.post(url).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 201);
    }

    /// Asks again and again until something is so.
    pub(crate) async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        let asked = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(answer) = ask().await {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        asked.await.unwrap_or_else(|_| panic!("it never came to this: {what}"))
    }
}
