//! The story on Redis, and a queue there that is full.

use reqwest::StatusCode;
use serde_json::json;

use crate::engine_server::OwnServer;
use crate::process::{Server, http};
use crate::story::Engine;
use crate::support::TestDatabase;

crate::story::played!(Engine { script: "redis", rows: 20_000, peeks: true });

/// Where a queue may hold no more, a publish waits as long as it is told, and is told to come again.
#[tokio::test]
async fn a_full_queue_is_said_and_passes() {
    let (_redis, url) = OwnServer::start("redis");
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mill.toml");
    std::fs::write(&file, "[redis]\ncapacity = 2\nfull_wait = '0s'\n").unwrap();
    let database = TestDatabase::sqlite();
    let options = ["--broker-url", &url, "--config", file.to_str().unwrap()];
    let server = Server::start(home.path(), database.url(), &options).await;
    let publish = async |n: usize| {
        let messages: Vec<_> = (0..n).map(|n| json!({ "data": { "n": n } })).collect();
        let request = http().post(format!("{}/topics/rows/messages", server.url));
        request.json(&json!({ "messages": messages })).send().await.unwrap()
    };
    assert_eq!(publish(2).await.status(), StatusCode::CREATED);
    let full = publish(1).await;
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(full.headers()["retry-after"], "1");
    assert_eq!(full.headers()["content-type"], "application/problem+json");
    let problem: serde_json::Value = full.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/unavailable");
    assert_eq!(problem["detail"], "the queue `rows` is full");

    let url = format!("{}/queues/rows", server.url);
    let received = http().get(format!("{url}/messages?limit=1&wait=10")).send().await.unwrap();
    let received: serde_json::Value = received.json().await.unwrap();
    let receipt = &received["data"][0]["receipt"];
    // One in somebody's hands has its place still.
    assert_eq!(publish(1).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let acks = json!({ "acks": [{ "receipt": receipt }] });
    let acked = http().post(format!("{url}/settle")).json(&acks).send().await.unwrap();
    assert_eq!(acked.status(), StatusCode::OK);
    assert_eq!(publish(1).await.status(), StatusCode::CREATED);
}
