//! Settling: ack, release, extend.

use std::time::Duration;

use rowmill::broker::carrier::{Carrier, CarrierError, CarrierQueue, Failed};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::scene::{
    SHORT, SOON, Scene, WATCH, ack, ack_one, assert_intact, assert_nothing, handles, parcel,
    parcels, send, take, take_one, until_depth,
};

pub(crate) async fn acked_never_comes_again<E: Engine>(scene: &Scene<E>) {
    let queue = scene.hasty_queue("acked").await.name;
    send(&*scene.carrier, &queue, parcels(20)).await;
    // Acked in calls as they come, because a short deadline runs.
    let mut left = 20;
    while left > 0 {
        let taken = scene.carrier.take(&queue, 20, SOON).await.unwrap();
        ack(&*scene.carrier, &queue, &taken).await;
        left -= taken.len();
    }
    assert_nothing(&*scene.carrier, &queue, WATCH).await;
    until_depth(&*scene.carrier, &queue, |depth| {
        depth.waiting == 0 && depth.in_hands.is_none_or(|n| n == 0)
    })
    .await;
}

pub(crate) async fn a_delivery_ends_once<E: Engine>(scene: &Scene<E>) {
    let (queue, dead) = scene.queue_with_dead("once").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, parcels(3)).await;
    let taken = take(carrier, &queue, 3).await;
    ack(carrier, &queue, &taken[1..2]).await;
    let second = ack_one(carrier, &queue, &taken[1]).await;
    assert_eq!(second, if E::TELLS_ACKED { Err(Failed::Over) } else { Ok(()) });
    // What is over among others is no harm to them, and the answers are in their places.
    let over = if E::TELLS_ACKED { Err(Failed::Over) } else { Ok(()) };
    let answers = carrier.ack(&queue, handles(&taken)).await.unwrap();
    assert_eq!(answers, [Ok(()), over, Ok(())]);
    if E::TELLS_ACKED {
        let all = handles(&taken);
        let released = all.iter().cloned().map(|handle| (handle, Duration::ZERO)).collect();
        let released = carrier.release(&queue, released).await.unwrap();
        assert_eq!(released, vec![Err(Failed::Over); 3]);
        let died = all.into_iter().map(|handle| (handle, "too late".into())).collect();
        assert_eq!(carrier.dead(&queue, died).await.unwrap(), vec![Err(Failed::Over); 3]);
    }
    assert_nothing(carrier, &queue, SHORT).await;
    assert_nothing(carrier, &dead, Duration::ZERO).await;
}

pub(crate) async fn released_comes_again_at_once<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("released").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, parcels(10)).await;
    let first = take(carrier, &queue, 10).await;
    let back = handles(&first).into_iter().map(|handle| (handle, Duration::ZERO)).collect();
    assert_eq!(carrier.release(&queue, back).await.unwrap(), vec![Ok(()); 10]);
    let another = scene.another().await;
    let mut again = take(&*another, &queue, 10).await;
    again.sort_by_key(|taken| taken.id.clone());
    for (taken, n) in again.iter().zip(0..) {
        assert_intact(taken, &parcel(n));
        assert_eq!(taken.attempt, 2);
    }
    // The first delivery is over, and says so; the second is not touched by it.
    assert_eq!(ack_one(carrier, &queue, &first[0]).await, Err(Failed::Over));
    ack(&*another, &queue, &again).await;
    assert_nothing(carrier, &queue, SHORT).await;
}

pub(crate) async fn released_comes_again_after_its_delay<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("later").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, parcels(2)).await;
    let mut taken = take(carrier, &queue, 2).await;
    taken.sort_by_key(|taken| taken.id.clone());
    let (sooner, later) = (taken[0].handle.clone(), taken[1].handle.clone());
    let begun = Instant::now();
    let back = vec![(later, 3 * SHORT), (sooner, SHORT)];
    assert_eq!(carrier.release(&queue, back).await.unwrap(), vec![Ok(()); 2]);
    for (n, delay) in [(0, SHORT), (1, 3 * SHORT)] {
        let again = take_one(carrier, &queue).await;
        let took = begun.elapsed();
        assert!(took > delay.mul_f32(0.95), "it came after {took:?} instead of {delay:?}");
        assert!(took < delay + SOON, "it came after {took:?}");
        assert_intact(&again, &parcel(n));
        assert_eq!(again.attempt, 2);
        ack(carrier, &queue, &[again]).await;
    }
}

pub(crate) async fn attempts_are_counted<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("attempts").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, vec![parcel(0)]).await;
    for attempt in 1..=5 {
        let taken = take_one(carrier, &queue).await;
        assert_eq!(taken.attempt, attempt);
        assert_intact(&taken, &parcel(0));
        let back = vec![(taken.handle, Duration::ZERO)];
        assert_eq!(carrier.release(&queue, back).await.unwrap(), [Ok(())]);
    }
}

pub(crate) async fn extended_stays_in_hands<E: Engine>(scene: &Scene<E>) {
    let plan = CarrierQueue { ack_deadline: 4 * SHORT, ..scene.plan("extended") };
    scene.carrier.ensure(&plan).await.unwrap();
    let (carrier, queue) = (&*scene.carrier, plan.name);
    send(carrier, &queue, parcels(2)).await;
    let taken = take(carrier, &queue, 2).await;
    let extended = carrier.extend(&queue, handles(&taken), 60 * SHORT).await;
    if !carrier.abilities().extend {
        let refused = matches!(extended, Err(CarrierError::Unsupported { .. }));
        return assert!(refused, "no ability, and yet {extended:?}");
    }
    assert_eq!(extended.unwrap(), [Ok(()), Ok(())]);
    let another = scene.another().await;
    assert_nothing(&*another, &queue, 5 * SHORT).await;
    ack(carrier, &queue, &taken[..1]).await;
    // A deadline may be moved nearer, too.
    let nearer = carrier.extend(&queue, handles(&taken[1..]), SHORT).await.unwrap();
    assert_eq!(nearer, [Ok(())]);
    let again = take_one(&*another, &queue).await;
    assert_eq!((again.id.as_ref(), again.attempt), (taken[1].id.as_ref(), 2));
    let over = carrier.extend(&queue, handles(&taken[1..]), 60 * SHORT).await.unwrap();
    assert_eq!(over, [Err(Failed::Over)]);
    ack(&*another, &queue, &[again]).await;
}

pub(crate) async fn another_process_settles<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("travel").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, vec![parcel(0)]).await;
    let taken = take_one(carrier, &queue).await;
    let another = scene.another().await;
    let answer = another.ack(&queue, vec![taken.handle.clone()]).await;
    if scene.carrier.abilities().receipts_travel {
        assert_eq!(answer.unwrap(), [Ok(())]);
        assert_nothing(carrier, &queue, SHORT).await;
    } else {
        let refused = matches!(answer, Err(CarrierError::Unsupported { .. }));
        assert!(refused, "no ability, and yet {answer:?}");
        ack(carrier, &queue, &[taken]).await;
    }
}
