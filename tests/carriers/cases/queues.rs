//! Queues: made, changed, removed, full.

use std::sync::Arc;
use std::time::Duration;

use rowmill::broker::carrier::{Carrier, CarrierError, CarrierQueue, Failed};
use tokio::time::timeout;

use crate::engine::Engine;
use crate::scene::{
    LONG, PATIENCE, SHORT, SOON, Scene, ack, assert_nothing, counted, drain, parcel, parcels, send,
    take, take_one,
};

pub(crate) async fn a_queue_is_made_twice<E: Engine>(scene: &Scene<E>) {
    let dead = scene.queue("twice-dead").await;
    let plan = CarrierQueue {
        dead: Some(dead.clone()),
        deliveries: Some(5),
        retention: Some(E::RETENTION_LEAST.max(1000 * SHORT)),
        ..scene.plan("twice")
    };
    let (carrier, another) = (&*scene.carrier, scene.another().await);
    // Several processes start at once.
    let (first, second) = tokio::join!(carrier.ensure(&plan), another.ensure(&plan));
    first.unwrap();
    second.unwrap();
    send(carrier, &plan.name, parcels(5)).await;
    let taken = take(carrier, &plan.name, 2).await;
    carrier.ensure(&plan).await.unwrap();
    another.ensure(&plan).await.unwrap();
    ack(carrier, &plan.name, &taken).await;
    assert_eq!(drain(&*another, &plan.name).await.len(), 3);
}

pub(crate) async fn a_queue_is_changed<E: Engine>(scene: &Scene<E>) {
    let plan = scene.plan("changed");
    let (carrier, another) = (&*scene.carrier, scene.another().await);
    carrier.ensure(&plan).await.unwrap();
    send(carrier, &plan.name, parcels(3)).await;
    let taken = take_one(carrier, &plan.name).await;
    let dead = scene.queue("changed-dead").await;
    let plan = CarrierQueue { ack_deadline: SHORT, dead: Some(dead.clone()), ..plan };
    let changed = another.ensure(&plan).await;
    // What is in hands keeps the deadline that it was taken with.
    ack(carrier, &plan.name, &[taken]).await;
    let first = another.take(&plan.name, 1, SOON).await.unwrap().remove(0);
    if let Err(error) = changed {
        let refused = matches!(error, CarrierError::Unsupported { .. });
        assert!(refused, "a change is made, or refused: {error}");
        ack(&*another, &plan.name, &[first]).await;
        assert_eq!(drain(carrier, &plan.name).await.len(), 1, "it is as it was");
        return;
    }
    // The new deadline holds, and there is a way to the dead queue now.
    let mut seen = vec![first];
    while counted(&seen).values().max() < Some(&2) {
        let more = another.take(&plan.name, 1, SOON).await.unwrap();
        assert!(!more.is_empty(), "the old deadline holds");
        seen.extend(more);
    }
    let last = seen.pop().unwrap();
    let died = another.dead(&plan.name, vec![(last.handle, "changed".into())]).await.unwrap();
    assert_eq!(died, [Ok(())]);
    assert_eq!(take_one(&*another, &dead).await.id, last.id);
}

pub(crate) async fn a_queue_is_removed<E: Engine>(scene: &Scene<E>) {
    let plan = scene.plan("removed");
    let (carrier, another) = (&*scene.carrier, scene.another().await);
    carrier.ensure(&plan).await.unwrap();
    send(carrier, &plan.name, parcels(20)).await;
    let held = take(carrier, &plan.name, 5).await;
    another.remove(&plan.name).await.unwrap();
    another.remove(&plan.name).await.unwrap();
    // Who knew it before is told as well.
    let sent = carrier.send(&plan.name, parcels(3)).await;
    assert!(matches!(&sent, Err(CarrierError::NoQueue(name)) if *name == plan.name), "{sent:?}");
    let taken = carrier.take(&plan.name, 10, Duration::ZERO).await;
    assert!(matches!(&taken, Err(CarrierError::NoQueue(name)) if *name == plan.name), "{taken:?}");
    // Under its name begins another, in which nothing is left.
    carrier.ensure(&plan).await.unwrap();
    assert_nothing(carrier, &plan.name, SHORT).await;
    send(carrier, &plan.name, vec![parcel(7)]).await;
    assert_eq!(take_one(carrier, &plan.name).await.id, Some(parcel(7).id));
    drop(held);
}

