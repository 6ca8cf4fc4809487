//! The dead.

use std::time::Duration;

use rowmill::broker::carrier::{Carrier, CarrierError, CarrierQueue, Failed, REASON};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::scene::{
    PATIENCE, SHORT, SOON, Scene, ack, ack_one, assert_intact, assert_nothing, parcel, parcels,
    send, take, take_one,
};

pub(crate) async fn a_reason_goes_with_the_dead<E: Engine>(scene: &Scene<E>) {
    let (queue, dead) = scene.queue_with_dead("reason").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, parcels(4)).await;
    let mut taken = take(carrier, &queue, 4).await;
    taken.sort_by_key(|taken| taken.id.clone());
    let reasons = [
        "exit status 1".to_owned(),
        "zu spät 🌾: \"quoted\"\nsecond line\t{\"json\":[1]}".to_owned(),
        "long ".repeat(400).trim_end().to_owned(),
    ];
    let die = taken.iter().zip(&reasons).map(|(t, reason)| (t.handle.clone(), reason.clone()));
    let die: Vec<_> = die.collect();
    assert_eq!(carrier.dead(&queue, die.clone()).await.unwrap(), vec![Ok(()); 3]);
    ack(carrier, &queue, &taken[3..]).await;
    let another = scene.another().await;
    let mut died = take(&*another, &dead, 3).await;
    died.sort_by_key(|taken| taken.id.clone());
    for (n, mut one) in died.iter().cloned().enumerate() {
        assert_eq!(one.attributes.remove(REASON).as_ref(), Some(&reasons[n]));
        assert_intact(&one, &parcel(n));
        assert_eq!(one.attempt, 1, "a delivery there is the first there");
    }
    ack(&*another, &dead, &died).await;
    if E::TELLS_ACKED {
        let again = carrier.dead(&queue, die).await.unwrap();
        assert_eq!(again, vec![Err(Failed::Over); 3]);
    }
    assert_nothing(carrier, &queue, SHORT).await;
    assert_nothing(carrier, &dead, Duration::ZERO).await;
}

pub(crate) async fn what_has_no_dead_queue_cannot_die<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("immortal").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, vec![parcel(0)]).await;
    let taken = take_one(carrier, &queue).await;
    let answer = carrier.dead(&queue, vec![(taken.handle.clone(), "why".into())]).await;
    if E::DIES_IN_PLACE {
        assert_eq!(answer.unwrap(), [Ok(())]);
        assert_eq!(ack_one(carrier, &queue, &taken).await, Err(Failed::Over));
        return assert_nothing(carrier, &queue, SHORT).await;
    }
    assert!(matches!(answer, Err(CarrierError::Unsupported { .. })), "{answer:?}");
    // It is still in hands.
    assert_eq!(ack_one(carrier, &queue, &taken).await, Ok(()));
}

pub(crate) async fn poison_dies_by_the_engines_own_limit<E: Engine>(scene: &Scene<E>) {
    let dead = scene.queue("poison-dead").await;
    let plan = CarrierQueue {
        dead: Some(dead.clone()),
        deliveries: Some(3),
        ack_deadline: SHORT,
        ..scene.plan("poison")
    };
    scene.carrier.ensure(&plan).await.unwrap();
    let (carrier, queue) = (&*scene.carrier, plan.name);
    send(carrier, &queue, vec![parcel(0)]).await;
    for attempt in 1..=3 {
        let taken = carrier.take(&queue, 1, SOON).await.unwrap();
        assert_eq!(taken.len(), 1, "attempt {attempt}");
        assert_eq!(taken[0].attempt, attempt);
    }
    // Nobody says a word, and everybody goes on asking for work.
    let until = Instant::now() + PATIENCE;
    let died = loop {
        assert_eq!(carrier.take(&queue, 1, SHORT).await.unwrap(), vec![], "a fourth delivery");
        let died = carrier.take(&dead, 1, Duration::ZERO).await.unwrap();
        if let Some(died) = died.into_iter().next() {
            break died;
        }
        assert!(Instant::now() < until, "it did not die");
    };
    let sent = parcel(0);
    assert_eq!((died.id.as_ref(), &died.data), (Some(&sent.id), &sent.data));
    for (name, value) in &sent.attributes {
        assert_eq!(died.attributes.get(name), Some(value), "the attribute {name}");
    }
    ack(carrier, &dead, &[died]).await;
    assert_nothing(carrier, &queue, SHORT).await;
}
