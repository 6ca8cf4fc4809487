//! Many parcels, many consumers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rowmill::broker::carrier::{Carrier, Taken};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::engine::Engine;
use crate::scene::{
    LONG, PATIENCE, Scene, ack, assert_nothing, counted, parcel, parcels, send, take,
};

pub(crate) async fn ten_thousand_are_drained_by_four_exactly_once<E: Engine>(scene: &Scene<E>) {
    const ALL: usize = 10_000;
    let queue = scene.queue("crowd").await;
    for chunk in parcels(ALL).chunks(500) {
        send(&*scene.carrier, &queue, chunk.to_vec()).await;
    }
    let acked = Arc::new(AtomicUsize::new(0));
    let mut consumers = JoinSet::new();
    for _ in 0..4 {
        let (carrier, queue, acked) = (scene.another().await, queue.clone(), Arc::clone(&acked));
        consumers.spawn(async move {
            let mut all: Vec<Taken> = Vec::new();
            while acked.load(Ordering::Relaxed) < ALL {
                let taken = carrier.take(&queue, 500, Duration::from_secs(1)).await.unwrap();
                assert!(taken.len() <= 500);
                ack(&*carrier, &queue, &taken).await;
                acked.fetch_add(taken.len(), Ordering::Relaxed);
                all.extend(taken);
            }
            all
        });
    }
    let all = timeout(2 * PATIENCE, consumers.join_all()).await.expect("they were to end");
    let counts = counted(all.iter().flatten());
    assert_eq!(counts.len(), ALL);
    assert!(counts.values().all(|n| *n == 1), "a parcel came twice");
    assert!(all.iter().flatten().all(|taken| taken.attempt == 1));
    assert_nothing(&*scene.carrier, &queue, Duration::ZERO).await;
}

pub(crate) async fn a_slow_consumer_starves_nobody<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("slow").await;
    send(&*scene.carrier, &queue, parcels(500)).await;
    let (slow, fast) = (scene.another().await, scene.another().await);
    let held = take(&*slow, &queue, 50).await;
    let begun = Instant::now();
    let mut all = Vec::new();
    while all.len() < 450 {
        let taken = take(&*fast, &queue, (450 - all.len()).min(100)).await;
        ack(&*fast, &queue, &taken).await;
        all.extend(taken);
    }
    assert!(begun.elapsed() < LONG / 2, "they waited for the slow one: {:?}", begun.elapsed());
    // The slow one comes to its end, and nobody had its parcels meanwhile.
    ack(&*slow, &queue, &held).await;
    all.extend(held);
    assert_eq!(counted(&all).len(), 500);
    assert_nothing(&*fast, &queue, Duration::from_secs(1)).await;
}

pub(crate) async fn takers_that_wait_are_in_nobodys_way<E: Engine>(scene: &Scene<E>) {
    const QUEUES: usize = 6;
    let mut takers = JoinSet::new();
    let mut queues = Vec::new();
    for n in 0..QUEUES {
        let queue = scene.queue(&format!("waits-{n}")).await;
        for _ in 0..3 {
            let (carrier, queue) = (Arc::clone(&scene.carrier), queue.clone());
            takers.spawn(async move {
                let taken = carrier.take(&queue, 1, PATIENCE).await.unwrap();
                ack(&*carrier, &queue, &taken).await;
                taken.len()
            });
        }
        queues.push(queue);
    }
    // All of this goes over the connections of the process whose takers wait.
    let busy = scene.queue("busy").await;
    let begun = Instant::now();
    for n in 0..20 {
        send(&*scene.carrier, &busy, vec![parcel(n)]).await;
        let taken = take(&*scene.carrier, &busy, 1).await;
        ack(&*scene.carrier, &busy, &taken).await;
        scene.carrier.depth(&busy).await.unwrap();
    }
    assert!(begun.elapsed() < PATIENCE / 2, "it waited for the takers: {:?}", begun.elapsed());
    for queue in &queues {
        send(&*scene.carrier, queue, parcels(3)).await;
    }
    let taken = timeout(PATIENCE / 2, takers.join_all()).await.expect("they were to be woken");
    assert_eq!(taken, vec![1; QUEUES * 3]);
}
