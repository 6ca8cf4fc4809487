//! Looking at a queue, and clearing or moving what waits in it.

use std::time::Duration;

use rowmill::broker::carrier::{Carrier, CarrierError, Parcel};

use crate::engine::Engine;
use crate::scene::{
    SHORT, Scene, ack, assert_intact, assert_nothing, handles, parcel, parcels, send, take,
    until_depth,
};

pub(crate) async fn depth_counts<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("depth").await;
    let carrier = &*scene.carrier;
    let delayed = (7..9).map(|n| Parcel { delay: 300 * SHORT, ..parcel(n) });
    send(carrier, &queue, parcels(7).into_iter().chain(delayed).collect()).await;
    let none_or = |said: Option<u64>, n| said.is_none_or(|said| said == n);
    let before = until_depth(carrier, &queue, |depth| {
        depth.waiting == 7 && none_or(depth.delayed, 2) && none_or(depth.in_hands, 0)
    })
    .await;
    let taken = take(carrier, &queue, 3).await;
    let another = scene.another().await;
    let during = until_depth(&*another, &queue, |depth| {
        depth.waiting == 4 && none_or(depth.delayed, 2) && none_or(depth.in_hands, 3)
    })
    .await;
    // What an engine tells, it tells always.
    assert_eq!(before.delayed.is_some(), during.delayed.is_some());
    assert_eq!(before.in_hands.is_some(), during.in_hands.is_some());
    ack(carrier, &queue, &taken).await;
    until_depth(&*another, &queue, |d| d.waiting == 4 && none_or(d.in_hands, 0)).await;
}

pub(crate) async fn peek_takes_nothing<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("peek").await;
    let carrier = &*scene.carrier;
    let delayed = Parcel { delay: 300 * SHORT, ..parcel(5) };
    send(carrier, &queue, parcels(5)).await;
    send(carrier, &queue, vec![delayed]).await;
    let seen = carrier.peek(&queue, 3).await;
    if !carrier.abilities().peek {
        let refused = matches!(seen, Err(CarrierError::Unsupported { .. }));
        return assert!(refused, "no ability, and yet {seen:?}");
    }
    let seen = seen.unwrap();
    assert_eq!(seen, parcels(3), "the first three, as they were sent");
    assert_eq!(carrier.peek(&queue, 100).await.unwrap(), parcels(5));
    // What is in hands does not wait.
    let taken = take(carrier, &queue, 2).await;
    assert!(taken.iter().all(|taken| taken.attempt == 1), "to look is not to take");
    assert_eq!(carrier.peek(&queue, 100).await.unwrap().len(), 3);
    ack(carrier, &queue, &taken).await;
    let rest = take(carrier, &queue, 3).await;
    assert_eq!(carrier.peek(&queue, 100).await.unwrap(), vec![]);
    assert!(rest.iter().all(|taken| taken.attempt == 1));
}

pub(crate) async fn purge_leaves_what_is_in_hands<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("purge").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, parcels(10)).await;
    let taken = take(carrier, &queue, 3).await;
    let another = scene.another().await;
    let purged = another.purge(&queue).await.unwrap();
    assert!(purged.is_none_or(|n| n == 7), "{purged:?} were purged");
    assert_nothing(carrier, &queue, SHORT).await;
    let back = vec![(taken[0].handle.clone(), Duration::ZERO)];
    assert_eq!(carrier.release(&queue, back).await.unwrap(), [Ok(())]);
    ack(carrier, &queue, &taken[1..]).await;
    let again = take(carrier, &queue, 1).await;
    assert_eq!(again[0].id, taken[0].id);
    ack(carrier, &queue, &again).await;
    // What comes after it is there.
    send(carrier, &queue, vec![parcel(100)]).await;
    assert_eq!(take(carrier, &queue, 1).await[0].id, Some(parcel(100).id));
    assert!(carrier.purge(&queue).await.unwrap().is_none_or(|n| n == 0));
}

pub(crate) async fn redrive_begins_a_new_life<E: Engine>(scene: &Scene<E>) {
    let (queue, dead) = scene.queue_with_dead("redrive").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, parcels(6)).await;
    let taken = take(carrier, &queue, 6).await;
    let die = handles(&taken[..5]).into_iter().map(|handle| (handle, "broken".into())).collect();
    assert_eq!(carrier.dead(&queue, die).await.unwrap(), vec![Ok(()); 5]);
    ack(carrier, &queue, &taken[5..]).await;
    until_depth(carrier, &dead, |depth| depth.waiting == 5).await;
    let first = if E::REDRIVES_ALL { 5 } else { 3 };
    assert_eq!(carrier.redrive(&dead, &queue, 3).await.unwrap(), first);
    let mut again = take(carrier, &queue, first as usize).await;
    assert_nothing(carrier, &queue, SHORT).await;
    let another = scene.another().await;
    assert_eq!(another.redrive(&dead, &queue, 100).await.unwrap(), 5 - first);
    assert_eq!(another.redrive(&dead, &queue, 100).await.unwrap(), 0);
    again.extend(take(carrier, &queue, 5 - first as usize).await);
    for taken in &again {
        let n = taken.id.as_ref().unwrap().trim_start_matches("parcel-").parse().unwrap();
        assert_intact(taken, &parcel(n));
        assert_eq!(taken.attempt, 1, "a new life");
    }
    ack(carrier, &queue, &again).await;
    assert_nothing(carrier, &dead, Duration::ZERO).await;
}
