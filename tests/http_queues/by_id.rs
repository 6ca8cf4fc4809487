//! Messages by their ids alone; looking without taking; cancelling what waits.

use reqwest::Method;
use rowmill::api::{
    AckOne, ExtendOne, MessageState, NackOne, NewRetryBackoff, QueueTerms, RejectOne,
};
use serde_json::{Value, json};

use crate::api::{Api, answer, message, refused};
use crate::support::TestDatabase;

/// Publishes one and receives it; answers its id.
async fn in_hands(api: &Api, n: u32) -> String {
    let id = api.publish_one("orders", n).await;
    assert_eq!(api.receive_one("orders").await.id, id);
    id
}

async fn each_delivery_ends_as_was_said(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.provide("orders", QueueTerms::default()).await;
    let client = &api.client;
    let state = async |id: &str| client.message(id).await.unwrap().state;

    let done = in_hands(&api, 1).await;
    assert_eq!(state(&done).await, MessageState::InFlight);
    client.ack(&done, &AckOne::default()).await.unwrap();
    assert_eq!(state(&done).await, MessageState::Done);
    // An ack whose answer was lost is said again.
    client.ack(&done, &AckOne::default()).await.unwrap();
    assert_eq!(refused(client.nack(&done, &NackOne::default()).await), 410);
    assert_eq!(refused(client.reject(&done, &RejectOne::default()).await), 410);
    assert_eq!(refused(client.extend_message(&done, &ExtendOne::default()).await), 410);

    let dead = in_hands(&api, 2).await;
    client.reject(&dead, &RejectOne { reason: "never".into() }).await.unwrap();
    let found = client.message(&dead).await.unwrap();
    assert_eq!((found.state, found.reason.as_deref()), (MessageState::Dead, Some("never")));
    assert_eq!(refused(client.ack(&dead, &AckOne::default()).await), 410);

    let waits = in_hands(&api, 3).await;
    let nack = NackOne { reason: "later".into(), delay_seconds: Some(100.0) };
    client.nack(&waits, &nack).await.unwrap();
    assert_eq!(state(&waits).await, MessageState::Waiting);
    assert_eq!(refused(client.ack(&waits, &AckOne::default()).await), 409);
    assert_eq!(refused(client.nack(&waits, &nack).await), 409);
    assert_eq!(refused(client.reject(&waits, &RejectOne::default()).await), 409);
    assert_eq!(refused(client.extend_message(&waits, &ExtendOne::default()).await), 409);
    assert_eq!(client.queue_stats("orders").await.unwrap().num_delayed_messages, 1);
}

async fn a_message_tells_all_about_itself(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.provide("orders", QueueTerms::default()).await;
    let copy = api.publish("orders", 1, &[("kind", "x")]).await.remove(0);
    let (status, found) = api.get(&format!("/messages/{}", copy.id)).await;
    assert_eq!(status, 200, "{found}");
    let expected = json!({
        "id": copy.id, "queue_id": "orders", "state": "waiting", "data": {"n": 1},
        "attributes": {"kind": "x"}, "delivery_attempts": 0,
        "upload_id": null, "filename": null, "sheet": null, "row": null, "reason": null,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&found[field], value, "{field}");
    }
    let near = |field: &str, said: &str| {
        let time = |text: &str| humantime::parse_rfc3339(text).unwrap();
        let (found, said) = (time(found[field].as_str().unwrap()), time(said));
        let apart = found.duration_since(said).unwrap_or_else(|early| early.duration());
        assert!(apart.as_secs() < 5, "{field}: {found:?}, not {said:?}");
    };
    near("created_at", &copy.created_at);
    near("scheduled_at", &copy.scheduled_at);
    near("expired_at", copy.expired_at.as_deref().unwrap());
    assert_eq!(found.as_object().unwrap().len(), expected.as_object().unwrap().len() + 4);
}

async fn a_body_may_be_left_out(database: TestDatabase) {
    let api = Api::on(&database).await;
    // What is nacked stays away: it must not come where the next is waited for.
    let away = NewRetryBackoff { first_seconds: Some(600.0), ..NewRetryBackoff::default() };
    api.provide("orders", QueueTerms { retry_backoff: Some(away), ..QueueTerms::default() }).await;
    let put = |id: &str, what: &str| {
        api.http.request(Method::PUT, format!("{}/messages/{id}/{what}", api.url))
    };
    for what in ["ack", "nack", "reject", "extend"] {
        let expected = if what == "extend" { 200 } else { 204 };
        let id = in_hands(&api, 1).await;
        assert_eq!(answer(put(&id, what)).await.0, expected, "{what}");
        let id = in_hands(&api, 2).await;
        let said = put(&id, what).header("content-type", "application/json");
        assert_eq!(answer(said).await.0, expected, "{what}");
        let id = in_hands(&api, 3).await;
        assert_eq!(answer(put(&id, what).json(&json!({}))).await.0, expected, "{what}");
        let id = in_hands(&api, 4).await;
        assert_eq!(answer(put(&id, what).body("{}")).await.0, 415, "{what}");
        assert_eq!(answer(put(&id, what).json(&json!({"why": 1}))).await.0, 422, "{what}");
        assert_eq!(answer(put(&id, what).json(&json!([]))).await.0, 422, "{what}");
        let broken = put(&id, what).header("content-type", "application/json").body("{");
        assert_eq!(answer(broken).await.0, 400, "{what}");
        assert_eq!(api.client.message(&id).await.unwrap().state, MessageState::InFlight);
    }
}

