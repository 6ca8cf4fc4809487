//! Delays, which on RabbitMQ are rowmill's own.

use std::collections::BTreeMap;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use rowmill::broker::carrier::rabbitmq::{RabbitCarrier, RabbitLimits};
use rowmill::broker::carrier::{Carrier, CarrierError, CarrierQueue, Parcel};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Rabbit;
use crate::engine::Engine;
use crate::scene::{
    PATIENCE, SHORT, SOON, Scene, ack, assert_intact, assert_nothing, parcel, send, take_one,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delays_have_queues_of_their_own_which_go_with_theirs() {
    let scene = Scene::<Rabbit>::shared().await;
    let carrier = &*scene.carrier;
    let queue = scene.queue("delays").await;
    let late = |n, seconds| Parcel { delay: Duration::from_secs(seconds), ..parcel(n) };
    send(carrier, &queue, vec![late(0, 300), late(1, 300), late(2, 601), parcel(3)]).await;
    let delay = |seconds: u64| format!("{queue}/delay/{seconds}");
    let seen = scene.engine.seen(&delay(512)).await.unwrap();
    assert_eq!(seen["type"], "quorum");
    // The server lets go of nothing by itself: neither after a time nor after many looks.
    let arguments = json!({
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-delivery-limit": i32::MAX,
    });
    assert_eq!(seen["arguments"], arguments);
    assert!(scene.engine.seen(&delay(1024)).await.is_some(), "for up to twice as long");
    // What is delayed is purged, too; and the next delay is made anew, whoever purged.
    let another = scene.another().await;
    assert_eq!(another.purge(&queue).await.unwrap(), Some(4));
    assert!(scene.engine.seen(&delay(512)).await.is_none());
    send(carrier, &queue, vec![late(4, 300)]).await;
    let soon = Parcel { delay: Duration::from_millis(60), ..parcel(5) };
    send(carrier, &queue, vec![soon.clone()]).await;
    assert_intact(&take_one(carrier, &queue).await, &soon);
    carrier.remove(&queue).await.unwrap();
    assert!(scene.engine.seen(&delay(512)).await.is_none());
    assert!(scene.engine.seen(&delay(1)).await.is_none());
    // No delay queue is made of a queue that is not there.
    let none = another.send(&queue, vec![late(6, 300)]).await;
    assert!(matches!(none, Err(CarrierError::NoQueue(_))), "{none:?}");
    assert!(scene.engine.seen(&delay(512)).await.is_none());
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_made_to_wait_that_is_gone_is_brought_by_another() {
    let scene = Scene::<Rabbit>::shared().await;
    let queue = scene.queue("left-behind").await;
    let gone = scene.another().await;
    let late = |n, delay| Parcel { delay, ..parcel(n) };
    send(&*gone, &queue, vec![late(0, 2 * SHORT), late(1, 4 * SHORT), late(2, 8 * SHORT)]).await;
    let begun = Instant::now();
    drop(gone);
    // It knew nothing of them until it is told of the queue, as whoever starts is.
    let limits = RabbitLimits { delay_look: SHORT, ..super::limits() };
    let other = RabbitCarrier::connect(&scene.engine.url, limits).await.unwrap();
    other.ensure(&CarrierQueue { name: queue.clone(), ..scene.plan("") }).await.unwrap();
    for n in 0..3_u32 {
        let taken = take_one(&other, &queue).await;
        assert_intact(&taken, &parcel(n as usize));
        assert_eq!(taken.attempt, 1, "who brings it is no consumer");
        let delay = SHORT * (2 << n);
        assert!(begun.elapsed() > delay.mul_f32(0.9), "{:?}", begun.elapsed());
        ack(&other, &queue, &[taken]).await;
    }
    assert_nothing(&other, &queue, SHORT).await;
    // Nothing is left of how they were looked for.
    for seconds in [2, 4, 8] {
        until_empty(&scene, &format!("{queue}/delay/{seconds}")).await;
    }
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_delays_of_all_lengths_come_each_at_its_time() {
    let scene = Scene::<Rabbit>::shared().await;
    let (carrier, queue) = (&*scene.carrier, scene.queue("many").await);
    let another = scene.another().await;
    another.ensure(&CarrierQueue { name: queue.clone(), ..scene.plan("") }).await.unwrap();
    let count = 1_500;
    let begun = Instant::now();
    // Two processes, more than one look brings, and the longest first.
    for (carrier, part) in [(carrier, 0), (&*another, 1)] {
        let delay = |n: usize| Duration::from_millis(((count - n) * 3 % 3_900 + 10) as u64);
        let some = (0..count).filter(|n| n % 2 == part);
        let some = some.map(|n| Parcel { delay: delay(n), ..parcel(n) });
        send(carrier, &queue, some.collect()).await;
    }
    let mut came = BTreeMap::new();
    while came.len() < count {
        let taken = carrier.take(&queue, 500, SOON).await.unwrap();
        assert!(!taken.is_empty(), "{} of {count} came", came.len());
        for one in &taken {
            let twice = came.insert(one.id.clone(), begun.elapsed());
            assert!(twice.is_none(), "{one:?} came twice");
        }
        ack(carrier, &queue, &taken).await;
    }
    for n in 0..count {
        let delay = Duration::from_millis(((count - n) * 3 % 3_900 + 10) as u64);
        let took = came[&Some(parcel(n).id)];
        assert!(took >= delay, "{n} came after {took:?} instead of {delay:?}");
        assert!(took < delay + SOON, "{n} came after {took:?} instead of {delay:?}");
    }
    assert_nothing(carrier, &queue, SHORT).await;
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_time_outlives_the_server() {
    let scene = Scene::<Rabbit>::own().await;
    let (carrier, queue) = (&*scene.carrier, scene.queue("restart").await);
    let again = Parcel { delay: Duration::from_secs(3), ..parcel(0) };
    send(carrier, &queue, vec![parcel(1), again]).await;
    let taken = take_one(carrier, &queue).await;
    let back = vec![(taken.handle, Duration::from_secs(5))];
    assert_eq!(carrier.release(&queue, back).await.unwrap(), [Ok(())]);
    scene.engine.crash().await;
    scene.engine.start().await;
    let mut attempts = BTreeMap::new();
    while attempts.len() < 2 {
        let taken = take_one(carrier, &queue).await;
        attempts.insert(taken.id.clone().unwrap(), taken.attempt);
        ack(carrier, &queue, &[taken]).await;
    }
    assert_eq!(attempts, [(parcel(0).id, 1), (parcel(1).id, 2)].into());
}

/// Waits until the server has nothing in a queue.
async fn until_empty(scene: &Scene<Rabbit>, queue: &str) {
    let until = Instant::now() + PATIENCE;
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&scene.engine.url, properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    loop {
        // What a look has in hands is ready again when it is over.
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let look = channel.queue_declare(queue.into(), options, FieldTable::default());
        if look.await.unwrap().message_count() == 0 {
            return;
        }
        assert!(Instant::now() < until, "{queue} has something");
        sleep(Duration::from_millis(50)).await;
    }
}
