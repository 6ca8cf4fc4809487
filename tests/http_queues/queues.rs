//! Queues: their terms, and what follows when these change or the queue goes.

use std::collections::BTreeMap;

use rowmill::api::{NackOne, NewRetryBackoff, QueueTerms};
use serde_json::{Value, json};

use crate::api::{Api, message, refused};
use crate::support::TestDatabase;

async fn a_queue_has_the_terms_it_was_given(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.client.create_topic("orders").await.unwrap();
    let (status, plain) = api.post("/queues", json!({"id": "plain"})).await;
    assert_eq!(status, 201, "{plain}");
    let (made, changed) = (plain["created_at"].clone(), plain["updated_at"].clone());
    assert_eq!(made, changed);
    let expected = json!({
        "id": "plain",
        "topic_id": null,
        "dead_queue_id": null,
        "ack_deadline_seconds": 60,
        "message_retention_seconds": 1_209_600,
        "message_filters": null,
        "message_max_deliveries": null,
        "delivery_delay_seconds": null,
        "retry_backoff": {"first_seconds": 1.0, "factor": 2.0, "most_seconds": 300.0},
        "record_outcomes": true,
        "created_at": made,
        "updated_at": changed,
    });
    assert_eq!(plain, expected);

    let terms = json!({
        "topic_id": "orders",
        "dead_queue_id": "plain",
        "ack_deadline_seconds": 600,
        "message_retention_seconds": 600,
        "message_filters": {"country": ["DE", "FR"]},
        "message_max_deliveries": 1_000,
        "delivery_delay_seconds": 900,
        "retry_backoff": {"first_seconds": 0.5, "factor": 1.5, "most_seconds": 10.0},
        "record_outcomes": false,
    });
    let with = |mut terms: Value, more: Value| {
        terms.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        terms
    };
    let (status, full) = api.post("/queues", with(terms.clone(), json!({"id": "full"}))).await;
    assert_eq!(status, 201, "{full}");
    let times = json!({"created_at": full["created_at"], "updated_at": full["updated_at"]});
    assert_eq!(full, with(with(terms.clone(), times), json!({"id": "full"})));
    assert_eq!(api.get("/queues/full").await, (200, full.clone()));
    assert_eq!(api.post("/queues", json!({"id": "full"})).await.0, 409);

    // A PUT replaces everything: what it does not say is as for a new queue.
    let (status, replaced) = api.put("/queues/full", json!({"topic_id": null})).await;
    assert_eq!(status, 200, "{replaced}");
    let times = json!({
        "id": "full", "created_at": full["created_at"], "updated_at": replaced["updated_at"],
    });
    assert_eq!(replaced, with(expected, times));
    assert!(replaced["updated_at"].as_str() >= full["updated_at"].as_str());
    assert_eq!(api.put("/queues/full", terms).await.0, 200);
    assert_eq!(api.put("/queues/nowhere", json!({})).await.0, 404);

    let names = async |offset, limit| -> Vec<String> {
        let queues = api.client.queues(offset, limit).await.unwrap();
        queues.into_iter().map(|queue| queue.id).collect()
    };
    assert_eq!(names(0, 100).await, ["full", "plain", "rows", "rows-dead"]);
    assert_eq!(names(1, 2).await, ["plain", "rows"]);
}

async fn changed_terms_hold_from_then_on(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.provide("orders", QueueTerms::default()).await;
    api.publish_one("orders", 1).await;
    let of = |values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Some(BTreeMap::from([("country".to_owned(), values)]))
    };
    let terms = QueueTerms {
        topic_id: Some("orders".into()),
        message_filters: of(&["DE"]),
        ack_deadline_seconds: Some(7),
        ..QueueTerms::default()
    };
    let changed = api.client.replace_queue("orders", &terms).await.unwrap();
    assert_eq!(changed.ack_deadline_seconds, 7);
    // What was published before stays, and is delivered on the terms of now.
    let received = api.receive_one("orders").await;
    assert_eq!(received.data.get(), r#"{"n":1}"#);
    assert!(received.deadline_seconds <= 7.0, "{}", received.deadline_seconds);
    assert!(api.publish("orders", 2, &[]).await.is_empty());
    assert_eq!(api.publish("orders", 3, &[("country", "DE")]).await.len(), 1);
    // From another topic: nothing more comes from the first.
    api.client.create_topic("returns").await.unwrap();
    let terms = QueueTerms { topic_id: Some("returns".into()), ..QueueTerms::default() };
    api.client.replace_queue("orders", &terms).await.unwrap();
    assert!(api.publish("orders", 4, &[("country", "DE")]).await.is_empty());
    assert_eq!(api.publish("returns", 5, &[]).await.len(), 1);
}

