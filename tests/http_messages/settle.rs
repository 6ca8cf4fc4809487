//! Ends of deliveries: acked, nacked, rejected, released, too late; and leases made longer.

use serde_json::{Value, json};

use crate::api::Api;
use crate::support::TestDatabase;

/// A receipt that was never given.
const FOREIGN: &str = "0123456789abcdef0123456789abcdef.0";

async fn each_delivery_ends_as_was_said(database: TestDatabase) {
    let api = Api::on(database).await;
    api.publish(4).await;
    let mut received = api.receive_all("rows", 4).await;
    received.sort_by_key(|delivery| delivery["data"]["n"].as_u64());
    let receipt = |n: usize| received[n - 1]["receipt"].clone();
    let settled = api
        .settle(json!({
            "acks": [{"receipt": receipt(1), "output": {"total": 1.50}}],
            "nacks": [{"receipt": receipt(2), "reason": "later\u{0}", "delay_seconds": 0.0}],
            "rejects": [{"receipt": receipt(3), "reason": "no such customer"}],
            "releases": [receipt(4)],
        }))
        .await;
    assert_eq!(settled, json!({"done": 1, "dead": 1, "again": 2, "stale": []}));

    // Said again, it settles nothing, and says so of each, in the order asked.
    let late: Vec<Value> = (1..=4).rev().map(receipt).chain([json!(FOREIGN)]).collect();
    let acks: Vec<Value> = late.iter().map(|receipt| json!({"receipt": receipt})).collect();
    let (status, problem) = api.post("/queues/rows/settle", &json!({"acks": acks})).await;
    assert_eq!((status, &problem["type"]), (410, &json!("/problems/stale-receipts")));

    // Two come again, with receipts of their own; the rejected one is in the dead queue.
    let mut again = api.receive_all("rows", 2).await;
    again.sort_by_key(|delivery| delivery["data"]["n"].as_u64());
    assert_eq!(again[0]["id"], received[1]["id"]);
    assert_eq!(again[0]["delivery_attempts"], 2);
    assert_eq!(again[1]["id"], received[3]["id"]);
    assert_ne!(again[0]["receipt"], received[1]["receipt"]);
    let dead = api.receive_all("rows-dead", 1).await;
    assert_eq!(dead[0]["data"], received[2]["data"]);
    // A receipt of another queue spoils the request; nothing of it is done.
    let foreign = json!({"releases": [again[0]["receipt"], dead[0]["receipt"]]});
    let (status, problem) = api.post("/queues/rows/settle", &foreign).await;
    assert_eq!(status, 422, "{problem}");
    // Where some are stale, these are named, in the order asked.
    let releases = [&again[0]["receipt"], &late[0], &again[1]["receipt"], &late[4]];
    let settled = api.settle(json!({ "releases": releases })).await;
    assert_eq!(settled["again"], 2);
    assert_eq!(settled["stale"], json!([late[0], late[4]]));

    let result = async |n: usize| {
        let id = received[n - 1]["id"].as_str().unwrap();
        let (status, result) = api.get(&format!("/results/{id}")).await;
        assert_eq!((status, &result["queue"]), (200, &json!("rows")), "{result}");
        result
    };
    let done = result(1).await;
    assert_eq!((&done["status"], &done["output"]), (&json!("done"), &json!({"total": 1.50})));
    assert_eq!((&done["attempts"], &done["error"]), (&json!(1), &Value::Null));
    assert!(done["finished_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(result(2).await["status"], "waiting");
    let dead = result(3).await;
    assert_eq!((&dead["status"], &dead["error"]), (&json!("dead"), &json!("no such customer")));
}

async fn a_message_fails_to_its_death(database: TestDatabase) {
    let api = Api::on(database).await;
    api.publish(1).await;
    for attempt in 1..=5 {
        let received = api.receive_all("rows", 1).await;
        assert_eq!(received[0]["delivery_attempts"], attempt);
        let nack = json!({"receipt": received[0]["receipt"], "reason": "down", "delay_seconds": 0});
        let settled = api.settle(json!({"nacks": [nack]})).await;
        let (again, dead) = if attempt < 5 { (1, 0) } else { (0, 1) };
        assert_eq!((&settled["again"], &settled["dead"]), (&json!(again), &json!(dead)));
    }
    assert!(api.receive("rows", 1).await.is_empty());
    assert_eq!(api.receive_all("rows-dead", 1).await.len(), 1);
}

async fn what_cannot_be_settled_changes_nothing(database: TestDatabase) {
    let api = Api::on(database).await;
    api.publish(1).await;
    let received = api.receive_all("rows", 1).await;
    let receipt = &received[0]["receipt"];
    let ack = json!({"receipt": receipt});
    let refused = [
        ("/queues/rows/settle", json!({"acks": [ack, ack]}), 422),
        ("/queues/rows/settle", json!({"acks": [ack], "releases": [receipt]}), 422),
        ("/queues/rows/settle", json!({"acks": [ack, {"receipt": "1.2"}]}), 422),
        ("/queues/rows/settle", json!({"acks": [ack], "nack": []}), 422),
        ("/queues/rows/settle", json!({"acks": [{"receipt": receipt, "out": 1}]}), 422),
        ("/queues/rows/settle", json!({"nacks": [{"receipt": receipt, "delay_seconds": -1}]}), 422),
        (
            "/queues/rows/settle",
            json!({"nacks": [{"receipt": receipt, "delay_seconds": 1e300}]}),
            422,
        ),
        ("/queues/nowhere/settle", json!({"acks": [ack]}), 404),
        ("/queues/nowhere/extend", json!({"receipts": [receipt]}), 404),
    ];
    for (path, body, expected) in refused {
        let (status, problem) = api.post(path, &body).await;
        assert_eq!(status, expected, "{path} {body}: {problem}");
    }
    assert_eq!(api.settle(json!({})).await["stale"], json!([]));
    assert_eq!(api.settle(json!({"acks": [ack]})).await["done"], 1);
}

async fn a_lease_is_made_longer_by_any_of_its_receipts(database: TestDatabase) {
    let api = Api::on(database).await;
    api.publish(2).await;
    let received = api.receive_all("rows", 2).await;
    let receipts = json!([received[0]["receipt"], FOREIGN, received[1]["receipt"]]);
    let (status, extended) = api.post("/queues/rows/extend", &json!({"receipts": receipts})).await;
    assert_eq!(status, 200, "{extended}");
    for (at, receipt) in receipts.as_array().unwrap().iter().enumerate() {
        let one = &extended["data"][at];
        assert_eq!(&one["receipt"], receipt);
        match one["deadline_seconds"].as_f64() {
            Some(left) => assert!((50.0..=60.0).contains(&left) && at != 1, "{one}"),
            None => assert_eq!(at, 1, "{one}"),
        }
    }
    let ack = |delivery: &Value| json!({"receipt": delivery["receipt"]});
    let acks: Vec<Value> = received.iter().map(ack).collect();
    assert_eq!(api.settle(json!({"acks": acks})).await["done"], 2);
    let (_, extended) = api.post("/queues/rows/extend", &json!({"receipts": receipts})).await;
    assert_eq!(extended["data"][0]["deadline_seconds"], Value::Null);
}

on_both!(
    each_delivery_ends_as_was_said,
    a_message_fails_to_its_death,
    what_cannot_be_settled_changes_nothing,
    a_lease_is_made_longer_by_any_of_its_receipts,
);
