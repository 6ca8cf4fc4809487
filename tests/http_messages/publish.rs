//! Publishing one, many, and once.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Answer, Api, answer};
use crate::support::TestDatabase;

async fn one_message_is_answered_with_its_copies(database: TestDatabase) {
    let api = Api::on(database).await;
    // The data are kept as they were written, numbers and all.
    let body = r#"{"data": {"price": 1.50, "big": 12345678901234567890123, "a": {"b":  []}}, "attributes": {"kind": "x"}}"#;
    let request = api.request(Method::POST, "/topics/rows/messages");
    let response =
        request.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let text = response.text().await.unwrap();
    let data = r#"{"price": 1.50, "big": 12345678901234567890123, "a": {"b":  []}}"#;
    assert!(text.contains(data), "{text}");
    let published: Value = serde_json::from_str(&text).unwrap();
    let copy = &published["data"][0];
    assert_eq!(published["data"].as_array().unwrap().len(), 1);
    assert_eq!(copy["queue_id"], "rows");
    assert_eq!(copy["attributes"], json!({"kind": "x"}));
    assert_eq!(copy["delivery_attempts"], 0);
    assert_eq!(copy["created_at"], copy["scheduled_at"]);
    let time = |field: &str| humantime::parse_rfc3339(copy[field].as_str().unwrap()).unwrap();
    let kept = time("expired_at").duration_since(time("created_at")).unwrap();
    assert_eq!(kept, Duration::from_secs(14 * 24 * 3600));
    assert!(copy["created_at"].as_str().unwrap().ends_with('Z'));

    let response = api.request(Method::GET, "/queues/rows/messages").send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let text = response.text().await.unwrap();
    assert!(text.contains(data), "{text}");
    let received: Value = serde_json::from_str(&text).unwrap();
    let delivery = &received["data"][0];
    assert_eq!(delivery["id"], copy["id"]);
    assert_eq!(delivery["delivery_attempts"], 1);
    assert_eq!(delivery["attributes"], json!({"kind": "x"}));
    let deadline = delivery["deadline_seconds"].as_f64().unwrap();
    assert!((50.0..=60.0).contains(&deadline), "{deadline}");
    assert!(delivery.get("upload_id").is_none(), "{delivery}");
}

async fn many_messages_are_answered_in_order(database: TestDatabase) {
    let api = Api::on(database).await;
    let ids = api.publish(1_000).await;
    assert_eq!(ids.len(), 1_000);
    let received = api.receive_all("rows", 1_000).await;
    let mut by_id: std::collections::HashMap<_, _> =
        received.iter().map(|delivery| (delivery["id"].as_str().unwrap(), delivery)).collect();
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(by_id.remove(id.as_str()).unwrap()["data"]["n"], at + 1);
    }
    assert!(api.receive("rows", 1).await.is_empty());
}

async fn with_a_key(api: &Api, key: &str, n: u32) -> Answer {
    let request = api.request(Method::POST, "/topics/rows/messages").header("Idempotency-Key", key);
    answer(request.json(&json!({"data": {"n": n}}))).await
}

async fn a_publish_with_a_key_happens_once(database: TestDatabase) {
    let api = Api::on(database).await;
    let (first, again) = tokio::join!(with_a_key(&api, "k-1", 1), with_a_key(&api, "k-1", 1));
    let later = with_a_key(&api, "k-1", 1).await;
    for (status, answer) in [&first, &again, &later] {
        assert_eq!(*status, 201, "{answer}");
        assert_eq!(answer["data"][0]["id"], first.1["data"][0]["id"]);
    }
    let (status, problem) = with_a_key(&api, "k-1", 2).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/conflict")));
    let (status, _) = with_a_key(&api, "k-2", 2).await;
    assert_eq!(status, 201);
    assert_eq!(api.receive_all("rows", 2).await.len(), 2);
    assert!(api.receive("rows", 10).await.is_empty(), "a key was not kept");
}

async fn a_waiting_receive_is_woken_by_a_publish(database: TestDatabase) {
    let api = Api::on(database).await;
    let poll = api.get("/queues/rows/messages?limit=10&wait=30");
    tokio::pin!(poll);
    // It waits: it has not answered that nothing is there.
    let early = tokio::time::timeout(Duration::from_millis(300), &mut poll).await;
    assert!(early.is_err(), "{early:?}");
    let begun = std::time::Instant::now();
    let (ids, (status, received)) = tokio::join!(api.publish(1), poll);
    assert_eq!((status, &received["data"][0]["id"]), (200, &json!(ids[0])));
    assert!(begun.elapsed() < Duration::from_secs(10), "it was not woken");
}

async fn a_receive_of_nothing_ends_in_time(database: TestDatabase) {
    let api = Api::on(database).await;
    let begun = std::time::Instant::now();
    let (status, received) = api.get("/queues/rows/messages?wait=0.25").await;
    assert_eq!((status, received), (200, json!({"data": []})));
    assert!(begun.elapsed() >= Duration::from_millis(250), "it did not wait");
}

on_both!(
    one_message_is_answered_with_its_copies,
    many_messages_are_answered_in_order,
    a_publish_with_a_key_happens_once,
    a_waiting_receive_is_woken_by_a_publish,
    a_receive_of_nothing_ends_in_time,
);