async fn a_deleted_queue_is_gone_and_its_name_is_free(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.provide("orders", QueueTerms::default()).await;
    api.publish_one("orders", 1).await;
    let before = api.publish_one("orders", 2).await;
    let held = api.receive_one("orders").await;
    assert_eq!(api.delete("/queues/orders").await.0, 204);
    assert_eq!(api.delete("/queues/orders").await.0, 404);
    for path in ["", "/stats", "/messages", "/messages/peek"] {
        assert_eq!(api.get(&format!("/queues/orders{path}")).await.0, 404, "{path}");
    }
    let settle = json!({"acks": [{"receipt": held.receipt}]});
    assert_eq!(api.post("/queues/orders/settle", settle).await.0, 404);
    let extend = json!({"receipts": [held.receipt]});
    assert_eq!(api.post("/queues/orders/extend", extend).await.0, 404);
    assert_eq!(api.put("/queues/orders/purge", json!({})).await.0, 404);
    assert!(api.publish("orders", 3, &[]).await.is_empty(), "it takes messages still");
    let names: Vec<String> =
        api.client.queues(0, 100).await.unwrap().into_iter().map(|queue| queue.id).collect();
    assert_eq!(names, ["rows", "rows-dead"]);

    // The new one of the name knows nothing of the old one.
    let terms = QueueTerms { topic_id: Some("orders".into()), ..QueueTerms::default() };
    api.queue("orders", terms).await;
    assert!(api.receive("orders").await.is_empty());
    let id = api.publish_one("orders", 4).await;
    assert_ne!(id, before);
    let received = api.receive_one("orders").await;
    assert_eq!(received.id, id);
    let settle = json!({"acks": [{"receipt": received.receipt}]});
    assert_eq!(api.post("/queues/orders/settle", settle).await.0, 200);
    assert_eq!(refused(api.client.message(&before).await), 404);
}

async fn back_off_is_the_queues_own(database: TestDatabase) {
    let api = Api::on(&database).await;
    let backoff = NewRetryBackoff {
        first_seconds: Some(3_000.0),
        factor: Some(1.0),
        most_seconds: Some(3_000.0),
    };
    let terms = QueueTerms { retry_backoff: Some(backoff), ..QueueTerms::default() };
    api.provide("orders", terms).await;
    let id = api.publish_one("orders", 1).await;
    api.receive_one("orders").await;
    api.client.nack(&id, &NackOne::default()).await.unwrap();
    api.store.clock.advance(std::time::Duration::from_secs(1_499));
    assert!(api.receive("orders").await.is_empty(), "it came before half of the wait");
    api.store.clock.advance(std::time::Duration::from_secs(1_502));
    assert_eq!(api.receive_one("orders").await.delivery_attempts, 2);
}

async fn without_a_queue_nothing_is_kept(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.client.create_topic("void").await.unwrap();
    assert!(api.publish("void", 1, &[]).await.is_empty());
    let many = vec![message(1, &[]), message(2, &[])];
    let answer = api.client.publish_many("void", many, None).await.unwrap();
    assert!(answer.len() == 2 && answer.iter().all(|accepted| accepted.ids.is_empty()));
}

on_both!(
    a_queue_has_the_terms_it_was_given,
    changed_terms_hold_from_then_on,
    a_deleted_queue_is_gone_and_its_name_is_free,
    back_off_is_the_queues_own,
    without_a_queue_nothing_is_kept,
);
