//! The story on RabbitMQ, and what is true of it alone.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::engine_server::OwnServer;
use crate::process::{Server, http};
use crate::story::Engine;
use crate::support::TestDatabase;

crate::story::played!(Engine { script: "rabbitmq", rows: 20_000, peeks: false });

async fn asked(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn what_rabbitmq_refuses_of_a_queue_changes_nothing() {
    let (_engine, url) = OwnServer::start("rabbitmq");
    let home = tempfile::tempdir().unwrap();
    let database = TestDatabase::sqlite();
    let server = Server::start(home.path(), database.url(), &["--broker-url", &url]).await;
    let queues = format!("{}/queues", server.url);
    let queue = format!("{queues}/own");
    let (status, dead) = asked(http().post(&queues).json(&json!({ "id": "own-dead" }))).await;
    assert_eq!(status, StatusCode::CREATED, "{dead}");
    let terms = json!({ "topic_id": "rows", "dead_queue_id": "own-dead" });
    let mut new = terms.clone();
    new["id"] = json!("own");
    let (status, made) = asked(http().post(&queues).json(&new)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    for retention in [3_600, 86_400] {
        let mut changed = terms.clone();
        changed["message_retention_seconds"] = json!(retention);
        let (status, problem) = asked(http().put(&queue).json(&changed)).await;
        assert_eq!(status, StatusCode::NOT_IMPLEMENTED, "{problem}");
        assert_eq!(asked(http().get(&queue)).await.1, made);
    }
    // What is no business of the server's may change.
    let mut changed = terms.clone();
    changed["ack_deadline_seconds"] = json!(60);
    let (status, is) = asked(http().put(&queue).json(&changed)).await;
    assert_eq!((status, &is["ack_deadline_seconds"]), (StatusCode::OK, &json!(60)));
    let (status, _) = asked(http().put(format!("{queues}/none")).json(&terms)).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    // It is a good queue as ever.
    let sent = json!({ "messages": [{ "data": { "n": 1 } }] });
    let (status, said) =
        asked(http().post(format!("{}/topics/rows/messages", server.url)).json(&sent)).await;
    assert!(status.is_success(), "{said}");
    let (status, came) = asked(http().get(format!("{queue}/messages?limit=1&wait=10"))).await;
    assert_eq!((status, &came["data"][0]["data"]["n"]), (StatusCode::OK, &json!(1)), "{came}");
}
