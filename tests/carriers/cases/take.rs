//! Taking.

use std::sync::Arc;
use std::time::Duration;

use rowmill::broker::carrier::Carrier;
use tokio::time::{Instant, sleep};

use crate::engine::Engine;
use crate::scene::{Scene, ack, counted, parcel, parcels, send, take};

pub(crate) async fn never_more_than_asked_for<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("max").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, parcels(40)).await;
    assert_eq!(carrier.take(&queue, 0, Duration::ZERO).await.unwrap(), vec![]);
    let mut all = take(carrier, &queue, 1).await;
    all.extend(take(carrier, &queue, 14).await);
    // Nothing was held back for the first: another gets the rest, long before any deadline.
    let another = scene.another().await;
    let begun = Instant::now();
    all.extend(take(&*another, &queue, 25).await);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(counted(&all).len(), 40);
    assert!(all.iter().all(|taken| taken.attempt == 1));
}

/// Several rounds, because the machine may be busy with something else in one.
pub(crate) async fn a_send_wakes_a_taker<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("wake").await;
    let taker = scene.another().await;
    let mut fastest = Duration::MAX;
    for n in 0..5 {
        let wait = {
            let (taker, queue) = (Arc::clone(&taker), queue.clone());
            tokio::spawn(async move {
                let taken = taker.take(&queue, 10, Duration::from_secs(20)).await.unwrap();
                (Instant::now(), taken)
            })
        };
        // Long enough for the taker to be waiting; if it is not, the round shows less, not nothing.
        sleep(Duration::from_millis(300)).await;
        send(&*scene.carrier, &queue, vec![parcel(n)]).await;
        let sent = Instant::now();
        let (woken, taken) = wait.await.unwrap();
        assert_eq!(taken.len(), 1);
        ack(&*taker, &queue, &taken).await;
        let took = woken.saturating_duration_since(sent);
        assert!(took < Duration::from_secs(10), "it slept on for {took:?}");
        fastest = fastest.min(took);
    }
    assert!(fastest < Duration::from_millis(500), "woken after {fastest:?} at best");
}

pub(crate) async fn an_empty_queue_is_waited_for<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("empty").await;
    for (wait, most) in [(0, 5), (1, 10)] {
        let begun = Instant::now();
        let taken = scene.carrier.take(&queue, 10, Duration::from_secs(wait)).await.unwrap();
        assert_eq!(taken, vec![]);
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(wait * 950), "it waited for {took:?}");
        assert!(took < Duration::from_secs(most), "it waited for {took:?}");
    }
}
