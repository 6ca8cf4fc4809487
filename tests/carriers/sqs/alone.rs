//! What is true of SQS alone: how its requests are made, and what it cannot do.

use std::time::Duration;

use bytes::Bytes;
use rowmill::broker::carrier::sqs::{SqsCarrier, SqsLimits};
use rowmill::broker::carrier::{Carrier, CarrierError, CarrierQueue, Failed, Parcel};
use tokio::time::Instant;

use super::Sqs;
use super::listener::{Listener, Meddle};
use crate::scene::{SHORT, Scene, ack, ack_one, assert_nothing, parcel, parcels, send, take_one};

async fn heard(scene: &Scene<Sqs>, limits: SqsLimits) -> (Listener, SqsCarrier) {
    let listener = Listener::before(scene.engine.address, |_, _| Meddle::Not).await;
    let carrier = scene.engine.with(listener.address, limits).await.unwrap();
    (listener, carrier)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_full_and_several_are_under_way() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("full").await;
    let limits = SqsLimits { requests_at_once: 3, ..SqsLimits::default() };
    let (listener, carrier) = heard(&scene, limits).await;
    send(&carrier, &queue, parcels(95)).await;
    let mut sizes: Vec<_> = listener
        .heard("SendMessageBatch")
        .iter()
        .map(|request| request["Entries"].as_array().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 10, 10, 10, 10, 10, 10, 10, 10, 10]);
    let taken = carrier.take(&queue, 95, Duration::ZERO).await.unwrap();
    assert_eq!(taken.len(), 95, "all that is there comes in one call");
    let asked: Vec<_> = listener.heard("ReceiveMessage");
    let asked: u64 = asked.iter().map(|ask| ask["MaxNumberOfMessages"].as_u64().unwrap()).sum();
    assert_eq!(asked, 95, "no more is asked for than is wanted");
    ack(&carrier, &queue, &taken).await;
    assert_eq!(listener.heard("DeleteMessageBatch").len(), 10);
    assert!((2..=3).contains(&listener.most_at_once()), "{}", listener.most_at_once());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_parcels_go_in_smaller_batches() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("packed").await;
    let limits = SqsLimits { message_bytes: 256 << 10, ..SqsLimits::default() };
    let (listener, carrier) = heard(&scene, limits).await;
    let large = |n| Parcel {
        data: Bytes::from(format!(r#"{{"blob":"{}"}}"#, "x".repeat(100 << 10))),
        ..parcel(n)
    };
    send(&carrier, &queue, (0..5).map(large).collect()).await;
    let mut sizes: Vec<_> = listener
        .heard("SendMessageBatch")
        .iter()
        .map(|request| request["Entries"].as_array().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2, 2]);
    let blob = "x".repeat(256 << 10);
    let too_large = Parcel { data: Bytes::from(format!(r#"{{"blob":"{blob}"}}"#)), ..parcel(9) };
    let answers = carrier.send(&queue, vec![too_large]).await.unwrap();
    assert!(matches!(&answers[..], [Err(Failed::Refused(why))] if why.contains("bytes")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_wait_is_made_of_long_polls() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("turns").await;
    let (listener, carrier) =
        heard(&scene, SqsLimits { poll: SHORT, ..SqsLimits::default() }).await;
    assert!(carrier.take(&queue, 30, Duration::ZERO).await.unwrap().is_empty());
    let waits = || -> Vec<_> {
        let asked = listener.heard("ReceiveMessage");
        asked.iter().map(|ask| ask["WaitTimeSeconds"].as_u64().unwrap()).collect()
    };
    assert_eq!(waits(), [0], "a wait of nothing is one short poll");
    let begun = Instant::now();
    assert!(carrier.take(&queue, 30, SHORT.mul_f32(2.5)).await.unwrap().is_empty());
    let took = begun.elapsed();
    assert!(took >= SHORT.mul_f32(2.5), "it gave up after {took:?}");
    let long = waits().iter().filter(|wait| **wait == 1).count();
    assert!((1..=2).contains(&long), "{:?}", waits());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_took_a_parcel_can_bury_it() {
    let scene = Scene::<Sqs>::shared().await;
    let (queue, dead) = scene.queue_with_dead("strange").await;
    send(&*scene.carrier, &queue, vec![parcel(0)]).await;
    let taken = take_one(&*scene.carrier, &queue).await;
    let die = vec![(taken.handle.clone(), "why".to_owned())];
    let another = scene.another().await;
    let answers = another.dead(&queue, die.clone()).await.unwrap();
    assert!(matches!(&answers[..], [Err(Failed::Refused(why))] if why.contains("receipt")));
    // Named twice it dies once.
    let twice = [die.clone(), die].concat();
    let answers = scene.carrier.dead(&queue, twice).await.unwrap();
    assert_eq!(answers, [Ok(()), Err(Failed::Over)]);
    assert_eq!(take_one(&*another, &dead).await.id, taken.id);
    assert_nothing(&*another, &dead, SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_for_sqs_is_refused() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("long").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, parcels(2)).await;
    let (first, second) = (take_one(carrier, &queue).await, take_one(carrier, &queue).await);
    let day = 24 * 3600 * SHORT;
    let back = vec![(first.handle.clone(), day), (second.handle.clone(), Duration::ZERO)];
    let answers = carrier.release(&queue, back).await.unwrap();
    assert!(matches!(&answers[..], [Err(Failed::Refused(_)), Ok(())]), "{answers:?}");
    assert_eq!(ack_one(carrier, &queue, &first).await, Ok(()), "it is still in hands");
    let second = take_one(carrier, &queue).await;
    // The same twice in one call is the same once.
    let twice = vec![second.handle.clone(), second.handle];
    assert_eq!(carrier.ack(&queue, twice).await.unwrap(), [Ok(()), Err(Failed::Over)]);
    assert_nothing(carrier, &queue, SHORT).await;
    for plan in [
        CarrierQueue { retention: Some(30 * day), ..scene.plan("kept") },
        CarrierQueue { ack_deadline: day, ..scene.plan("held") },
    ] {
        let made = carrier.ensure(&plan).await;
        assert!(matches!(made, Err(CarrierError::Unsupported { .. })), "{made:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_address_is_said_and_repeats_no_secret() {
    let url = "sqs://key:hidden@us-east-1?endpoint=ftp://127.0.0.1";
    let Err(error) = SqsCarrier::connect(url, SqsLimits::default()).await else {
        panic!("it was taken");
    };
    let error = error.to_string();
    assert!(error.contains("endpoint") && !error.contains("hidden"), "{error}");
}
