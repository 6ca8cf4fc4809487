//! Programs that know RabbitMQ and nothing of rowmill.
use std::time::Duration;

use bytes::Bytes;
use rowmill::broker::carrier::Carrier;
use serde_json::{Value, json};

use super::Rabbit;
use crate::engine::Engine;
use crate::python;
use crate::scene::{Scene, ack, assert_nothing, handles, parcel, parcels, send, take, until_depth};

/// Runs `with_pika.py`, and answers what it printed.
async fn pika(scene: &Scene<Rabbit>, what: &str, queue: &str, count: usize) -> String {
    let mut program = python::program("python").await;
    program.arg(python::file("tests/carriers/rabbitmq/with_pika.py"));
    program.args([what, &scene.engine.url, queue, &count.to_string()]);
    python::run(program).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pika_reads_and_acks_what_was_sent() {
    let scene = Scene::<Rabbit>::shared().await;
    let queue = scene.queue("to-pika").await;
    send(&*scene.carrier, &queue, parcels(5)).await;
    let said = pika(&scene, "consume", queue.as_str(), 5).await;
    let mut seen: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    seen.sort_by_key(|one| one["id"].as_str().unwrap().to_owned());
    for (n, seen) in seen.iter().enumerate() {
        let wanted = json!({
            "id": format!("parcel-{n}"),
            "type": "application/json",
            "persistent": true,
            "headers": { "row": n.to_string(), "filename": "orders.xlsx" },
            "data": { "number": n, "data": format!("item {n}") },
        });
        assert_eq!(*seen, wanted);
    }
    assert_eq!(seen.len(), 5);
    // It acked them all.
    assert_nothing(&*scene.carrier, &queue, Duration::from_secs(1)).await;
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_pika_publishes_is_taken_released_and_dies() {
    let scene = Scene::<Rabbit>::shared().await;
    let carrier = &*scene.carrier;
    let (queue, dead) = scene.queue_with_dead("from-pika").await;
    pika(&scene, "publish", queue.as_str(), 3).await;
    let mut taken = take(carrier, &queue, 3).await;
    taken.sort_by_key(|taken| taken.data.clone());
    for (n, taken) in taken.iter().enumerate() {
        let data: Value = serde_json::from_slice(&taken.data).unwrap();
        assert_eq!(data, json!({ "number": n, "text": "grün" }));
        assert_eq!(taken.attempt, 1);
    }
    assert_eq!(taken[0].id.as_deref(), Some("pika-0"));
    assert_eq!((&taken[1].id, taken[1].attributes.len()), (&None, 0));
    // A number is told as text; a list of further addresses, and what is no text, are not told.
    let told = [("row", "2"), ("sheet", "Sheet 1")];
    assert_eq!(taken[2].attributes, told.map(|(a, b)| (a.to_owned(), b.to_owned())).into());

    // Sent anew, they are what they were.
    let back = handles(&taken).into_iter().map(|handle| (handle, Duration::from_millis(100)));
    assert_eq!(carrier.release(&queue, back.collect()).await.unwrap(), vec![Ok(()); 3]);
    let again = take(carrier, &queue, 3).await;
    assert!(again.iter().all(|taken| taken.attempt == 2));
    for again in &again {
        let was = taken.iter().find(|taken| taken.data == again.data).unwrap();
        assert_eq!((&again.id, &again.attributes), (&was.id, &was.attributes));
    }
    let die = handles(&again).into_iter().map(|handle| (handle, "no".to_owned())).collect();
    assert_eq!(carrier.dead(&queue, die).await.unwrap(), vec![Ok(()); 3]);
    until_depth(carrier, &dead, |depth| depth.waiting == 3).await;
    let said = pika(&scene, "consume", dead.as_str(), 3).await;
    for line in said.lines() {
        let seen: Value = serde_json::from_str(line).unwrap();
        assert_eq!(seen["headers"]["rowmill-reason"], "no");
        if seen["id"] == "pika-2" {
            assert_eq!(seen["headers"]["nested"], json!({ "a": [1] }));
        }
    }
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_json_is_taken_all_the_same() {
    let scene = Scene::<Rabbit>::shared().await;
    let queue = scene.queue("bytes").await;
    let odd = Bytes::from_static(b"\xff\xfe no JSON");
    let sent = rowmill::broker::carrier::Parcel { data: odd.clone(), ..parcel(0) };
    send(&*scene.carrier, &queue, vec![sent]).await;
    let taken = take(&*scene.carrier, &queue, 1).await;
    assert_eq!(taken[0].data, odd);
    ack(&*scene.carrier, &queue, &taken).await;
    scene.engine.tidy().await;
}