async fn a_lease_lasts_longer_when_told(database: TestDatabase) {
    let api = Api::on(&database).await;
    let terms = QueueTerms { ack_deadline_seconds: Some(600), ..QueueTerms::default() };
    api.provide("orders", terms).await;
    let id = in_hands(&api, 1).await;
    let extend = async |seconds| {
        let lasts = api.client.extend_message(&id, &ExtendOne { seconds }).await.unwrap();
        lasts.as_secs_f64().round()
    };
    assert_eq!(extend(None).await, 600.0);
    assert_eq!(extend(Some(43_200)).await, 43_200.0);
    api.store.clock.advance(std::time::Duration::from_secs(43_000));
    assert!(api.receive("orders").await.is_empty());
    assert_eq!(api.client.message(&id).await.unwrap().state, MessageState::InFlight);
    // By receipts, several at once.
    let received = {
        api.publish_one("orders", 2).await;
        api.receive_one("orders").await
    };
    let extended = api.client.extend_for("orders", vec![received.receipt], 1_000).await.unwrap();
    assert_eq!(extended[0].deadline_seconds.unwrap().round(), 1_000.0);
    for seconds in [json!(0), json!(43_201), json!(-1), json!(1.5)] {
        let body = json!({"seconds": seconds});
        let (status, problem) = api.put(&format!("/messages/{id}/extend"), body).await;
        assert_eq!(status, 422, "{seconds}: {problem}");
        let body = json!({"receipts": [received.receipt], "seconds": seconds});
        assert_eq!(api.post("/queues/orders/extend", body).await.0, 422, "{seconds}");
    }
}

async fn a_peek_takes_nothing(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.provide("orders", QueueTerms::default()).await;
    assert!(api.client.peek("orders", 10).await.unwrap().is_empty());
    let messages = (1..=5).map(|n| message(n, &[])).collect();
    api.client.publish_many("orders", messages, None).await.unwrap();
    for _ in 0..2 {
        let seen = api.client.peek("orders", 3).await.unwrap();
        let data: Vec<&str> = seen.iter().map(|message| message.data.get()).collect();
        assert_eq!(data, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
        assert!(seen.iter().all(|message| message.state == MessageState::Waiting));
        assert!(seen.iter().all(|message| message.delivery_attempts == 0));
        assert!(seen.iter().all(|message| message.attributes.get() == "{}"));
    }
    assert_eq!(api.receive_one("orders").await.delivery_attempts, 1);
    assert_eq!(api.client.peek("orders", 10).await.unwrap().len(), 4);
    for (query, expected) in [("", 200), ("?limit=0", 422), ("?limit=1001", 422), ("?wait=1", 422)]
    {
        let (status, _) = api.get(&format!("/queues/orders/messages/peek{query}")).await;
        assert_eq!(status, expected, "{query}");
    }
}

async fn a_purge_cancels_what_waits(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.provide("orders", QueueTerms::default()).await;
    let client = &api.client;
    let held = in_hands(&api, 1).await;
    let retried = in_hands(&api, 2).await;
    client.nack(&retried, &NackOne::default()).await.unwrap();
    let fresh = api.publish_one("orders", 3).await;
    client.purge("orders").await.unwrap();
    for id in [&retried, &fresh] {
        assert_eq!(client.message(id).await.unwrap().state, MessageState::Cancelled);
        assert_eq!(refused(client.ack(id, &AckOne::default()).await), 410);
    }
    let stats = client.queue_stats("orders").await.unwrap();
    assert_eq!((stats.num_undelivered_messages, stats.num_in_flight_messages), (0, 1));
    client.ack(&held, &AckOne::default()).await.unwrap();
    // It goes on as before.
    let next = api.publish_one("orders", 4).await;
    assert_eq!(api.receive_one("orders").await.id, next);
    assert_eq!(refused(client.purge("nowhere").await), 404);
}

async fn what_is_not_there_is_told(database: TestDatabase) {
    let api = Api::on(&database).await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    for id in ["one", nobody, "%20"] {
        assert_eq!(api.get(&format!("/messages/{id}")).await.0, 404, "{id}");
        for what in ["ack", "nack", "reject", "extend"] {
            let path = format!("/messages/{id}/{what}");
            let (status, problem) = api.ask(Method::PUT, &path, None::<Value>).await;
            assert_eq!(status, 404, "{path}: {problem}");
        }
    }
    assert_eq!(api.get("/messages/%FF").await.0, 422);
    let (status, _) =
        api.put(&format!("/messages/{nobody}/nack"), json!({"delay_seconds": -1})).await;
    assert_eq!(status, 422);
}

on_both!(
    each_delivery_ends_as_was_said,
    a_message_tells_all_about_itself,
    a_body_may_be_left_out,
    a_lease_lasts_longer_when_told,
    a_peek_takes_nothing,
    a_purge_cancels_what_waits,
    what_is_not_there_is_told,
);
