//! rowmill's own commands against a server that asks for a key.

use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::{Value, json};

use crate::scene::{Guarded, error_of, key, rowmill};
use crate::support::TestDatabase;

async fn publish(guarded: &Guarded, n: usize) {
    let messages: Vec<Value> = (0..n).map(|n| json!({"data": {"n": n}})).collect();
    let request = guarded.request(reqwest::Method::POST, "/topics/rows/messages");
    let request = request.bearer_auth(guarded.key("publish")).json(&json!({"messages": messages}));
    assert_eq!(request.send().await.unwrap().status(), 201);
}

/// `rowmill work` on the server, with these arguments.
async fn work(
    guarded: &Guarded,
    more: &[&str],
    key: &[(&str, &str)],
) -> (Option<i32>, Value, String) {
    let url = guarded.server.url("");
    let arguments = ["work", "--queue", "rows", "--api-url", &url, "--until-empty", "--json"];
    let output = rowmill(&[&arguments, more].concat(), key).await;
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report, error_of(&output))
}

async fn a_worker_shows_its_key_and_nobody_else_sees_it(database: TestDatabase) {
    let guarded = Guarded::on(database).await;
    publish(&guarded, 3).await;

    let (code, _, error) = work(&guarded, &["--sleep", "1ms"], &[]).await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("ROWMILL_API_KEY"), "{error}");
    let (code, _, error) =
        work(&guarded, &["--sleep", "1ms", "--api-key", guarded.key("publish")], &[]).await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("`consume`") && !error.contains(guarded.key("publish")), "{error}");

    // A handler's server is a stranger to ours.
    let seen = Arc::new(Mutex::new(vec![]));
    let note = Arc::clone(&seen);
    let stranger = axum::Router::new()
        .route("/", post(async move |headers: HeaderMap| note.lock().unwrap().push(headers)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, stranger).await });
    let key = [("ROWMILL_API_KEY", guarded.key("consume"))];
    let (code, report, error) = work(&guarded, &["--http", &url], &key).await;
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(report["done"], 3, "{report}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    for headers in seen.iter() {
        assert!(!headers.contains_key("authorization"));
        assert!(!format!("{headers:?}").contains(guarded.key("consume")));
    }
}

async fn files_are_sent_with_a_key(database: TestDatabase) {
    let guarded = Guarded::on(database).await;
    let url = guarded.server.url("");
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/resources/sample-21-items.xlsx");
    let send = async |command: &str, key: &str| {
        let arguments = [command, sample, "--api-url", &url];
        let output = rowmill(&arguments, &[("ROWMILL_API_KEY", key)]).await;
        (output.status.code(), error_of(&output))
    };
    let both = key(&guarded.database, "sender", "publish,read").await;
    // The server may not have heard of it yet.
    crate::scene::until(200, async || guarded.get("/uploads", &both).await).await;
    for (command, key) in [("ingest", &*both), ("produce", guarded.key("publish"))] {
        let (code, error) = send(command, key).await;
        assert_eq!(code, Some(0), "{command}: {error}");
        let (code, error) = send(command, "").await;
        assert_eq!(code, Some(2), "{command}: {error}");
        assert!(error.contains("ROWMILL_API_KEY"), "{command}: {error}");
        let (code, error) = send(command, "rmk_\u{7f}").await;
        assert_eq!(code, Some(2), "{command}: {error}");
        assert!(error.contains("cannot be sent"), "{command}: {error}");
    }
    let health = rowmill(&["health", "--api-url", &url], &[]).await;
    assert_eq!(health.status.code(), Some(0), "{}", error_of(&health));
}

on_both!(a_worker_shows_its_key_and_nobody_else_sees_it, files_are_sent_with_a_key);
