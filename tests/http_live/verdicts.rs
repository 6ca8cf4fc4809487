//! What a client says of its deliveries, and what it is answered.

use std::collections::BTreeSet;

use futures::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::scene::Scene;
use crate::support::TestDatabase;

async fn each_verdict_is_carried_out(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("").await;
    scene.publish(4).await;
    let held = socket.messages(4).await;
    let id = |n: usize| held[n - 1]["id"].clone();
    let ack = json!({"type": "ack", "id": id(1), "output": {"total": 1.50}});
    assert_eq!(socket.settled(ack).await, "done");
    let reject = json!({"type": "reject", "id": id(2), "reason": "no such customer"});
    assert_eq!(socket.settled(reject).await, "dead");
    let later = json!({"type": "nack", "id": id(3), "reason": "busy", "delay_seconds": 3600});
    assert_eq!(socket.settled(later).await, "again");
    let again = json!({"type": "nack", "id": id(4), "delay_seconds": 0});
    assert_eq!(socket.settled(again).await, "again");
    let back = socket.message().await;
    assert_eq!((&back["id"], &back["delivery_attempts"]), (&id(4), &json!(2)));
    assert_eq!(socket.ack(&back).await, "done");

    let done = scene.result(&held[0]).await;
    assert_eq!((&done["status"], &done["output"]), (&json!("done"), &json!({"total": 1.50})));
    let dead = scene.result(&held[1]).await;
    assert_eq!((&dead["status"], &dead["error"]), (&json!("dead"), &json!("no such customer")));
    let depth = scene.depth().await;
    assert_eq!((depth.delayed, depth.ready, depth.in_flight), (1, 0, 0));
    assert_eq!(scene.result(&held[3]).await["attempts"], 2);
}

async fn a_message_fails_to_its_death(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("").await;
    scene.publish(1).await;
    for attempt in 1..=5 {
        let message = socket.message().await;
        assert_eq!(message["delivery_attempts"], attempt);
        let nack = json!({"type": "nack", "id": message["id"], "delay_seconds": 0});
        let expected = if attempt < 5 { "again" } else { "dead" };
        assert_eq!(socket.settled(nack).await, expected);
    }
}

async fn verdicts_that_arrive_together_are_all_answered(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("?credit=200").await;
    scene.publish(200).await;
    let held = socket.messages(200).await;
    for message in &held {
        let ack = json!({"type": "ack", "id": message["id"], "output": message["data"]["n"]});
        socket.0.feed(Message::text(ack.to_string())).await.unwrap();
    }
    socket.0.flush().await.unwrap();
    let mut answered = BTreeSet::new();
    for _ in &held {
        let answer = socket.next().await;
        assert_eq!(answer["status"], "done", "{answer}");
        answered.insert(answer["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(answered.len(), 200);
    for message in held.iter().step_by(37) {
        assert_eq!(scene.result(message).await["output"], message["data"]["n"]);
    }
    assert_eq!(scene.depth().await.total(), 0);
}

async fn bad_frames_are_answered_and_harm_nothing(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("").await;
    scene.publish(1).await;
    let held = socket.message().await;
    let mut other = scene.socket("?credit=1").await;
    let nobody = "00000000-0000-8000-8000-000000000000";
    for (frame, detail, id) in [
        ("", "no frame", Value::Null),
        ("[1]", "no frame", Value::Null),
        (r#"{"type":"ack""#, "no frame", Value::Null),
        (r#"{"type":"eat"}"#, "`type` is", Value::Null),
        (r#"{"type":"ack","id":"me"}"#, "no id", json!("me")),
        (
            r#"{"type":"ack","id":"00000000-0000-8000-8000-000000000000"}"#,
            "holds no delivery",
            json!(nobody),
        ),
        (
            r#"{"type":"extend","id":"00000000-0000-8000-8000-000000000000","seconds":9}"#,
            "holds no delivery",
            json!(nobody),
        ),
        (r#"{"type":"credit","credit":1001}"#, "`credit` is 0 to 1000", Value::Null),
    ] {
        socket.say_raw(Message::text(frame)).await;
        let answer = socket.next().await;
        assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &id), "{frame}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(detail), "{frame}: {answer}");
    }
    socket.say_raw(Message::binary(b"{\"type\":\"ack\"}".to_vec())).await;
    assert!(socket.next().await["detail"].as_str().unwrap().contains("text"));
    // What one socket holds the other does not.
    other.say(json!({"type": "ack", "id": held["id"]})).await;
    let answer = other.next().await;
    assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &held["id"]));
    assert_eq!(socket.ack(&held).await, "done");
    // Said twice, the second time there is nothing to settle.
    socket.say(json!({"type": "ack", "id": held["id"]})).await;
    assert_eq!(socket.next().await["type"], "error");
}

async fn a_frame_that_is_too_large_ends_it(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("").await;
    scene.publish(1).await;
    let held = socket.message().await;
    let large = json!({"type": "ack", "id": held["id"], "output": "x".repeat(1 << 20)});
    socket.say(large).await;
    let (code, reason) = socket.closed().await;
    assert_eq!(code, 1002);
    assert!(reason.contains("cannot be read"), "{reason}");
    scene.until_depth(1, 0).await;
}

on_both!(
    each_verdict_is_carried_out,
    a_message_fails_to_its_death,
    verdicts_that_arrive_together_are_all_answered,
    bad_frames_are_answered_and_harm_nothing,
    a_frame_that_is_too_large_ends_it,
);
