//! What is true of RabbitMQ alone.

use std::time::Duration;

use bytes::Bytes;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use rowmill::broker::carrier::rabbitmq::{RabbitCarrier, RabbitLimits};
use rowmill::broker::carrier::{Carrier, CarrierError, CarrierQueue, Failed, Parcel, REASON};
use rowmill::domain::QueueName;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Rabbit;
use crate::engine::Engine;
use crate::proxy::Proxy;
use crate::scene::{
    PATIENCE, SHORT, SOON, Scene, ack, ack_one, assert_intact, assert_nothing, drain, handles,
    parcel, parcels, send, take, take_one, until_depth,
};

impl Rabbit {
    /// A queue as the server has it.
    pub(super) async fn seen(&self, queue: &str) -> Option<Value> {
        let url = self.api.replacen("vhosts", "queues", 1);
        let url = format!("{url}/{}", queue.replace('/', "%2F"));
        let answer = super::http().get(url).send().await.unwrap();
        if answer.status() == 404 {
            return None;
        }
        Some(serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_are_made_by_the_book() {
    let scene = Scene::<Rabbit>::shared().await;
    let dead = scene.queue("dead").await;
    let plan = CarrierQueue {
        dead: Some(dead.clone()),
        deliveries: Some(6),
        capacity: Some(1_000),
        ..scene.plan("book")
    };
    scene.carrier.ensure(&plan).await.unwrap();
    let seen = scene.engine.seen(plan.name.as_str()).await.unwrap();
    assert_eq!((&seen["type"], &seen["durable"]), (&json!("quorum"), &json!(true)));
    let arguments = json!({
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-max-length": 1_000,
        // Five redeliveries are six deliveries.
        "x-delivery-limit": 5,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead.as_str(),
        "x-dead-letter-strategy": "at-least-once",
    });
    assert_eq!(seen["arguments"], arguments);
    // What it was made with stays.
    for changed in [
        CarrierQueue { dead: None, ..plan.clone() },
        CarrierQueue { deliveries: Some(7), ..plan.clone() },
        CarrierQueue { capacity: None, ..plan.clone() },
        CarrierQueue { retention: Some(SHORT), ..plan.clone() },
    ] {
        // It says so when it is asked, and asking changes nothing.
        for answer in
            [scene.carrier.could_ensure(&changed).await, scene.carrier.ensure(&changed).await]
        {
            assert!(matches!(answer, Err(CarrierError::Unsupported { .. })), "{answer:?}");
        }
    }
    scene.carrier.could_ensure(&plan).await.unwrap();
    scene.carrier.could_ensure(&scene.plan("none")).await.unwrap();
    assert!(scene.engine.seen(scene.plan("none").name.as_str()).await.is_none());
    scene.carrier.ensure(&CarrierQueue { ack_deadline: SHORT, ..plan }).await.unwrap();
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engines_own_dead_have_a_reason_too() {
    let scene = Scene::<Rabbit>::shared().await;
    let dead = scene.queue("own-dead").await;
    let plan = CarrierQueue { dead: Some(dead.clone()), deliveries: Some(2), ..scene.plan("own") };
    scene.carrier.ensure(&plan).await.unwrap();
    send(&*scene.carrier, &plan.name, vec![parcel(0)]).await;
    // Two consumers die without a word. Neither knows the limit: the server keeps it.
    for attempt in 1..=2 {
        let consumer = scene.another().await;
        assert_eq!(take_one(&*consumer, &plan.name).await.attempt, attempt);
        drop(consumer);
    }
    let died = take_one(&*scene.carrier, &dead).await;
    assert!(died.attributes[REASON].contains("delivered too often"), "{died:?}");
    // Redriven, nothing of that is left.
    let back = vec![(died.handle, Duration::ZERO)];
    assert_eq!(scene.carrier.release(&dead, back).await.unwrap(), [Ok(())]);
    assert_eq!(scene.carrier.redrive(&dead, &plan.name, 10).await.unwrap(), 1);
    let again = take_one(&*scene.carrier, &plan.name).await;
    assert_intact(&again, &parcel(0));
    assert_eq!(again.attempt, 1);
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_retention_only_the_dead_are_among_the_dead() {
    let scene = Scene::<Rabbit>::shared().await;
    let carrier = &*scene.carrier;
    let dead = scene.queue("kept-dead").await;
    let plan = CarrierQueue {
        dead: Some(dead.clone()),
        deliveries: Some(2),
        retention: Some(10 * SHORT),
        ..scene.plan("kept")
    };
    carrier.ensure(&plan).await.unwrap();
    let queue = &plan.name;
    // One is delivered too often, once after a delay, from which on the server counts anew.
    send(carrier, queue, vec![parcel(0)]).await;
    for delay in [Duration::ZERO, Duration::from_millis(50)] {
        let taken = take_one(carrier, queue).await;
        assert_eq!(carrier.release(queue, vec![(taken.handle, delay)]).await.unwrap(), [Ok(())]);
    }
    assert_nothing(carrier, queue, SHORT).await;
    let died = take_one(carrier, &dead).await;
    assert!(died.attributes[REASON].contains("2 times"), "{died:?}");
    ack(carrier, &dead, &[died]).await;
    // Others nobody takes: they go when their time is over, and not there.
    send(carrier, queue, parcels(3)).await;
    until_depth(carrier, queue, |depth| depth.waiting == 0).await;
    assert_nothing(carrier, &dead, SHORT).await;
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_is_refused_alone() {
    let scene = Scene::<Rabbit>::shared().await;
    let queue = scene.queue("refused").await;
    // The tests' server takes 20 MB, and this driver does not know it.
    let limits = RabbitLimits { parcel_bytes: 64 << 20, ..super::limits() };
    let carrier = RabbitCarrier::connect(&scene.engine.url, limits).await.unwrap();
    let large = Parcel { data: Bytes::from(vec![b' '; 21 << 20]), ..parcel(1) };
    let wide = [("wide".to_owned(), "w".repeat(130 << 10))];
    let wide = Parcel { attributes: wide.into(), ..parcel(3) };
    let batch = vec![parcel(0), large, parcel(2), wide, parcel(4)];
    let answers = carrier.send(&queue, batch).await.unwrap();
    for (n, answer) in answers.iter().enumerate() {
        let refused = matches!(answer, Err(Failed::Refused(_)));
        assert!(if n % 2 == 1 && n < 4 { refused } else { *answer == Ok(()) }, "{n}: {answer:?}");
    }
    let came: std::collections::BTreeSet<_> =
        drain(&carrier, &queue).await.into_iter().map(|taken| taken.id.unwrap()).collect();
    assert_eq!(came, [0, 2, 4].map(|n| parcel(n).id).into());
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_of_a_lost_connection_settles_nothing() {
    let scene = Scene::<Rabbit>::shared().await;
    let queue = scene.queue("lost").await;
    let wire = Proxy::to(scene.engine.address()).await;
    let carrier = scene.engine.connect(wire.address()).await.unwrap();
    send(&carrier, &queue, parcels(3)).await;
    let lost = take(&carrier, &queue, 3).await;
    wire.cut();
    // The same numbers on the next channel are other deliveries.
    let again = take(&carrier, &queue, 3).await;
    assert!(again.iter().all(|taken| taken.attempt == 2));
    let over = carrier.ack(&queue, handles(&lost)).await.unwrap();
    assert_eq!(over, vec![Err(Failed::Over); 3]);
    for taken in &again {
        assert_eq!(ack_one(&carrier, &queue, taken).await, Ok(()));
    }
    assert_nothing(&*scene.carrier, &queue, SHORT).await;
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_in_any_order_end_what_they_name_and_no_more() {
    let scene = Scene::<Rabbit>::shared().await;
    let carrier = &*scene.carrier;
    let queue = scene.queue("order").await;
    send(carrier, &queue, parcels(200)).await;
    let mut taken = take(carrier, &queue, 120).await;
    taken.extend(take(carrier, &queue, 80).await);
    let mut acked = std::collections::BTreeSet::new();
    // Runs from the front, holes, the back, many at once.
    for range in [0..10, 12..20, 199..200, 10..11, 100..150, 60..61, 20..40] {
        let some = &taken[range];
        let (first, second) = some.split_at(some.len() / 2);
        let (one, other) = tokio::join!(
            carrier.ack(&queue, handles(first)),
            carrier.ack(&queue, handles(second)),
        );
        assert!(one.unwrap().iter().chain(&other.unwrap()).all(Result::is_ok));
        acked.extend(some.iter().map(|taken| taken.id.clone()));
    }
    let rest: Vec<_> = taken.iter().filter(|taken| !acked.contains(&taken.id)).collect();
    let back = rest.iter().map(|taken| (taken.handle.clone(), Duration::ZERO)).collect();
    let released = carrier.release(&queue, back).await.unwrap();
    assert_eq!(released, vec![Ok(()); 200 - acked.len()]);
    let again: std::collections::BTreeSet<_> =
        drain(carrier, &queue).await.into_iter().map(|taken| taken.id).collect();
    assert_eq!(again, rest.iter().map(|taken| taken.id.clone()).collect());
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_lost_is_left_for_the_next() {
    let scene = Scene::<Rabbit>::shared().await;
    let queue = scene.queue("hosts").await;
    let server = scene.engine.address();
    let (one, two) = (Proxy::to(server).await, Proxy::to(server).await);
    // A port that was free a moment ago: of three hosts, one never answers.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hosts = format!("{nobody},{},{}", one.address(), two.address());
    let url = scene.engine.url.replacen(&server.to_string(), &hosts, 1);
    let carrier = RabbitCarrier::connect(&url, super::limits()).await.unwrap();
    let goes = async |n| {
        send(&carrier, &queue, vec![parcel(n)]).await;
        loop {
            let taken = take_one(&carrier, &queue).await;
            ack(&carrier, &queue, std::slice::from_ref(&taken)).await;
            // An ack that was on its way when a host went is no ack: what it was for comes again.
            if n == 0 || taken.id.as_ref() != Some(&parcel(n - 1).id) {
                break assert_intact(&taken, &parcel(n));
            }
        }
    };
    goes(0).await;
    one.end();
    goes(1).await;
    assert!(two.cut() >= 2, "both connections lead there");
    goes(2).await;
    two.end();
    let away = carrier.send(&queue, vec![parcel(3)]).await;
    assert!(matches!(away, Err(CarrierError::Outage(_))), "{away:?}");
    scene.engine.tidy().await;
}

async fn consumers(scene: &Scene<Rabbit>, queue: &QueueName) -> u32 {
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&scene.engine.url, properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let look = channel.queue_declare(queue.as_str().into(), options, FieldTable::default());
    look.await.unwrap().consumer_count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_that_is_over_leaves_no_consumer() {
    let scene = Scene::<Rabbit>::shared().await;
    let carrier = &*scene.carrier;
    let queue = scene.queue("gone").await;
    send(carrier, &queue, parcels(3)).await;
    let taken = take(carrier, &queue, 3).await;
    let waits = tokio::time::timeout(SHORT / 2, carrier.take(&queue, 5, SOON)).await;
    assert!(waits.is_err(), "{waits:?}");
    // One that is cancelled counts as long as something of it is in hands.
    ack(carrier, &queue, &taken).await;
    let until = Instant::now() + PATIENCE;
    while consumers(&scene, &queue).await > 0 {
        assert!(Instant::now() < until, "a consumer is left");
        sleep(Duration::from_millis(50)).await;
    }
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_at_once() {
    let scene = Scene::<Rabbit>::shared().await;
    let begun = Instant::now();
    let (user, rest) = scene.engine.url.split_once('@').unwrap();
    let (scheme, _) = user.split_once("://").unwrap();
    for url in [
        format!("{scheme}://nobody:wrong@{rest}"),
        format!("{}x", scene.engine.url),
        "redis://127.0.0.1".to_owned(),
        String::new(),
    ] {
        let limits = RabbitLimits { patience: PATIENCE, ..super::limits() };
        let refused = RabbitCarrier::connect(&url, limits).await;
        assert!(matches!(refused, Err(CarrierError::Failed(_))), "{url}: {refused:?}");
    }
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    scene.engine.tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_take_is_kept_and_brings_no_more() {
    let scene = Scene::<Rabbit>::shared().await;
    let (carrier, another) = (&*scene.carrier, scene.another().await);
    let queue = scene.queue("left").await;
    // One take is full, and one is not.
    send(carrier, &queue, parcels(7)).await;
    let full = carrier.take(&queue, 4, SOON).await.unwrap();
    assert_eq!(full.len(), 4);
    let part = carrier.take(&queue, 8, SOON).await.unwrap();
    assert_eq!(part.len(), 3);
    let mut waiting = 0;
    for n in 0..2 {
        send(carrier, &queue, vec![parcel(10 + n), parcel(20 + n)]).await;
        waiting += 2;
        ack(carrier, &queue, &full[n..=n]).await;
        let back = vec![(part[n].handle.clone(), Duration::ZERO)];
        assert_eq!(carrier.release(&queue, back).await.unwrap(), [Ok(())]);
        waiting += 1;
    }
    // All of it waits, and goes to whoever asks.
    until_depth(carrier, &queue, |depth| depth.waiting == waiting).await;
    let others = take(&*another, &queue, waiting as usize).await;
    assert_eq!(others.iter().filter(|taken| taken.attempt == 2).count(), 2);
    ack(&*another, &queue, &others).await;
    // Settled at once from many sides.
    let (one, two, three) = tokio::join!(
        ack_one(carrier, &queue, &full[2]),
        ack_one(carrier, &queue, &full[3]),
        ack_one(carrier, &queue, &part[2]),
    );
    assert_eq!((one, two, three), (Ok(()), Ok(()), Ok(())));
    assert_nothing(carrier, &queue, SHORT).await;
    scene.engine.tidy().await;
}
