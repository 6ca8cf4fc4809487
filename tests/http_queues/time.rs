//! What comes later, and what does not come any more: the server's clock is moved.

use std::collections::BTreeMap;
use std::time::Duration;

use rowmill::api::{MessageState, NackOne, QueueTerms};

use crate::api::Api;
use crate::support::TestDatabase;

fn later(api: &Api, seconds: u64) {
    api.store.clock.advance(Duration::from_secs(seconds));
}

/// Two queues of one topic, the second with a filter that takes `kind=x`.
async fn provide_two(api: &Api, terms: &QueueTerms) {
    api.provide("plain", terms.clone()).await;
    let filters = BTreeMap::from([("kind".to_owned(), vec!["x".to_owned()])]);
    let terms = QueueTerms {
        topic_id: Some("plain".into()),
        message_filters: Some(filters),
        ..terms.clone()
    };
    api.queue("filtered", terms).await;
}

async fn a_delayed_message_comes_when_its_time_has_come(database: TestDatabase) {
    let api = Api::on(&database).await;
    let terms = QueueTerms { delivery_delay_seconds: Some(900), ..QueueTerms::default() };
    provide_two(&api, &terms).await;
    // Two in one step, of which the filter takes one.
    let messages =
        vec![crate::api::message(1, &[("kind", "y")]), crate::api::message(2, &[("kind", "x")])];
    api.client.publish_many("plain", messages, None).await.unwrap();
    for (queue, n) in [("plain", 2), ("filtered", 1)] {
        assert!(api.receive(queue).await.is_empty(), "{queue}: it came at once");
        let stats = api.client.queue_stats(queue).await.unwrap();
        assert_eq!((stats.num_undelivered_messages, stats.num_delayed_messages), (n, n));
    }
    later(&api, 890);
    assert!(api.receive("plain").await.is_empty() && api.receive("filtered").await.is_empty());
    later(&api, 11);
    api.receive_one("plain").await;
    let first = api.receive_one("filtered").await;
    // The delay is for the first delivery alone.
    let nack = NackOne { delay_seconds: Some(0.0), ..NackOne::default() };
    api.client.nack(&first.id, &nack).await.unwrap();
    assert_eq!(api.receive_one("filtered").await.delivery_attempts, 2);
}

/// A message says in its copy when it can be delivered and when it expires.
async fn a_copy_tells_its_times(database: TestDatabase) {
    let api = Api::on(&database).await;
    let terms = QueueTerms {
        delivery_delay_seconds: Some(10),
        message_retention_seconds: Some(600),
        ..QueueTerms::default()
    };
    api.provide("orders", terms).await;
    let copy = api.publish("orders", 1, &[]).await.remove(0);
    let time = |text: &str| humantime::parse_rfc3339(text).unwrap();
    let after = |text: &str| time(text).duration_since(time(&copy.created_at)).unwrap().as_secs();
    assert_eq!(after(&copy.scheduled_at), 10);
    assert_eq!(after(copy.expired_at.as_deref().unwrap()), 600);
    assert_eq!(copy.updated_at, copy.created_at);
}

async fn what_waits_too_long_expires(database: TestDatabase) {
    let api = Api::on(&database).await;
    let terms = QueueTerms { message_retention_seconds: Some(600), ..QueueTerms::default() };
    provide_two(&api, &terms).await;
    let client = &api.client;
    // Retried: received, and to come again only after its time.
    let retried = api.publish_one("plain", 1).await;
    api.receive_one("plain").await;
    let nack = NackOne { delay_seconds: Some(3_600.0), ..NackOne::default() };
    client.nack(&retried, &nack).await.unwrap();
    // Fresh, and filtered.
    let copies = api.publish("plain", 2, &[("kind", "x")]).await;
    assert_eq!(copies.len(), 2);
    let ids: Vec<&String> = copies.iter().map(|copy| &copy.id).chain([&retried]).collect();

    later(&api, 590);
    for id in &ids {
        assert_eq!(client.message(id).await.unwrap().state, MessageState::Waiting);
    }
    later(&api, 20);
    for id in &ids {
        api.until("it expired", async || {
            client.message(id).await.unwrap().state == MessageState::Expired
        })
        .await;
    }
    later(&api, 3_600);
    for queue in ["plain", "filtered"] {
        assert!(api.receive(queue).await.is_empty(), "{queue}");
        let stats = client.queue_stats(queue).await.unwrap();
        assert_eq!((stats.num_undelivered_messages, stats.num_in_flight_messages), (0, 0));
    }
}

/// What is in a consumer's hands when its time is over can still be done.
async fn what_is_in_hands_does_not_expire(database: TestDatabase) {
    let api = Api::on(&database).await;
    let terms = QueueTerms {
        message_retention_seconds: Some(600),
        ack_deadline_seconds: Some(600),
        ..QueueTerms::default()
    };
    api.provide("orders", terms).await;
    let id = api.publish_one("orders", 1).await;
    later(&api, 500);
    api.receive_one("orders").await;
    later(&api, 300);
    api.client.ack(&id, &Default::default()).await.unwrap();
    assert_eq!(api.client.message(&id).await.unwrap().state, MessageState::Done);
}

async fn a_passed_deadline_brings_a_message_again(database: TestDatabase) {
    let api = Api::on(&database).await;
    let terms = QueueTerms { ack_deadline_seconds: Some(600), ..QueueTerms::default() };
    api.provide("orders", terms).await;
    let id = api.publish_one("orders", 1).await;
    api.receive_one("orders").await;
    later(&api, 590);
    assert!(api.receive("orders").await.is_empty());
    assert_eq!(api.client.message(&id).await.unwrap().state, MessageState::InFlight);
    later(&api, 11);
    // After the sweep a back-off begins.
    api.until("the lease was swept", async || {
        api.client.message(&id).await.unwrap().state == MessageState::Waiting
    })
    .await;
    later(&api, 300);
    assert_eq!(api.receive_one("orders").await.delivery_attempts, 2);
}

on_both!(
    a_delayed_message_comes_when_its_time_has_come,
    a_copy_tells_its_times,
    what_waits_too_long_expires,
    what_is_in_hands_does_not_expire,
    a_passed_deadline_brings_a_message_again,
);
