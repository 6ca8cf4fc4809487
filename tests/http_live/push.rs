//! Messages are pushed as they come: up to a credit, to whoever has room.

use serde_json::{Value, json};

use crate::scene::{Scene, csv};
use crate::support::TestDatabase;

async fn messages_are_pushed_up_to_the_credit(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("?credit=3").await;
    scene.publish(5).await;
    let held = socket.messages(3).await;
    socket.heard().await;
    let depth = scene.depth().await;
    assert_eq!((depth.ready, depth.in_flight), (2, 3));
    // One ack makes room for one.
    assert_eq!(socket.ack(&held[0]).await, "done");
    let next = socket.message().await;
    socket.heard().await;
    assert_eq!(scene.depth().await.in_flight, 3);
    // More credit, more messages.
    socket.say(json!({"type": "credit", "credit": 10})).await;
    let last = socket.message().await;
    let mut all: Vec<u64> =
        held.iter().chain([&next, &last]).map(|one| one["data"]["n"].as_u64().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4, 5]);
}

async fn a_client_can_pause(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("").await;
    socket.say(json!({"type": "credit", "credit": 0})).await;
    socket.heard().await;
    scene.publish(2).await;
    socket.heard().await;
    let depth = scene.depth().await;
    assert_eq!((depth.ready, depth.in_flight), (2, 0));
    socket.say(json!({"type": "credit", "credit": 1})).await;
    assert_eq!(socket.message().await["delivery_attempts"], 1);
    // A credit below what is held takes nothing away.
    socket.say(json!({"type": "credit", "credit": 0})).await;
    socket.heard().await;
    assert_eq!(scene.depth().await.in_flight, 1);
}

async fn a_delivery_is_the_same_by_push_and_by_receive(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("?credit=2").await;
    let upload = scene.published("few.csv", csv(2)).await;
    let pushed = [socket.message().await, socket.message().await];
    for message in &pushed {
        assert_eq!(message["upload_id"], json!(upload.id));
        assert_eq!(message["filename"], "few.csv");
        assert_eq!(
            (&message["queue_id"], &message["delivery_attempts"]),
            (&json!("rows"), &json!(1))
        );
    }
    let rows: Vec<_> = pushed.iter().map(|message| message["row"].as_u64().unwrap()).collect();
    assert_eq!(rows, [2, 3]);
    drop(socket);
    scene.until_depth(2, 0).await;
    let received: Value = scene.get("/queues/rows/messages?limit=2").await;
    let fields = |message: &Value| -> Vec<String> {
        let fields = message.as_object().unwrap().keys();
        fields.filter(|name| *name != "type").cloned().collect()
    };
    assert_eq!(fields(&received["data"][0]), fields(&pushed[0]));
}

async fn two_consumers_share_a_queue(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut a = scene.socket("?credit=1").await;
    let mut b = scene.socket("?credit=1").await;
    scene.publish(10).await;
    // Each holds one, and neither gets another before that.
    let (mut of_a, mut of_b) = (a.message().await, b.message().await);
    let mut seen = vec![];
    for _ in 0..4 {
        for (socket, held) in [(&mut a, &mut of_a), (&mut b, &mut of_b)] {
            seen.push(held["data"]["n"].as_u64().unwrap());
            assert_eq!(socket.ack(held).await, "done");
            *held = socket.message().await;
        }
    }
    for (socket, held) in [(&mut a, &of_a), (&mut b, &of_b)] {
        seen.push(held["data"]["n"].as_u64().unwrap());
        assert_eq!(socket.ack(held).await, "done");
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    assert_eq!(scene.depth().await.total(), 0);
}

async fn with_auto_ack_a_message_is_done_when_it_was_sent(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("?auto_ack=true&credit=2").await;
    scene.publish(5).await;
    let messages = socket.messages(5).await;
    scene.until_depth(0, 0).await;
    for message in &messages {
        assert_eq!(scene.result(message).await["status"], "done");
    }
    // There is nothing to be settled by the client, and no answer to what it did not say.
    socket.say(json!({"type": "ack", "id": messages[0]["id"]})).await;
    let answer = socket.next().await;
    assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &messages[0]["id"]));
    assert!(answer["detail"].as_str().unwrap().contains("auto_ack"), "{answer}");
}

on_both!(
    messages_are_pushed_up_to_the_credit,
    a_client_can_pause,
    a_delivery_is_the_same_by_push_and_by_receive,
    two_consumers_share_a_queue,
    with_auto_ack_a_message_is_done_when_it_was_sent,
);
