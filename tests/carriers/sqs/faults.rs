//! Entries that fail within requests that succeed, and requests that fail for one of their entries.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rowmill::broker::carrier::sqs::{SqsCarrier, SqsLimits};
use rowmill::broker::carrier::{Carrier, CarrierError, Failed};
use rowmill::domain::RetryPolicy;
use serde_json::Value;

use super::Sqs;
use super::listener::{Listener, Meddle, entries_with};
use crate::scene::{
    SHORT, Scene, ack, ack_one, assert_nothing, counted, drain, parcel, parcels, send, take,
    take_one,
};

fn limits() -> SqsLimits {
    let first = Duration::from_millis(1);
    let backoff = RetryPolicy { first, factor: 2.0, most: 10 * first };
    SqsLimits { patience: Duration::from_secs(3), backoff, ..SqsLimits::default() }
}

/// A driver whose requests are meddled with.
async fn meddled(
    scene: &Scene<Sqs>,
    meddler: impl FnMut(&str, &Value) -> Meddle + Send + 'static,
) -> (Listener, SqsCarrier) {
    let listener = Listener::before(scene.engine.address, meddler).await;
    let carrier = scene.engine.with(listener.address, limits()).await.unwrap();
    (listener, carrier)
}

/// Fails the entries of one action that have a text in them, the first `times` times.
fn entries(
    action: &'static str,
    text: &'static str,
    times: usize,
    (sender_fault, code, message): (bool, &'static str, &'static str),
) -> impl FnMut(&str, &Value) -> Meddle + Send + 'static {
    let mut left = times;
    move |asked, request| match entries_with(request, text) {
        ids if asked == action && !ids.is_empty() && left > 0 => {
            left -= 1;
            Meddle::Entries(ids, sender_fault, code, message)
        }
        _ => Meddle::Not,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_engine_failed_is_tried_again_alone() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("again").await;
    for fault in [(false, "InternalError", "odd"), (true, "RequestThrottled", "slow down")] {
        let meddler = entries("SendMessageBatch", "parcel-3\"", 3, fault);
        let (listener, carrier) = meddled(&scene, meddler).await;
        send(&carrier, &queue, parcels(10)).await;
        let sizes = listener.heard("SendMessageBatch");
        let sizes: Vec<_> =
            sizes.iter().map(|request| request["Entries"].as_array().unwrap().len()).collect();
        assert_eq!(sizes, [10, 1, 1, 1], "only what failed is sent again");
        let came = counted(&drain(&carrier, &queue).await);
        assert_eq!((came.len(), came.values().sum::<usize>()), (10, 10));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_on_failing_is_reported() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("reported").await;
    let fault = (false, "InternalError", "an odd machine");
    let meddler = entries("SendMessageBatch", "parcel-3\"", usize::MAX, fault);
    let (listener, carrier) = meddled(&scene, meddler).await;
    let answers = carrier.send(&queue, parcels(12)).await.unwrap();
    for (n, answer) in answers.iter().enumerate() {
        let not_taken =
            matches!(answer, Err(Failed::NotTaken(why)) if why.contains("an odd machine"));
        assert_eq!(not_taken, n == 3, "{n}: {answer:?}");
        assert!(not_taken || answer.is_ok(), "{n}: {answer:?}");
    }
    let tries = listener.heard("SendMessageBatch");
    let tries = tries.iter().filter(|request| !entries_with(request, "parcel-3\"").is_empty());
    assert_eq!(tries.count(), usize::from(limits().tries));
    assert_eq!(counted(&drain(&carrier, &queue).await).len(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_senders_fault_is_refused_at_once_and_alone() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("refused").await;
    let fault = (true, "InvalidMessageContents", "a sign it does not take");
    let meddler = entries("SendMessageBatch", "parcel-3\"", usize::MAX, fault);
    let (listener, carrier) = meddled(&scene, meddler).await;
    let answers = carrier.send(&queue, parcels(5)).await.unwrap();
    let refused = matches!(&answers[3], Err(Failed::Refused(why)) if why.contains("a sign it"));
    assert!(refused, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
    assert_eq!(listener.heard("SendMessageBatch").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_spoils_its_request_is_found() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("spoilt").await;
    let meddler = |action: &str, request: &Value| {
        let spoils =
            action == "SendMessageBatch" && !entries_with(request, "parcel-3\"").is_empty();
        if spoils { Meddle::All(400, "BatchRequestTooLong") } else { Meddle::Not }
    };
    let (_listener, carrier) = meddled(&scene, meddler).await;
    let answers = carrier.send(&queue, parcels(10)).await.unwrap();
    assert!(matches!(&answers[3], Err(Failed::Refused(_))), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 9);
    assert_eq!(counted(&drain(&carrier, &queue).await).len(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_away_for_one_batch_is_no_outage_of_the_others() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("away").await;
    let meddler = |action: &str, request: &Value| {
        let gone = action == "SendMessageBatch" && !entries_with(request, "parcel-13\"").is_empty();
        if gone { Meddle::All(503, "ServiceUnavailable") } else { Meddle::Not }
    };
    let (_listener, carrier) = meddled(&scene, meddler).await;
    let answers = carrier.send(&queue, parcels(20)).await.unwrap();
    assert!(answers[..10].iter().all(Result::is_ok), "{answers:?}");
    assert!(answers[10..].iter().all(|one| matches!(one, Err(Failed::NotTaken(_)))), "{answers:?}");
    // Where nothing at all goes through, it is one.
    let all = carrier.send(&queue, vec![parcel(13)]).await;
    assert!(matches!(all, Err(CarrierError::Outage(_))), "{all:?}");
    assert_eq!(drain(&*scene.carrier, &queue).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_patience_of_a_call_is_not_that_of_each_batch() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("patience").await;
    let meddler = |action: &str, _: &Value| match action {
        "SendMessageBatch" => Meddle::All(503, "ServiceUnavailable"),
        _ => Meddle::Not,
    };
    let listener = Listener::before(scene.engine.address, meddler).await;
    let limits = SqsLimits { requests_at_once: 2, patience: SHORT, ..limits() };
    let carrier = scene.engine.with(listener.address, limits).await.unwrap();
    let sent = carrier.send(&queue, parcels(100)).await;
    assert!(matches!(sent, Err(CarrierError::Outage(_))), "{sent:?}");
    let batches: HashSet<_> = listener
        .heard("SendMessageBatch")
        .iter()
        .map(|request| request["Entries"][0]["Id"].to_string())
        .collect();
    assert_eq!(batches.len(), 2, "two were under way, and the others need not be tried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_away_for_a_moment_is_no_error() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("moment").await;
    let left = Arc::new(AtomicUsize::new(6));
    let meddler = {
        let left = Arc::clone(&left);
        move |_: &str, _: &Value| {
            let away = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if away.is_ok() { Meddle::All(500, "InternalError") } else { Meddle::Not }
        }
    };
    let (_listener, carrier) = meddled(&scene, meddler).await;
    send(&carrier, &queue, parcels(3)).await;
    left.store(6, Ordering::SeqCst);
    let taken = take(&carrier, &queue, 3).await;
    left.store(6, Ordering::SeqCst);
    ack(&carrier, &queue, &taken).await;
    assert_eq!(left.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settling_reads_each_entrys_answer() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("settling").await;
    send(&*scene.carrier, &queue, parcels(3)).await;
    // A delete that fails by the engine's fault is made again.
    let fault = (false, "InternalError", "odd");
    let (_listener, carrier) = meddled(&scene, entries("DeleteMessageBatch", "", 2, fault)).await;
    let taken = take(&carrier, &queue, 3).await;
    ack(&carrier, &queue, &taken[..1]).await;
    // What SQS says of a receipt that is over is read as that, whatever its code.
    let late = "Value x for parameter ReceiptHandle is invalid. Reason: Message does not exist or is \
                not available for visibility timeout change.";
    let fault = (true, "InvalidParameterValue", late);
    let meddler = entries("ChangeMessageVisibilityBatch", "", 2, fault);
    let (_second, another) = meddled(&scene, meddler).await;
    let back = vec![(taken[1].handle.clone(), Duration::ZERO)];
    assert_eq!(another.release(&queue, back.clone()).await.unwrap(), [Err(Failed::Over)]);
    let handle = vec![taken[1].handle.clone()];
    assert_eq!(another.extend(&queue, handle, SHORT).await.unwrap(), [Err(Failed::Over)]);
    assert_eq!(another.release(&queue, back).await.unwrap(), [Ok(())]);
    let again = take_one(&*scene.carrier, &queue).await;
    assert_eq!((again.id.as_ref(), again.attempt), (taken[1].id.as_ref(), 2));
    assert_eq!(ack_one(&carrier, &queue, &taken[2]).await, Ok(()));
    ack(&*scene.carrier, &queue, &[again]).await;
    assert_nothing(&carrier, &queue, SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_parcel_is_never_in_neither_queue() {
    let scene = Scene::<Sqs>::shared().await;
    let (queue, dead) = scene.queue_with_dead("neither").await;
    send(&*scene.carrier, &queue, vec![parcel(0)]).await;
    let dead_url = format!("/{}{dead}", scene.engine.corner);
    let fails = Arc::new(AtomicBool::new(true));
    let meddler = {
        let fails = Arc::clone(&fails);
        move |action: &str, request: &Value| {
            let to_dead = request["QueueUrl"].as_str().is_some_and(|url| url.ends_with(&dead_url));
            let meddle = action == "SendMessageBatch" && to_dead && fails.load(Ordering::SeqCst);
            match meddle {
                true => Meddle::Entries(entries_with(request, ""), false, "InternalError", "odd"),
                false => Meddle::Not,
            }
        }
    };
    let (listener, carrier) = meddled(&scene, meddler).await;
    let taken = take_one(&carrier, &queue).await;
    let die = vec![(taken.handle.clone(), "why".to_owned())];
    let answers = carrier.dead(&queue, die.clone()).await.unwrap();
    assert!(matches!(&answers[..], [Err(Failed::NotTaken(_))]), "{answers:?}");
    assert!(listener.heard("DeleteMessageBatch").is_empty(), "it was deleted, and is nowhere");
    // It is still in hands, and may be tried again.
    fails.store(false, Ordering::SeqCst);
    assert_eq!(carrier.dead(&queue, die).await.unwrap(), [Ok(())]);
    assert_eq!(take_one(&*scene.carrier, &dead).await.id, Some(parcel(0).id));
    assert_nothing(&carrier, &queue, SHORT).await;
}