pub(crate) async fn a_queue_that_is_not_there<E: Engine>(scene: &Scene<E>) {
    let (carrier, absent) = (&*scene.carrier, scene.name("absent"));
    let there = scene.queue("there").await;
    fn assert_none<T: std::fmt::Debug>(what: &str, answer: Result<T, CarrierError>) {
        assert!(matches!(answer, Err(CarrierError::NoQueue(_))), "{what}: {answer:?}");
    }
    assert_none("send", carrier.send(&absent, parcels(2)).await);
    assert_none("take", carrier.take(&absent, 10, Duration::ZERO).await);
    assert_none("a take that waits", carrier.take(&absent, 10, SHORT).await);
    assert_none("depth", carrier.depth(&absent).await);
    assert_none("purge", carrier.purge(&absent).await);
    assert_none("redrive from", carrier.redrive(&absent, &there, 10).await);
    if carrier.abilities().peek {
        assert_none("peek", carrier.peek(&absent, 10).await);
    }
    send(carrier, &there, parcels(2)).await;
    assert_none("redrive to", carrier.redrive(&there, &absent, 10).await);
    // None of it made one, and what was to be moved is where it was.
    assert_none("send", carrier.send(&absent, parcels(2)).await);
    carrier.remove(&absent).await.unwrap();
    assert_eq!(drain(carrier, &there).await.len(), 2);
}

/// Engines have rules for names of their own; a driver writes around them without mixing two up.
pub(crate) async fn names_of_all_kinds_stay_apart<E: Engine>(scene: &Scene<E>) {
    let long = "x".repeat(128 - scene.name("").as_str().len());
    let longer = format!("{}y", &long[1..]);
    let names = ["a.b", "a-b", "a_b", "A.B", "a..b", "a.b.", "-a", &long, &longer]
        .map(|name| scene.name(name));
    for (n, name) in names.iter().enumerate() {
        let plan = CarrierQueue { name: name.clone(), ..scene.plan("name") };
        scene.carrier.ensure(&plan).await.unwrap();
        send(&*scene.carrier, name, vec![parcel(n)]).await;
    }
    for (n, name) in names.iter().enumerate() {
        let taken = take_one(&*scene.carrier, name).await;
        assert_eq!(taken.id, Some(parcel(n).id), "{name}");
        ack(&*scene.carrier, name, &[taken]).await;
    }
    for name in &names {
        scene.carrier.remove(name).await.unwrap();
    }
}

pub(crate) async fn a_full_queue_takes_no_more<E: Engine>(scene: &Scene<E>) {
    let plan = CarrierQueue { capacity: Some(10), ..scene.plan("full") };
    let carrier = &*scene.carrier;
    let made = carrier.ensure(&plan).await;
    if !E::CAPACITY {
        let refused = matches!(made, Err(CarrierError::Unsupported { .. }));
        return assert!(refused, "it has no capacities, and yet {made:?}");
    }
    made.unwrap();
    let queue = &plan.name;
    let mut all: Vec<_> = (0..14).map(parcel).collect();
    let answers = carrier.send(queue, all.clone()).await.unwrap();
    assert_eq!(answers.len(), 14);
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((10..=11).contains(&taken), "{taken} of 14 were taken, where 10 may be");
    let not_taken = |answer: &Result<(), Failed>| matches!(answer, Err(Failed::Full));
    assert!(answers.iter().all(|answer| answer.is_ok() || not_taken(answer)), "{answers:?}");
    let mut answers = answers.iter();
    all.retain(|_| answers.next().unwrap().is_ok());
    match carrier.send(queue, vec![parcel(20)]).await {
        Err(CarrierError::Full(name)) => assert_eq!(name, *queue),
        Ok(answers) => assert!(answers.len() == 1 && not_taken(&answers[0]), "{answers:?}"),
        Err(error) => panic!("{error}"),
    }
    // A publisher that keeps asking goes on when there is room.
    let publisher = {
        let (carrier, queue) = (Arc::clone(&scene.carrier), queue.clone());
        tokio::spawn(async move {
            loop {
                match carrier.send(&queue, vec![parcel(30)]).await {
                    Ok(answers) if answers == [Ok(())] => return,
                    Ok(_) | Err(CarrierError::Full(_)) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
    };
    let two = take(carrier, queue, 2).await;
    ack(carrier, queue, &two).await;
    timeout(PATIENCE.min(LONG), publisher).await.expect("there is room").unwrap();
    let mut came = counted(two.iter().chain(&drain(carrier, queue).await));
    assert_eq!(came.remove(&parcel(30).id), Some(1));
    assert_eq!(came.into_keys().count(), all.len());
}
