//! What is true of Redis alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis::AsyncCommands;
use rowmill::broker::carrier::redis::{RedisCarrier, RedisLimits};
use rowmill::broker::carrier::{Carrier, CarrierError, CarrierQueue, Parcel};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::Redis;
use crate::engine::Engine;
use crate::scene::{
    PATIENCE, SHORT, SOON, Scene, ack, assert_nothing, counted, drain, handles, parcel, parcels,
    send, take, take_one,
};

/// What others are told of in the module's documentation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_as_it_is_described() {
    let scene = Scene::<Redis>::shared().await;
    let dead = scene.queue("dead").await;
    let plan = CarrierQueue { dead: Some(dead), deliveries: Some(6), ..scene.plan("seen") };
    scene.carrier.ensure(&plan).await.unwrap();
    send(&*scene.carrier, &plan.name, vec![parcel(7)]).await;
    let mut server = scene.engine.raw().await;
    let stream = scene.engine.stream(&plan.name);
    let entries: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg(&stream).arg("-").arg("+").query_async(&mut server).await.unwrap();
    let fields = [
        ("id", "parcel-7"),
        ("data", r#"{"number":7,"data":"item 7"}"#),
        ("attr:filename", "orders.xlsx"),
        ("attr:row", "7"),
    ];
    assert_eq!(entries[0].1, fields.map(|(name, value)| [name, value]).concat());
    // All of a queue is in one slot of a cluster, and each queue may be in another.
    let keys: Vec<String> = server.keys(format!("{}*", scene.engine.prefix)).await.unwrap();
    let tag = format!("{{{}}}", plan.name);
    let ours: Vec<_> = keys.iter().filter(|key| key.contains(&tag)).collect();
    assert_eq!(ours.len(), 2, "stream and settings: {keys:?}");
    let settings: BTreeMap<String, String> =
        server.hgetall(format!("{stream}:settings")).await.unwrap();
    assert_eq!(
        (settings["deadline_ms"].as_str(), settings["deliveries"].as_str()),
        ("120000", "6")
    );
    // Nothing is left of what was removed.
    scene.carrier.remove(&plan.name).await.unwrap();
    let keys: Vec<String> = server.keys(format!("{}*", scene.engine.prefix)).await.unwrap();
    assert!(!keys.iter().any(|key| key.contains(&tag)), "{keys:?}");
}

/// Every process moves what is due; each parcel is moved once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_move_what_is_due_and_none_twice() {
    const ALL: usize = 1_200;
    let scene = Scene::<Redis>::shared().await;
    let queue = scene.queue("due").await;
    let delayed = (0..ALL).map(|n| Parcel { delay: SHORT, ..parcel(n) }).collect();
    send(&*scene.carrier, &queue, delayed).await;
    let mut processes = JoinSet::new();
    for _ in 0..6 {
        let (carrier, queue) = (scene.another().await, queue.clone());
        processes.spawn(async move { drain(&*carrier, &queue).await });
    }
    let taken = timeout(PATIENCE, processes.join_all()).await.expect("they were to end");
    let counts = counted(taken.iter().flatten());
    assert_eq!(counts.len(), ALL);
    assert!(counts.values().all(|n| *n == 1), "a parcel came twice");
}

