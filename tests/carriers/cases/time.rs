//! Deadlines, delays and retention.

use std::sync::Arc;
use std::time::Duration;

use rowmill::broker::carrier::{Carrier, CarrierError, CarrierQueue, Failed, Parcel};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::scene::{
    SHORT, SOON, Scene, ack, ack_one, assert_intact, assert_nothing, drain, handles, parcel,
    parcels, send, take, take_one,
};

pub(crate) async fn a_deadline_passes<E: Engine>(scene: &Scene<E>) {
    let queue = scene.hasty_queue("deadline").await.name;
    let (first, second) = (&*scene.carrier, scene.another().await);
    send(first, &queue, parcels(5)).await;
    let begun = Instant::now();
    let taken = take(first, &queue, 5).await;
    assert!(taken.iter().all(|taken| taken.attempt == 1));
    let again = second.take(&queue, 5, SOON).await.unwrap();
    assert!(begun.elapsed() > SHORT.mul_f32(0.95), "they were still in hands");
    for taken in &again {
        let n = taken.id.as_ref().unwrap().trim_start_matches("parcel-").parse().unwrap();
        assert_intact(taken, &parcel(n));
        assert!(taken.attempt >= 2, "attempt {}", taken.attempt);
    }
    assert!(!again.is_empty());
}

pub(crate) async fn a_late_settle_is_over<E: Engine>(scene: &Scene<E>) {
    let plan = scene.hasty_queue("late").await;
    let (first, second, queue) = (&*scene.carrier, scene.another().await, plan.name.clone());
    send(first, &queue, vec![parcel(0)]).await;
    let late = take_one(first, &queue).await;
    // From now on nobody is in a hurry, so that what is late is late for certain.
    let patient = CarrierQueue { ack_deadline: 60 * SHORT, ..plan };
    let changed = second.ensure(&patient).await;
    let taken = take_one(&*second, &queue).await;
    assert_eq!(taken.attempt, 2);
    assert_eq!(ack_one(first, &queue, &late).await, Err(Failed::Over));
    let released = first.release(&queue, vec![(late.handle.clone(), Duration::ZERO)]).await;
    assert_eq!(released.unwrap(), [Err(Failed::Over)]);
    if first.abilities().extend {
        let extended = first.extend(&queue, vec![late.handle], SHORT).await.unwrap();
        assert_eq!(extended, [Err(Failed::Over)]);
    }
    // Where a deadline cannot be changed, the second delivery may be over by now, too.
    if changed.is_ok() {
        assert_eq!(ack_one(&*second, &queue, &taken).await, Ok(()));
        assert_nothing(first, &queue, SHORT).await;
    } else {
        assert!(matches!(changed, Err(CarrierError::Unsupported { .. })), "{changed:?}");
    }
}

pub(crate) async fn told_to_end_sooner_it_does<E: Engine>(scene: &Scene<E>) {
    let (first, second) = (&*scene.carrier, scene.another().await);
    let queue = scene.queue("sooner").await;
    if !first.abilities().extend {
        return;
    }
    send(first, &queue, parcels(2)).await;
    // One by one: what is taken together may have one deadline.
    let (sooner, other) = (take_one(first, &queue).await, take_one(first, &queue).await);
    let extended = first.extend(&queue, vec![sooner.handle.clone()], SHORT).await;
    assert_eq!(extended.unwrap(), [Ok(())]);
    let taken = take_one(&*second, &queue).await;
    assert_eq!((&taken.id, taken.attempt), (&sooner.id, 2));
    // Although it would still be in hands, had nobody said anything.
    let acked = first.ack(&queue, vec![sooner.handle, other.handle]).await;
    assert_eq!(acked.unwrap(), [Err(Failed::Over), Ok(())]);
    assert_eq!(ack_one(&*second, &queue, &taken).await, Ok(()));
    assert_nothing(first, &queue, SHORT).await;
}

