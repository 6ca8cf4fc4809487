//! The service from one end to the other, as its users would tell it.

use rowmill::api::{AckOne, MessageState, NackOne, QueueTerms};
use serde_json::json;
use serde_json::value::to_raw_value;

use crate::api::Api;
use crate::support::TestDatabase;

async fn a_message_goes_its_way(database: TestDatabase) {
    let api = Api::on(&database).await;
    let client = &api.client;
    api.provide("orders", QueueTerms::default()).await;
    let copies = api.publish("orders", 7, &[("country", "DE")]).await;
    assert_eq!(copies.len(), 1);
    let copy = &copies[0];
    assert_eq!((copy.queue_id.as_str(), copy.delivery_attempts), ("orders", 0));
    assert_eq!(copy.data.get(), r#"{"n":7}"#);
    assert_eq!(copy.attributes["country"], "DE");

    let stats = client.queue_stats("orders").await.unwrap();
    assert_eq!((stats.num_undelivered_messages, stats.num_in_flight_messages), (1, 0));
    assert!(stats.published_per_second > 0.0, "{stats:?}");

    let received = api.receive_one("orders").await;
    assert_eq!((&received.id, received.delivery_attempts), (&copy.id, 1));
    let time = |text: &str| humantime::parse_rfc3339(text).unwrap();
    // The copy is answered by the server's clock, the rest by the database's.
    let expires = |at: &Option<String>| time(at.as_deref().unwrap());
    let (early, late) = (expires(&copy.expired_at), expires(&received.expired_at));
    let apart = late.duration_since(early).unwrap_or_else(|error| error.duration());
    assert!(apart.as_secs() < 5, "{copy:?}, {received:?}");
    let kept = time(&received.scheduled_at).duration_since(time(&received.updated_at)).unwrap();
    assert_eq!(kept.as_secs(), 60);
    let stats = client.queue_stats("orders").await.unwrap();
    assert_eq!((stats.num_undelivered_messages, stats.num_in_flight_messages), (0, 1));

    let nack = NackOne { reason: "the shop is closed".into(), delay_seconds: Some(0.0) };
    client.nack(&copy.id, &nack).await.unwrap();
    let waits = client.message(&copy.id).await.unwrap();
    assert_eq!((waits.state, waits.delivery_attempts), (MessageState::Waiting, 1));
    assert_eq!(waits.reason.as_deref(), Some("the shop is closed"));

    let again = api.receive_one("orders").await;
    assert_eq!((&again.id, again.delivery_attempts), (&copy.id, 2));
    assert_ne!(again.receipt, received.receipt);
    let output = to_raw_value(&json!({"paid": 1.5})).unwrap();
    client.ack(&copy.id, &AckOne { output: Some(output) }).await.unwrap();

    assert!(api.receive("orders").await.is_empty());
    let stats = client.queue_stats("orders").await.unwrap();
    assert_eq!((stats.num_undelivered_messages, stats.num_in_flight_messages), (0, 0));
    assert_eq!(stats.oldest_unacked_message_age_seconds, 0);
    assert!(stats.ended_per_second > 0.0, "{stats:?}");
    let done = client.message(&copy.id).await.unwrap();
    assert_eq!((done.state, done.delivery_attempts), (MessageState::Done, 2));
    let result = client.result(&copy.id).await.unwrap();
    assert_eq!(result.output.unwrap().get(), r#"{"paid":1.5}"#);
}

async fn filters_say_who_gets_what(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.provide("all", QueueTerms::default()).await;
    for (name, filters) in [
        ("german", json!({"country": ["DE", "AT"]})),
        ("large-german", json!({"country": ["DE"], "size": ["L"]})),
    ] {
        let filters = serde_json::from_value(filters).unwrap();
        let terms = QueueTerms {
            topic_id: Some("all".into()),
            message_filters: Some(filters),
            ..QueueTerms::default()
        };
        api.queue(name, terms).await;
    }
    for (n, attributes, expected) in [
        (1, &[][..], &["all"][..]),
        (2, &[("country", "FR"), ("size", "L")], &["all"]),
        (3, &[("country", "AT")], &["all", "german"]),
        (4, &[("country", "DE"), ("size", "S")], &["all", "german"]),
        (5, &[("country", "DE"), ("size", "L")], &["all", "german", "large-german"]),
        (6, &[("Country", "DE")], &["all"]),
    ] {
        let copies = api.publish("all", n, attributes).await;
        let mut queues: Vec<&str> = copies.iter().map(|copy| copy.queue_id.as_str()).collect();
        queues.sort_unstable();
        assert_eq!(queues, expected, "message {n}");
    }
    for (queue, expected) in [("german", vec![3, 4, 5]), ("large-german", vec![5])] {
        let mut got = vec![];
        while got.len() < expected.len() {
            let data: serde_json::Value =
                serde_json::from_str(api.receive_one(queue).await.data.get()).unwrap();
            got.push(data["n"].as_u64().unwrap());
        }
        got.sort_unstable();
        assert_eq!(got, expected, "{queue}");
        assert!(api.receive(queue).await.is_empty(), "{queue} got more");
    }
}

on_both!(a_message_goes_its_way, filters_say_who_gets_what);
