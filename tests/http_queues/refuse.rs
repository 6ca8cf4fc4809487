//! What cannot be: each with a status and words that name the field; and nothing of it is done.

use reqwest::Method;
use rowmill::api::QueueTerms;
use serde_json::{Value, json};

use crate::api::Api;
use crate::support::TestDatabase;

async fn terms_that_cannot_be_are_refused(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.client.create_topic("orders").await.unwrap();
    api.queue("lost", QueueTerms::default()).await;
    let long = |n: usize| "x".repeat(n);
    let many = |n: usize| -> Value { (0..n).map(|n| (n.to_string(), json!(["x"]))).collect() };
    for (field, value) in [
        ("topic_id", json!("nowhere")),
        ("topic_id", json!("no where")),
        ("topic_id", json!(7)),
        ("dead_queue_id", json!("nowhere")),
        ("dead_queue_id", json!("")),
        ("dead_queue_id", json!("new")),
        ("ack_deadline_seconds", json!(0)),
        ("ack_deadline_seconds", json!(601)),
        ("ack_deadline_seconds", json!(-1)),
        ("ack_deadline_seconds", json!(60.5)),
        ("ack_deadline_seconds", json!("60")),
        ("ack_deadline_seconds", json!(1e300)),
        ("message_retention_seconds", json!(599)),
        ("message_retention_seconds", json!(1_209_601)),
        ("message_max_deliveries", json!(1)),
        ("delivery_delay_seconds", json!(0)),
        ("delivery_delay_seconds", json!(901)),
        ("message_filters", json!({"country": []})),
        ("message_filters", json!({"country": "DE"})),
        ("message_filters", json!({"country": [1]})),
        ("message_filters", json!({"": ["DE"]})),
        ("message_filters", json!({long(129): ["DE"]})),
        ("message_filters", json!({"country": [long(1_025)]})),
        ("message_filters", json!({"country": vec!["DE"; 101]})),
        ("message_filters", many(33)),
        ("message_filters", json!(["country"])),
        ("retry_backoff", json!({"first_seconds": -1})),
        ("retry_backoff", json!({"first_seconds": 3_601})),
        ("retry_backoff", json!({"factor": 0.5})),
        ("retry_backoff", json!({"factor": 101})),
        ("retry_backoff", json!({"first_seconds": 10, "most_seconds": 9})),
        ("retry_backoff", json!({"most_seconds": 86_401})),
        ("retry_backoff", json!({"jitter": 1})),
        ("retry_backoff", json!([1, 2, 3])),
        ("record_outcomes", json!("yes")),
        ("colour", json!("blue")),
    ] {
        let body = json!({"id": "new", field: value});
        let (status, problem) = api.post("/queues", body.clone()).await;
        assert_eq!(status, 422, "{body}: {problem}");
        // Of the same as other terms of a queue that is there.
        if value != json!("new") {
            let (status, problem) = api.put("/queues/rows-dead", json!({field: value})).await;
            assert_eq!(status, 422, "{body}: {problem}");
        }
    }
    for deliveries in [0, 1_001] {
        let body = json!({
            "id": "new", "dead_queue_id": "lost", "message_max_deliveries": deliveries,
        });
        let (status, problem) = api.post("/queues", body).await;
        assert_eq!(status, 422, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("message_max_deliveries"));
    }
    for (path, body) in [
        ("/queues", json!({})),
        ("/queues", json!({"id": ""})),
        ("/queues", json!({"id": "a/b"})),
        ("/queues", json!({"id": long(129)})),
        ("/queues", json!({"id": null})),
        ("/queues", json!([])),
        ("/topics", json!({})),
        ("/topics", json!({"id": "a b"})),
        ("/topics", json!({"id": long(129)})),
        ("/topics", json!({"id": "new", "name": "new"})),
    ] {
        let (status, problem) = api.post(path, body.clone()).await;
        assert_eq!(status, 422, "{path} {body}: {problem}");
    }
    assert_eq!(api.put("/queues/rows", json!([])).await.0, 422);
    let (status, problem) = api.put("/queues/rows", json!({"id": "rows"})).await;
    assert_eq!(status, 422, "a queue cannot be renamed: {problem}");
    assert_eq!(api.get("/queues/new").await.0, 404, "one was made");
    assert_eq!(api.client.topics(0, 100).await.unwrap().len(), 2);
    assert_eq!(api.client.queues(0, 100).await.unwrap().len(), 3);
}