/// A server that is busy for longer than it may take to answer does, later, what it was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_whose_answer_was_lost_is_no_late_one() {
    let scene = Scene::<Redis>::own().await;
    let (queue, dead) = scene.queue_with_dead("lost").await;
    let limits = RedisLimits { answer: Duration::from_millis(500), ..scene.engine.limits() };
    let hasty = Arc::new(RedisCarrier::connect(&scene.engine.url, limits).await.unwrap());
    send(&*scene.carrier, &queue, parcels(3)).await;
    let taken = take(&*hasty, &queue, 3).await;
    let handle = handles(&taken);
    let (mut server, mut other) = (scene.engine.raw().await, scene.engine.raw().await);
    let sleeps = tokio::spawn(async move {
        redis::cmd("DEBUG").arg("SLEEP").arg(2).query_async::<()>(&mut server).await
    });
    // Until the server is at it, and answers nobody.
    while timeout(Duration::from_millis(100), other.ping::<String>()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let (acked, released, died) = tokio::join!(
        hasty.ack(&queue, handle[..1].to_vec()),
        hasty.release(&queue, vec![(handle[1].clone(), 600 * SHORT)]),
        hasty.dead(&queue, vec![(handle[2].clone(), "why".into())]),
    );
    assert!(begun.elapsed() > Duration::from_millis(500), "no answer was lost");
    sleeps.await.unwrap().unwrap();
    assert_eq!(acked.unwrap(), [Ok(())]);
    assert_eq!(released.unwrap(), [Ok(())]);
    assert_eq!(died.unwrap(), [Ok(())]);
    // Each was done once.
    assert_eq!(drain(&*scene.carrier, &dead).await.len(), 1);
    assert_nothing(&*scene.carrier, &queue, SHORT).await;
    let depth = scene.carrier.depth(&queue).await.unwrap();
    assert_eq!((depth.waiting, depth.delayed, depth.in_hands), (0, Some(1), Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_waits_until_there_is_room() {
    let scene = Scene::<Redis>::shared().await;
    let plan = CarrierQueue { capacity: Some(5), ..scene.plan("room") };
    scene.carrier.ensure(&plan).await.unwrap();
    let patient = RedisLimits { full_wait: PATIENCE, ..scene.engine.limits() };
    let hasty = RedisLimits { full_wait: Duration::ZERO, ..scene.engine.limits() };
    let patient = RedisCarrier::connect(&scene.engine.url, patient).await.unwrap();
    let hasty = RedisCarrier::connect(&scene.engine.url, hasty).await.unwrap();
    let (queue, carrier) = (&plan.name, &*scene.carrier);
    // What waits for its time has its place, too.
    let delayed = Parcel { delay: 300 * SHORT, ..parcel(100) };
    send(carrier, queue, parcels(4).into_iter().chain([delayed]).collect()).await;
    let begun = Instant::now();
    let full = hasty.send(queue, vec![parcel(5)]).await;
    assert!(matches!(&full, Err(CarrierError::Full(name)) if name == queue), "{full:?}");
    assert!(begun.elapsed() < SOON / 2, "it waited: {:?}", begun.elapsed());
    let sends = send(&patient, queue, (10..16).map(parcel).collect());
    let consumes = async {
        for _ in 0..10 {
            let taken = take_one(carrier, queue).await;
            // In hands it has its place still.
            let in_it = scene.engine.length(queue).await;
            assert!(in_it <= 4, "{in_it} and the delayed one, where 5 may be");
            ack(carrier, queue, &[taken]).await;
        }
    };
    timeout(PATIENCE, async { tokio::join!(sends, consumes) }).await.expect("there was room");
}

/// What is sent goes as one; a server that refuses that is waited for like one that is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_memory_takes_nothing_and_then_everything() {
    let scene = Scene::<Redis>::own().await;
    let queue = scene.queue("memory").await;
    let mut server = scene.engine.raw().await;
    let mut most = async |bytes: usize| {
        let mut config = redis::cmd("CONFIG");
        config.arg("SET").arg("maxmemory").arg(bytes).exec_async(&mut server).await.unwrap();
    };
    most(1).await;
    let hasty = RedisLimits { patience: SHORT / 4, ..scene.engine.limits() };
    let hasty = RedisCarrier::connect(&scene.engine.url, hasty).await.unwrap();
    let sent = hasty.send(&queue, parcels(20)).await;
    assert!(matches!(sent, Err(CarrierError::Outage(_))), "{sent:?}");
    most(0).await;
    assert_eq!(scene.engine.length(&queue).await, 0);
    send(&hasty, &queue, parcels(20)).await;
    assert_eq!(counted(&drain(&*scene.carrier, &queue).await).len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_in_is_told_so_at_once() {
    let scene = Scene::<Redis>::shared().await;
    let at = scene.engine.address();
    for url in [
        format!("redis://:wrong@{at}/0"),
        format!("rediss://{at}"), // there is no TLS in this build
        format!("http://{at}"),
    ] {
        let begun = Instant::now();
        let refused = RedisCarrier::connect(&url, scene.engine.limits()).await.err();
        assert!(matches!(refused, Some(CarrierError::Failed(_))), "{url}: {refused:?}");
        assert!(begun.elapsed() < SOON / 4, "it was tried again for {:?}", begun.elapsed());
    }
}

#[test]
fn limits_are_written_and_read_back() {
    let written = serde_json::to_value(RedisLimits::default()).unwrap();
    assert_eq!(written["look_every"], "250ms");
    assert_eq!(written["parcel_bytes"], "16M");
    let read: RedisLimits = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), written);
}