pub(crate) async fn a_delayed_parcel_waits<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("delayed").await;
    let carrier = &*scene.carrier;
    let begun = Instant::now();
    let delayed = |n, delay| Parcel { delay, ..parcel(n) };
    // Those behind it do not wait for a longer delay before them.
    let batch = vec![delayed(2, 4 * SHORT), delayed(0, Duration::ZERO), delayed(1, 2 * SHORT)];
    send(carrier, &queue, batch).await;
    for n in 0..3_u32 {
        let taken = take_one(carrier, &queue).await;
        let (took, delay) = (begun.elapsed(), 2 * n * SHORT);
        assert!(took > delay.mul_f32(0.95), "it came after {took:?} instead of {delay:?}");
        assert!(took < delay + SOON, "it came after {took:?} instead of {delay:?}");
        assert_intact(&taken, &parcel(n as usize));
        assert_eq!(taken.attempt, 1);
        ack(carrier, &queue, &[taken]).await;
    }
    if let Some(most) = carrier.abilities().delay_most {
        let too_long = Parcel { delay: most + 3600 * SHORT, ..parcel(3) };
        let answer = carrier.send(&queue, vec![too_long, parcel(4)]).await.unwrap();
        assert!(matches!(answer[0], Err(Failed::Refused(_))), "{answer:?}");
        assert_eq!(answer[1], Ok(()));
    } else {
        // Ten days are no more trouble than two seconds.
        send(carrier, &queue, vec![delayed(5, 240 * 3600 * SHORT)]).await;
        assert_nothing(carrier, &queue, SHORT).await;
    }
}

pub(crate) async fn a_parcel_that_is_due_wakes_a_taker<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("due").await;
    let taker = scene.another().await;
    let wait = {
        let (taker, queue) = (Arc::clone(&taker), queue.clone());
        tokio::spawn(async move {
            let taken = taker.take(&queue, 10, 3 * SOON).await.unwrap();
            (Instant::now(), taken)
        })
    };
    let begun = Instant::now();
    send(&*scene.carrier, &queue, vec![Parcel { delay: 2 * SHORT, ..parcel(0) }]).await;
    let (woken, taken) = wait.await.unwrap();
    assert_eq!(taken.len(), 1);
    let took = woken - begun;
    assert!(took > SHORT.mul_f32(1.9), "it came after {took:?}");
    assert!(took < SOON, "it came after {took:?}");
    // What is in another's hands wakes when its deadline passes, too.
    let released = scene.another().await;
    let back = vec![(taken[0].handle.clone(), SHORT)];
    assert_eq!(taker.release(&queue, back).await.unwrap(), [Ok(())]);
    let again = released.take(&queue, 10, 3 * SOON).await.unwrap();
    assert_eq!(handles(&again).len(), 1);
    assert!(woken.elapsed() < SOON, "it came after {:?}", woken.elapsed());
}

pub(crate) async fn what_waits_too_long_is_dropped<E: Engine>(scene: &Scene<E>) {
    let carrier = &*scene.carrier;
    let plan = CarrierQueue { retention: Some(SHORT), ..scene.plan("retention") };
    let made = carrier.ensure(&plan).await;
    if E::RETENTION_LEAST > SHORT {
        let refused = matches!(made, Err(CarrierError::Unsupported { .. }));
        assert!(refused, "less than the engine's own least, and yet {made:?}");
        let plan = CarrierQueue { retention: Some(E::RETENTION_LEAST), ..plan };
        carrier.ensure(&plan).await.unwrap();
        send(carrier, &plan.name, parcels(3)).await;
        assert_eq!(drain(carrier, &plan.name).await.len(), 3, "none was there for so long");
        return;
    }
    made.unwrap();
    let queue = &plan.name;
    send(carrier, queue, parcels(5)).await;
    // In somebody's hands, nothing is dropped.
    let taken = take(carrier, queue, 2).await;
    tokio::time::sleep(2 * SHORT).await;
    assert_nothing(carrier, queue, SHORT).await;
    ack(carrier, queue, &taken).await;
    // What comes later has its own time.
    send(carrier, queue, vec![parcel(9)]).await;
    let taken = take_one(carrier, queue).await;
    assert_intact(&taken, &parcel(9));
    ack(carrier, queue, &[taken]).await;
}