/// Every bound from its good side, in one queue.
async fn terms_at_their_bounds_are_taken(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.queue("lost", QueueTerms::default()).await;
    for (ack, retention, deliveries, delay, id) in
        [(1, 600, 1, 1, "x".repeat(128)), (600, 1_209_600, 1_000, 900, "A.b_c-9".into())]
    {
        let body = json!({
            "id": id,
            "dead_queue_id": "lost",
            "ack_deadline_seconds": ack,
            "message_retention_seconds": retention,
            "message_max_deliveries": deliveries,
            "delivery_delay_seconds": delay,
            "message_filters": {"n".repeat(128): ["v".repeat(1_024), ""]},
        });
        let (status, made) = api.post("/queues", body.clone()).await;
        assert_eq!(status, 201, "{made}");
        for (field, value) in body.as_object().unwrap() {
            assert_eq!(&made[field], value, "{field}");
        }
        assert_eq!(api.delete(&format!("/queues/{id}")).await.0, 204);
    }
}

async fn lists_are_sliced_within_bounds(database: TestDatabase) {
    let api = Api::on(&database).await;
    for list in ["/topics", "/queues"] {
        for (query, expected) in [
            ("?limit=1", 200),
            ("?limit=1000&offset=2147483647", 200),
            ("?limit=0", 422),
            ("?limit=1001", 422),
            ("?limit=-1", 422),
            ("?offset=-1", 422),
            ("?offset=2147483648", 422),
            ("?after=x", 422),
        ] {
            let (status, answer) = api.get(&format!("{list}{query}")).await;
            assert_eq!(status, expected, "{list}{query}: {answer}");
        }
    }
    for path in ["/queues/no%20where", "/topics/no%2Fwhere", "/queues/%FF/stats"] {
        assert_eq!(api.get(path).await.0, 422, "{path}");
    }
    for path in ["/queues/nowhere", "/topics/nowhere", "/queues/nowhere/stats"] {
        assert_eq!(api.get(path).await.0, 404, "{path}");
    }
    // The name that a deleted one has is nobody's to say.
    api.client.create_topic("gone").await.unwrap();
    api.client.delete_topic("gone").await.unwrap();
    for number in 1..4 {
        assert_eq!(api.get(&format!("/topics/gone%2F{number}")).await.0, 422);
    }
}

async fn messages_have_bounds(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.provide("orders", QueueTerms::default()).await;
    let attributes = |n: usize| -> Value { (0..n).map(|n| (n.to_string(), json!("x"))).collect() };
    // `{"t":"…"}` takes eight bytes besides the text.
    let data = |bytes: usize| json!({"t": "x".repeat(bytes - 8)});
    for (message, expected) in [
        (json!({"data": data(1 << 20)}), 201),
        (json!({"data": data((1 << 20) + 1)}), 413),
        (json!({"data": {}, "attributes": attributes(64)}), 201),
        (json!({"data": {}, "attributes": attributes(65)}), 422),
        (json!({"data": {}, "attributes": {"n".repeat(128): "ä".repeat(1_024)}}), 201),
        (json!({"data": {}, "attributes": {"n".repeat(129): "x"}}), 422),
        (json!({"data": {}, "attributes": {"": "x"}}), 422),
        (json!({"data": {}, "attributes": {"a": "x".repeat(1_025)}}), 422),
        (json!({"data": {}, "attributes": {"a": null}}), 422),
        (json!({"data": {}, "attributes": null}), 422),
    ] {
        let (status, problem) = api.post("/topics/orders/messages", message.clone()).await;
        let shown: String = message.to_string().chars().take(80).collect();
        assert_eq!(status, expected, "{shown}: {}", problem["detail"]);
        let many = json!({"messages": [{"data": {}}, message]});
        let (status, problem) = api.post("/topics/orders/messages", many).await;
        assert_eq!(status, expected, "{shown}: {}", problem["detail"]);
        if status == 413 {
            assert!(problem["detail"].as_str().unwrap().starts_with("message 1: "), "{problem}");
        }
    }
    let published = [1, 2, 1, 2, 1, 2].iter().sum::<usize>();
    let mut received = 0;
    while received < published {
        received += api
            .client
            .receive("orders", 100, std::time::Duration::from_secs(20))
            .await
            .unwrap()
            .len();
    }
    assert_eq!(received, published, "one that was refused was published");
}

async fn other_methods_are_told_which_there_are(database: TestDatabase) {
    let api = Api::on(&database).await;
    for (method, path) in [
        (Method::PUT, "/topics"),
        (Method::POST, "/topics/rows"),
        (Method::DELETE, "/queues"),
        (Method::POST, "/queues/rows"),
        (Method::POST, "/queues/rows/purge"),
        (Method::GET, "/queues/rows/redrive"),
        (Method::DELETE, "/messages/x"),
        (Method::POST, "/messages/x/ack"),
    ] {
        assert_eq!(api.ask(method.clone(), path, None).await.0, 405, "{method} {path}");
    }
}

on_both!(
    terms_that_cannot_be_are_refused,
    terms_at_their_bounds_are_taken,
    lists_are_sliced_within_bounds,
    messages_have_bounds,
    other_methods_are_told_which_there_are,
);
