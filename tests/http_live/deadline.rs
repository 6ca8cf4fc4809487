//! Deadlines: a message that is held too long comes again elsewhere, and a client can ask for longer.

use std::time::Duration;

use rowmill::store::control::NewQueue;
use serde_json::json;

use crate::scene::Scene;
use crate::socket::Socket;
use crate::support::TestDatabase;

async fn a_late_verdict_is_stale(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut late = scene.socket("?credit=1").await;
    scene.publish(1).await;
    let held = late.message().await;
    scene.let_deadlines_pass().await;
    let mut next = scene.socket("").await;
    let again = next.message().await;
    assert_eq!((&again["id"], &again["delivery_attempts"]), (&held["id"], &json!(2)));
    assert_eq!(late.ack(&held).await, "stale");
    assert_eq!(next.ack(&again).await, "done");
    // It is no longer counted against the credit.
    drop(next);
    scene.publish(1).await;
    late.message().await;
}

async fn credit_comes_back_when_a_deadline_passes(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let topic = scene.store.control.ensure_topic(&"rows".parse().unwrap()).await.unwrap();
    let queue = NewQueue {
        topic: Some(topic),
        deadline: Duration::from_millis(300),
        ..NewQueue::new("short".parse().unwrap())
    };
    scene.store.control.ensure_queue(&queue).await.unwrap();
    let mut socket = Socket::open(&scene.address, "short", "?credit=1").await;
    scene.publish(2).await;
    let first = socket.message().await;
    // Nobody settles the first, and nobody sweeps: only its time passes.
    let second = socket.message().await;
    assert_ne!(first["id"], second["id"]);
    // Not swept yet, it can still be settled.
    assert_eq!(socket.ack(&first).await, "done");
    // The second is swept, and comes to the same client, whose word is on its new delivery.
    scene
        .until("the second comes again", async || {
            let swept = scene.broker.sweep(100).await.unwrap();
            swept.iter().any(|settled| settled.again > 0)
        })
        .await;
    let again = socket.message().await;
    assert_eq!((&again["id"], &again["delivery_attempts"]), (&second["id"], &json!(2)));
    assert_eq!(socket.ack(&again).await, "done");
}

async fn a_client_can_ask_for_longer(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("").await;
    scene.publish(2).await;
    let held = socket.messages(2).await;
    socket.say(json!({"type": "extend", "id": held[0]["id"], "seconds": 600})).await;
    let answer = socket.next().await;
    assert_eq!((&answer["type"], &answer["id"]), (&json!("extended"), &held[0]["id"]), "{answer}");
    let left = answer["deadline_seconds"].as_f64().unwrap();
    assert!((590.0..=600.0).contains(&left), "{answer}");
    // The usual deadline is over, and it is still this client's.
    scene.let_deadlines_pass().await;
    assert_eq!(socket.ack(&held[0]).await, "done");
    // What the sweep took cannot be kept any more.
    scene.store.clock.advance(Duration::from_secs(600));
    scene.broker.sweep(100).await.unwrap();
    if scene.depth().await.ready == 0 {
        // It came with the first, in one lease, and so it went on with it and came again just now.
        let again = socket.message().await;
        assert_eq!((&again["id"], &again["delivery_attempts"]), (&held[1]["id"], &json!(2)));
    }
}

async fn an_extend_that_comes_too_late_is_stale(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut late = scene.socket("?credit=1").await;
    scene.publish(1).await;
    let held = late.message().await;
    scene.let_deadlines_pass().await;
    let mut next = scene.socket("").await;
    next.message().await;
    let extend = json!({"type": "extend", "id": held["id"], "seconds": 60});
    assert_eq!(late.settled(extend).await, "stale");
    // And its place is free.
    scene.publish(1).await;
    late.say(json!({"type": "credit", "credit": 1})).await;
    let either = tokio::select! {
        message = late.message() => message,
        message = next.message() => message,
    };
    assert_ne!(either["id"], held["id"]);
}

on_both!(
    a_late_verdict_is_stale,
    credit_comes_back_when_a_deadline_passes,
    a_client_can_ask_for_longer,
    an_extend_that_comes_too_late_is_stale,
);
