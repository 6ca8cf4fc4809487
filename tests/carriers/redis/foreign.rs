//! Programs that know Redis and nothing of rowmill.
use std::time::Duration;

use rowmill::broker::carrier::Carrier;
use serde_json::{Value, json};

use super::Redis;
use crate::python;
use crate::scene::{
    Scene, ack, assert_nothing, handles, parcels, send, take, take_one, until_depth,
};

/// Runs `with_redis_py.py`, and answers what it printed.
async fn redis_py(scene: &Scene<Redis>, what: &str, stream: &str, count: usize) -> Vec<Value> {
    let mut program = python::program("python").await;
    program.arg(python::file("tests/carriers/redis/with_redis_py.py"));
    program.args([what, &scene.engine.url, stream, &count.to_string()]);
    let said = python::run(program).await;
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_py_reads_and_acks_what_was_sent() {
    let scene = Scene::<Redis>::shared().await;
    let queue = scene.queue("to-python").await;
    let stream = scene.engine.stream(&queue);
    send(&*scene.carrier, &queue, parcels(5)).await;
    let seen = redis_py(&scene, "consume", &stream, 5).await;
    for (n, seen) in seen.iter().enumerate() {
        let wanted = json!({
            "id": format!("parcel-{n}"),
            "attributes": { "row": n.to_string(), "filename": "orders.xlsx" },
            "data": { "number": n, "data": format!("item {n}") },
        });
        assert_eq!(*seen, wanted);
    }
    assert_eq!(seen.len(), 5);
    assert_nothing(&*scene.carrier, &queue, Duration::from_secs(1)).await;
    until_depth(&*scene.carrier, &queue, |d| d.waiting == 0 && d.in_hands == Some(0)).await;
}

/// A consumer that does not delete what it acked leaves it to the driver, which deletes nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acked_is_trimmed_and_nothing_that_was_not() {
    let scene = Scene::<Redis>::shared().await;
    let carrier = &*scene.carrier;
    let queue = scene.queue("untidy").await;
    let stream = scene.engine.stream(&queue);
    send(carrier, &queue, parcels(20)).await;
    redis_py(&scene, "ack", &stream, 5).await;
    let held = take_one(carrier, &queue).await;
    redis_py(&scene, "ack", &stream, 10).await;
    // Those before the one in hands go, those after it must stay as long as it does.
    let another_look = scene.engine.limits().look_every;
    tokio::time::sleep(another_look).await;
    let more = take(carrier, &queue, 2).await;
    assert_eq!(scene.engine.length(&queue).await, 15, "1 in hands, 10 acked, 2 in hands, 2 wait");
    assert_eq!(held.id.as_deref(), Some("parcel-5"));
    ack(carrier, &queue, &[held]).await;
    ack(carrier, &queue, &more[..1]).await;
    tokio::time::sleep(another_look).await;
    let last = take(carrier, &queue, 2).await;
    assert_eq!(scene.engine.length(&queue).await, 3, "what is in hands");
    ack(carrier, &queue, &more[1..]).await;
    ack(carrier, &queue, &last).await;
    assert_nothing(carrier, &queue, Duration::from_secs(1)).await;
    assert_eq!(scene.engine.length(&queue).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_py_publishes_is_taken_released_and_dies() {
    let scene = Scene::<Redis>::shared().await;
    let carrier = &*scene.carrier;
    let (queue, dead) = scene.queue_with_dead("from-python").await;
    redis_py(&scene, "publish", &scene.engine.stream(&queue), 3).await;
    let taken = take(carrier, &queue, 3).await;
    for (n, taken) in taken.iter().enumerate() {
        let data: Value = serde_json::from_slice(&taken.data).unwrap();
        // What has no data is an object of its fields, and those are text.
        let number = if n == 2 { json!("2") } else { json!(n) };
        assert_eq!(data, json!({ "number": number, "text": "grün" }));
        assert_eq!(taken.attempt, 1);
    }
    assert_eq!(taken[0].id.as_deref(), Some("python-0"));
    let told = [("row", "0"), ("sheet", "Sheet 1")];
    assert_eq!(taken[0].attributes, told.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
    assert_eq!((&taken[1].id, taken[1].attributes.len()), (&None, 0));

    let back = handles(&taken).into_iter().map(|handle| (handle, Duration::from_millis(100)));
    assert_eq!(carrier.release(&queue, back.collect()).await.unwrap(), vec![Ok(()); 3]);
    let again = take(carrier, &queue, 3).await;
    let die = handles(&again).into_iter().map(|handle| (handle, "why".to_owned())).collect();
    assert_eq!(carrier.dead(&queue, die).await.unwrap(), vec![Ok(()); 3]);
    let died = take(carrier, &dead, 3).await;
    for taken in &taken {
        let mut died = died.iter().find(|died| died.data == taken.data).unwrap().clone();
        assert_eq!(died.attributes.remove("rowmill-reason").as_deref(), Some("why"));
        assert_eq!((&died.id, &died.attributes), (&taken.id, &taken.attributes));
    }
}
