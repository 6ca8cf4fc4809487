//! Processes that die in the middle of what they do, and calls that are dropped there.

use std::collections::BTreeSet;
use std::time::Duration;

use rowmill::broker::carrier::Carrier;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::engine::Engine;
use crate::scene::{
    PATIENCE, SHORT, SOON, Scene, ack, counted, drain, dropped_after, parcel, parcels, send, take,
};

pub(crate) async fn a_publisher_dies_mid_batch<E: Engine>(scene: &Scene<E>) {
    const BATCH: usize = 300;
    let queue = scene.queue("publisher").await;
    let (confirms, mut confirmed) = mpsc::channel(1_000);
    let to = queue.clone();
    let publisher = scene
        .process(async move |carrier| {
            for batch in 0.. {
                let first = batch * BATCH;
                let parcels = (first..first + BATCH).map(parcel).collect();
                for (n, answer) in (first..).zip(carrier.send(&to, parcels).await.unwrap()) {
                    if answer.is_ok() && confirms.send(n).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
    // It is killed when it has confirmed some, and while it is at the next ones.
    let mut there = BTreeSet::new();
    while there.len() < 2 * BATCH + 1 {
        let next = timeout(PATIENCE, confirmed.recv()).await.expect("the publisher is stuck");
        there.insert(next.expect("the publisher has ended"));
    }
    publisher.kill();
    while let Some(n) = timeout(PATIENCE, confirmed.recv()).await.expect("it was killed") {
        there.insert(n);
    }
    let counts = counted(&drain(&*scene.carrier, &queue).await);
    assert!(counts.values().all(|n| *n == 1), "a parcel is there twice");
    for n in there {
        assert!(counts.contains_key(&parcel(n).id), "parcel {n} was confirmed and is gone");
    }
}

pub(crate) async fn a_consumer_dies_mid_batch<E: Engine>(scene: &Scene<E>) {
    let queue = scene.hasty_queue("consumer").await.name;
    send(&*scene.carrier, &queue, parcels(20)).await;
    let (acks, mut acked) = mpsc::channel(100);
    let from = queue.clone();
    let consumer = scene
        .process(async move |carrier| {
            // What it acks it acks at once: the deadline is short.
            for _ in 0..8 {
                let taken = take(&*carrier, &from, 1).await;
                ack(&*carrier, &from, &taken).await;
                acks.send(taken[0].id.clone().unwrap()).await.unwrap();
            }
            let held = take(&*carrier, &from, 5).await;
            acks.send(String::new()).await.unwrap();
            std::future::pending::<()>().await;
            drop(held);
        })
        .await;
    let mut done = BTreeSet::new();
    loop {
        let id = timeout(PATIENCE, acked.recv()).await.expect("it is stuck").expect("it ended");
        if id.is_empty() {
            break;
        }
        assert!(done.insert(id), "one came again after its ack");
    }
    consumer.kill();
    let mut again = BTreeSet::new();
    let mut redelivered = 0;
    while again.len() < 12 {
        let taken = scene.carrier.take(&queue, 20, SOON).await.unwrap();
        assert!(!taken.is_empty(), "{} of 12 came", again.len());
        for (taken, answer) in taken.iter().zip(
            scene
                .carrier
                .ack(&queue, taken.iter().map(|t| t.handle.clone()).collect())
                .await
                .unwrap(),
        ) {
            let id = taken.id.clone().unwrap();
            assert!(!done.contains(&id), "{id} was acked, and came again");
            redelivered += u32::from(taken.attempt > 1);
            if answer.is_ok() {
                assert!(again.insert(id), "one came again after its ack");
            }
        }
    }
    assert!(redelivered >= 5, "only {redelivered} were redelivered");
    assert_eq!(drain(&*scene.carrier, &queue).await, vec![]);
}

pub(crate) async fn a_send_is_dropped_anywhere<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("dropped").await;
    let carrier = &*scene.carrier;
    let (mut confirmed, mut broke_off) = (Vec::new(), 0);
    // On a busy machine an answer may be there at once, and a send ends where it was to be dropped.
    for round in 0..50 {
        let batch: Vec<_> = (round * 200..round * 200 + 200).map(parcel).collect();
        match dropped_after(round % 6 + 1, carrier.send(&queue, batch.clone())).await {
            Some(answers) => {
                assert_eq!(answers.unwrap(), vec![Ok(()); 200]);
                confirmed.extend(batch);
            }
            None => broke_off += 1,
        }
        if broke_off > 4 {
            break;
        }
    }
    assert!(broke_off > 0, "no send was dropped");
    // The driver is as good as before.
    let last = vec![parcel(100_000)];
    send(carrier, &queue, last.clone()).await;
    confirmed.extend(last);
    let counts = counted(&drain(carrier, &queue).await);
    assert!(counts.values().all(|n| *n == 1), "a parcel is there twice");
    for parcel in confirmed {
        assert!(counts.contains_key(&parcel.id), "{} was confirmed and is gone", parcel.id);
    }
}

pub(crate) async fn a_take_is_dropped_anywhere<E: Engine>(scene: &Scene<E>) {
    let queue = scene.hasty_queue("dropped").await.name;
    let carrier = &*scene.carrier;
    send(carrier, &queue, parcels(30)).await;
    let mut done = BTreeSet::new();
    for polls in 1..12 {
        let take = carrier.take(&queue, 2, Duration::ZERO);
        if let Some(taken) = dropped_after(polls, take).await {
            for taken in taken.unwrap() {
                let handle = vec![taken.handle];
                if carrier.ack(&queue, handle).await.unwrap() == [Ok(())] {
                    assert!(done.insert(taken.id.unwrap()), "one came again after its ack");
                }
            }
        }
    }
    // One that waits is dropped too, and what is sent then is nobody's.
    while done.len() < 30 {
        for taken in carrier.take(&queue, 30, SOON).await.unwrap() {
            if carrier.ack(&queue, vec![taken.handle]).await.unwrap() == [Ok(())] {
                assert!(done.insert(taken.id.unwrap()), "one came again after its ack");
            }
        }
    }
    let waited = timeout(SHORT / 2, carrier.take(&queue, 10, SOON)).await;
    assert!(waited.is_err(), "nothing was there: {waited:?}");
    send(carrier, &queue, vec![parcel(100)]).await;
    let another = scene.another().await;
    let taken = timeout(SOON, take(&*another, &queue, 1)).await.expect("it is lost for so long");
    assert_eq!(taken[0].id, Some(parcel(100).id));
}
