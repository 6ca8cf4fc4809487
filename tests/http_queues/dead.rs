//! Dead queues: what comes into one and out again, and whose it may be.

use rowmill::api::{MessageState, NackOne, QueueTerms, RejectOne};
use serde_json::json;

use crate::api::{Api, refused};
use crate::support::TestDatabase;

const AT_ONCE: NackOne = NackOne { reason: String::new(), delay_seconds: Some(0.0) };

fn dead(queue: &str) -> QueueTerms {
    QueueTerms { dead_queue_id: Some(queue.into()), ..QueueTerms::default() }
}

async fn a_message_dies_after_so_many_deliveries_and_comes_back(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.queue("lost", QueueTerms::default()).await;
    let terms = QueueTerms { message_max_deliveries: Some(3), ..dead("lost") };
    api.provide("orders", terms).await;
    let id = api.publish_one("orders", 1).await;
    for attempt in 1..=3 {
        let received = api.receive_one("orders").await;
        assert_eq!((&received.id, received.delivery_attempts), (&id, attempt));
        let nack = NackOne { reason: format!("failure {attempt}"), delay_seconds: Some(0.0) };
        api.client.nack(&id, &nack).await.unwrap();
    }
    assert!(api.receive("orders").await.is_empty());
    let found = api.client.message(&id).await.unwrap();
    assert_eq!((found.state, found.reason.as_deref()), (MessageState::Dead, Some("failure 3")));
    assert_eq!(api.client.queue_stats("orders").await.unwrap().num_dead_messages, 1);
    assert_eq!(api.client.queue_stats("lost").await.unwrap().num_undelivered_messages, 1);

    // Back to where it died: a new life, with no deliveries so far.
    api.client.redrive("lost", "orders").await.unwrap();
    assert_eq!(api.client.queue_stats("orders").await.unwrap().num_dead_messages, 0);
    let again = api.receive_one("orders").await;
    assert_eq!((&again.id, again.delivery_attempts), (&id, 1));
    // A second death, this time told in so many words.
    api.client.reject(&id, &RejectOne { reason: "no such order".into() }).await.unwrap();
    let buried = api.receive_one("lost").await;
    assert_eq!(buried.data.get(), r#"{"n":1}"#);
    assert_ne!(buried.id, id);
    // There it is tried without end.
    for _ in 0..7 {
        api.client.nack(&buried.id, &AT_ONCE).await.unwrap();
        assert_eq!(api.receive_one("lost").await.id, buried.id);
    }
}

async fn the_dead_may_begin_anew_in_another_queue(database: TestDatabase) {
    let api = Api::on(&database).await;
    for name in ["lost", "second-try"] {
        api.queue(name, QueueTerms::default()).await;
    }
    api.provide("orders", dead("lost")).await;
    for n in 1..=3 {
        let id = api.publish_one("orders", n).await;
        api.receive_one("orders").await;
        api.client.reject(&id, &RejectOne::default()).await.unwrap();
    }
    api.client.redrive("lost", "second-try").await.unwrap();
    let stats = api.client.queue_stats("second-try").await.unwrap();
    assert_eq!(stats.num_undelivered_messages, 3);
    assert_eq!(api.client.queue_stats("lost").await.unwrap().num_undelivered_messages, 0);
    assert_eq!(api.receive_one("second-try").await.delivery_attempts, 1);
}

async fn redrive_needs_two_queues(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.queue("a", QueueTerms::default()).await;
    for (path, body, expected) in [
        ("/queues/nowhere/redrive", json!({"destination_queue_id": "a"}), 404),
        ("/queues/nowhere/redrive", json!({"destination_queue_id": "nowhere"}), 404),
        ("/queues/a/redrive", json!({"destination_queue_id": "a"}), 422),
        ("/queues/a/redrive", json!({"destination_queue_id": "nowhere"}), 422),
        ("/queues/a/redrive", json!({"destination_queue_id": "no where"}), 422),
        ("/queues/a/redrive", json!({}), 422),
        ("/queues/a/redrive", json!({"destination_queue_id": "rows", "limit": 1}), 422),
    ] {
        let (status, problem) = api.put(path, body.clone()).await;
        assert_eq!(status, expected, "{path} {body}: {problem}");
    }
}

async fn a_dead_queue_is_one_queues_own(database: TestDatabase) {
    let api = Api::on(&database).await;
    let client = &api.client;
    client.create_topic("orders").await.unwrap();
    for name in ["lost", "other", "third"] {
        api.queue(name, QueueTerms::default()).await;
    }
    api.queue("a", dead("lost")).await;
    let told = async |queue: &str, terms: QueueTerms, status: u16, says: &str| {
        let error = client.replace_queue(queue, &terms).await.unwrap_err();
        assert_eq!(error.status(), Some(status), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    told("other", dead("lost"), 409, "`lost` is the dead queue of `a`").await;
    told("a", dead("a"), 422, "its own dead queue").await;
    told("a", dead("nowhere"), 422, "`dead_queue_id`").await;
    // a -> lost -> other -> a would be a ring.
    client.replace_queue("lost", &dead("other")).await.unwrap();
    told("other", dead("a"), 422, "`dead_queue_id`").await;
    told("lost", dead("a"), 422, "`dead_queue_id`").await;
    // A queue of a topic is no dead queue, and a dead queue gets no topic, not even once it is free.
    let of_topic = || QueueTerms { topic_id: Some("orders".into()), ..QueueTerms::default() };
    client.replace_queue("third", &of_topic()).await.unwrap();
    told("other", dead("third"), 409, "takes from a topic").await;
    told("lost", of_topic(), 409, "`topic_id`").await;
    client.replace_queue("a", &QueueTerms::default()).await.unwrap();
    told("lost", of_topic(), 409, "`topic_id`").await;
    // Free and never used, it may be another's.
    client.replace_queue("third", &dead("lost")).await.unwrap();
    assert_eq!(client.queue("third").await.unwrap().message_max_deliveries, Some(5));
}

async fn a_used_queue_does_not_become_a_dead_queue(database: TestDatabase) {
    let api = Api::on(&database).await;
    let client = &api.client;
    api.queue("lost", QueueTerms::default()).await;
    api.provide("orders", dead("lost")).await;
    api.provide("mixed", QueueTerms::default()).await;
    let id = api.publish_one("orders", 1).await;
    let received = api.receive_one("orders").await;
    let settle = json!({"rejects": [{"receipt": received.receipt}]});
    assert_eq!(api.post("/queues/orders/settle", settle).await.0, 200, "{id}");
    api.publish_one("mixed", 1).await;
    // Its own it stays, whatever it holds.
    let terms = QueueTerms {
        topic_id: Some("orders".into()),
        ack_deadline_seconds: Some(9),
        ..dead("lost")
    };
    client.replace_queue("orders", &terms).await.unwrap();
    client.delete_queue("orders").await.unwrap();
    client.delete_topic("mixed").await.unwrap();
    for used in ["lost", "mixed"] {
        let error = client.replace_queue("rows", &dead(used)).await.unwrap_err();
        assert_eq!(error.status(), Some(409), "{error}");
        assert!(error.to_string().contains("holds or held"), "{error}");
    }
}

async fn a_queue_whose_dead_queue_goes_tries_without_end(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.queue("lost", QueueTerms::default()).await;
    let terms = QueueTerms { message_max_deliveries: Some(1), ..dead("lost") };
    api.provide("orders", terms).await;
    api.client.delete_queue("lost").await.unwrap();
    let queue = api.client.queue("orders").await.unwrap();
    assert_eq!((queue.dead_queue_id, queue.message_max_deliveries), (None, None));
    let id = api.publish_one("orders", 1).await;
    for attempt in 1..=7 {
        let received = api.receive_one("orders").await;
        assert_eq!((&received.id, received.delivery_attempts), (&id, attempt));
        let nack = json!({"nacks": [{"receipt": received.receipt, "delay_seconds": 0}]});
        let (status, settled) = api.post("/queues/orders/settle", nack).await;
        assert_eq!((status, &settled["again"]), (200, &json!(1)), "{settled}");
    }
}

/// Two requests at once cannot make what neither could alone.
async fn changes_come_one_at_a_time(database: TestDatabase) {
    let (here, there) = (Api::on(&database).await, Api::on(&database).await);
    for round in 0..10 {
        let name = |queue: &str| format!("{queue}{round}");
        for queue in ["a", "b", "c", "lost"] {
            here.queue(&name(queue), QueueTerms::default()).await;
        }
        // A ring.
        let (a, b) = (name("a"), name("b"));
        let (to_b, to_a) = (dead(&b), dead(&a));
        let (one, other) = tokio::join!(
            here.client.replace_queue(&a, &to_b),
            there.client.replace_queue(&b, &to_a),
        );
        assert_ne!(one.is_ok(), other.is_ok(), "round {round}: {one:?}, {other:?}");
        assert_eq!(refused(if one.is_ok() { other } else { one }), 422);
        // One dead queue for two.
        let (c, rows, lost) = (name("c"), name("d"), dead(&name("lost")));
        here.queue(&rows, QueueTerms::default()).await;
        let (one, other) = tokio::join!(
            here.client.replace_queue(&c, &lost),
            there.client.replace_queue(&rows, &lost),
        );
        assert_ne!(one.is_ok(), other.is_ok(), "round {round}: {one:?}, {other:?}");
        assert_eq!(refused(if one.is_ok() { other } else { one }), 409);
        // One name for two.
        let new = rowmill::api::NewQueue::new(name("new"), QueueTerms::default());
        let (one, other) =
            tokio::join!(here.client.create_queue(&new), there.client.create_queue(&new));
        assert_ne!(one.is_ok(), other.is_ok(), "round {round}: {one:?}, {other:?}");
        assert_eq!(refused(if one.is_ok() { other } else { one }), 409);
    }
}

on_both!(
    a_message_dies_after_so_many_deliveries_and_comes_back,
    the_dead_may_begin_anew_in_another_queue,
    redrive_needs_two_queues,
    a_dead_queue_is_one_queues_own,
    a_used_queue_does_not_become_a_dead_queue,
    a_queue_whose_dead_queue_goes_tries_without_end,
    changes_come_one_at_a_time,
);
