//! Requests that are wrong: each has a clear answer, and the server goes on.

use reqwest::Method;
use serde_json::json;

use crate::api::{Api, answer};
use crate::support::TestDatabase;

const TOPIC: &str = "/topics/rows/messages";

async fn wrong_bodies_are_told_what_is_wrong(database: TestDatabase) {
    let api = Api::on(database).await;
    let many = format!(r#"{{"messages": [{}]}}"#, vec![r#"{"data": {}}"#; 1_001].join(","));
    for (body, expected, says) in [
        ("", 400, "EOF"),
        ("{", 400, "EOF"),
        (r#"{"data": {"a": 1,}}"#, 400, "line 1"),
        ("{\"data\": {\"a\": \"\u{1}\"}}", 400, "control character"),
        (r#"{"data": {}} x"#, 400, "trailing"),
        ("[]", 422, "map"),
        ("{}", 422, "data"),
        (r#"{"data": {}, "id": 7}"#, 422, "`id`"),
        (r#"{"data": [1]}"#, 422, "`data`"),
        (r#"{"data": null}"#, 422, "`data`"),
        (r#"{"data": {}, "attributes": {"a": 1}}"#, 422, "integer"),
        (r#"{"messages": []}"#, 422, "1 to 1000"),
        (r#"{"messages": [{"data": {}}], "data": {}}"#, 422, "`data`"),
        (r#"{"messages": [{"data": {}}, {"data": "x"}]}"#, 422, "message 1"),
        (&many, 422, "1001"),
    ] {
        let request = api.request(Method::POST, TOPIC).header("content-type", "application/json");
        let (status, problem) = answer(request.body(body.to_owned())).await;
        let body = &body[..body.len().min(60)];
        assert_eq!(status, expected, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{body}: {problem}");
    }
    let text = api.request(Method::POST, TOPIC).header("content-type", "text/csv").body("a,b");
    assert_eq!(answer(text).await.0, 415);
    let untold = api.request(Method::POST, TOPIC).body(r#"{"data": {}}"#);
    assert_eq!(answer(untold).await.0, 415);
    let long = format!(r#"{{"data": {{"text": "{}"}}}}"#, "x".repeat(16 << 20));
    let long =
        api.request(Method::POST, TOPIC).header("content-type", "application/json").body(long);
    assert_eq!(answer(long).await.0, 413);
    for key in ["", "two words", &"k".repeat(256)] {
        let request = api.request(Method::POST, TOPIC).header("idempotency-key", key);
        assert_eq!(answer(request.json(&json!({"data": {}}))).await.0, 422, "{key:?}");
    }
    assert!(api.receive("rows", 10).await.is_empty(), "something was published");
    assert_eq!(api.get("/health").await, (200, json!({"status": "ok"})));
}

async fn wrong_paths_and_queries_are_told(database: TestDatabase) {
    let api = Api::on(database).await;
    for (path, expected) in [
        ("/queues/rows/messages?limit=0", 422),
        ("/queues/rows/messages?limit=1001", 422),
        ("/queues/rows/messages?limit=-1", 422),
        ("/queues/rows/messages?limit=ten", 422),
        ("/queues/rows/messages?wait=-1", 422),
        ("/queues/rows/messages?wait=31", 422),
        ("/queues/rows/messages?wait=NaN", 422),
        ("/queues/rows/messages?wait=inf", 422),
        ("/queues/rows/messages?max=5", 422),
        ("/queues/ro%20ws/messages", 422),
        ("/queues/%FF/messages", 422),
        ("/queues/nowhere/messages", 404),
        ("/nowhere/at/all?x=1", 404),
        ("/queues/rows/nothing", 404),
    ] {
        let (status, problem) = api.get(path).await;
        assert_eq!(status, expected, "{path}: {problem}");
    }
    let body = json!({"data": {}});
    assert_eq!(api.post("/topics/nowhere/messages", &body).await.0, 404);
    assert_eq!(api.post("/topics/no%2Fwhere/messages", &body).await.0, 422);
    for (method, path, allowed) in [
        (Method::GET, TOPIC, "POST"),
        (Method::DELETE, "/queues/rows/messages", "GET"),
        (Method::PUT, "/queues/rows/settle", "POST"),
        (Method::POST, "/health", "GET"),
    ] {
        let response = api.request(method.clone(), path).send().await.unwrap();
        let allow = response.headers()["allow"].to_str().unwrap().to_owned();
        assert!(allow.contains(allowed), "{method} {path}: {allow}");
        assert_eq!(answer(api.request(method, path)).await.0, 405);
    }
}

on_both!(wrong_bodies_are_told_what_is_wrong, wrong_paths_and_queries_are_told);
