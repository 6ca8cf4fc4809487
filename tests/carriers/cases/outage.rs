//! Servers that go and come back, and connections that break.

use std::collections::BTreeSet;
use std::time::Duration;

use rowmill::broker::carrier::{Carrier, CarrierError, CarrierQueue, Failed, Parcel};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::engine::Engine;
use crate::proxy::Proxy;
use crate::scene::{
    LONG, PATIENCE, SHORT, SOON, Scene, ack, assert_intact, handles, parcel, parcels, patiently,
    send, take,
};

/// Publishes until told to stop; answers the parcels that were confirmed. `confirmed` says how many.
async fn publish<C: Carrier>(
    carrier: &C,
    queue: &rowmill::domain::QueueName,
    confirmed: &watch::Sender<usize>,
    stop: &watch::Sender<bool>,
) -> BTreeSet<String> {
    let mut there = BTreeSet::new();
    for batch in 0.. {
        if *stop.borrow() {
            break;
        }
        let parcels: Vec<_> = (batch * 50..batch * 50 + 50).map(parcel).collect();
        let sent = patiently(async || carrier.send(queue, parcels.clone()).await).await.unwrap();
        for (parcel, answer) in parcels.iter().zip(sent) {
            match answer {
                Ok(()) => drop(there.insert(parcel.id.clone())),
                Err(Failed::NotTaken(_)) => {}
                Err(failed) => panic!("{}: {failed}", parcel.id),
            }
        }
        confirmed.send_replace(there.len());
    }
    there
}

/// Takes and acks until it has seen all of `wanted`, once that is known.
async fn consume<C: Carrier>(
    carrier: &C,
    queue: &rowmill::domain::QueueName,
    seen_count: &watch::Sender<usize>,
    wanted: &watch::Sender<Option<BTreeSet<String>>>,
) {
    let mut seen = BTreeSet::new();
    loop {
        let all_seen = wanted.borrow().as_ref().is_some_and(|all| all.is_subset(&seen));
        if all_seen {
            return;
        }
        let taken = patiently(async || carrier.take(queue, 20, SHORT).await).await.unwrap();
        seen.extend(taken.iter().map(|taken| taken.id.clone().unwrap()));
        // After an outage an answer may be that the delivery is over: then it comes again.
        let acked = patiently(async || carrier.ack(queue, handles(&taken)).await).await.unwrap();
        assert!(acked.iter().all(|one| matches!(one, Ok(()) | Err(Failed::Over))), "{acked:?}");
        seen_count.send_replace(seen.len());
    }
}

async fn until_more_than(counts: &watch::Sender<usize>, n: usize) {
    let reached = async { counts.subscribe().wait_for(|count| *count > n).await.map(drop) };
    timeout(2 * PATIENCE, reached).await.expect("it does not go on").unwrap();
}

/// Plays `fault` while one process publishes and another consumes: both go on by themselves, and
/// everything that was confirmed comes.
async fn both_go_on<E: Engine>(scene: &Scene<E>, wire: &Proxy, fault: impl AsyncFn()) {
    let plan =
        rowmill::broker::carrier::CarrierQueue { ack_deadline: 5 * SHORT, ..scene.plan("on") };
    scene.carrier.ensure(&plan).await.unwrap();
    let queue = plan.name;
    let publisher = scene.engine.connect(wire.address()).await.unwrap();
    let consumer = scene.engine.connect(wire.address()).await.unwrap();
    let (confirmed, seen) = (watch::Sender::new(0), watch::Sender::new(0));
    let (stop, wanted) = (watch::Sender::new(false), watch::Sender::new(None));
    let publishes = async {
        wanted.send_replace(Some(publish(&publisher, &queue, &confirmed, &stop).await));
    };
    let consumes = consume(&consumer, &queue, &seen, &wanted);
    let plays = async {
        until_more_than(&confirmed, 200).await;
        until_more_than(&seen, 50).await;
        fault().await;
        let (sent, came) = (*confirmed.borrow(), *seen.borrow());
        until_more_than(&confirmed, sent + 200).await;
        until_more_than(&seen, came + 100).await;
        stop.send_replace(true);
    };
    tokio::join!(publishes, consumes, plays);
}

pub(crate) async fn connections_are_cut<E: Engine>(scene: &Scene<E>) {
    let wire = Proxy::to(scene.engine.address()).await;
    both_go_on(scene, &wire, async || {
        assert!(wire.cut() > 0, "nothing was connected");
    })
    .await;
    // One that waits while it is cut learns of what comes then, at its next call at the latest; what
    // was on its way to it comes again at its deadline.
    let plan = CarrierQueue { ack_deadline: 5 * SHORT, ..scene.plan("cut") };
    scene.carrier.ensure(&plan).await.unwrap();
    let queue = plan.name;
    let taker = scene.engine.connect(wire.address()).await.unwrap();
    let waits = patiently(async || taker.take(&queue, 10, SOON).await);
    let cuts = async {
        tokio::time::sleep(SHORT / 2).await;
        wire.cut();
        send(&*scene.carrier, &queue, vec![parcel(0)]).await;
    };
    let both = async { tokio::join!(waits, cuts) };
    let (taken, ()) = timeout(PATIENCE, both).await.expect("it waits for ever");
    let mut taken = taken.unwrap();
    if taken.is_empty() {
        taken = take(&taker, &queue, 1).await;
    }
    assert_intact(&taken[0], &parcel(0));
    ack(&taker, &queue, &taken).await;
}

pub(crate) async fn both_go_on_after_a_restart<E: Engine>(scene: &Scene<E>) {
    if !E::DURABLE {
        // What a server forgets cannot be there again; that its driver goes on is seen below.
        return a_forgetful_server_comes_back(scene).await;
    }
    let wire = Proxy::to(scene.engine.address()).await;
    both_go_on(scene, &wire, async || {
        scene.engine.crash().await;
        scene.engine.start().await;
    })
    .await;
}

async fn a_forgetful_server_comes_back<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("back").await;
    send(&*scene.carrier, &queue, parcels(3)).await;
    scene.engine.crash().await;
    scene.engine.start().await;
    let plan = scene.plan("back");
    patiently(async || scene.carrier.ensure(&plan).await).await.unwrap();
    send(&*scene.carrier, &queue, parcels(3)).await;
    let taken = take(&*scene.carrier, &queue, 3).await;
    ack(&*scene.carrier, &queue, &taken).await;
}

pub(crate) async fn a_crash_loses_nothing<E: Engine>(scene: &Scene<E>) {
    let (queue, dead) = scene.queue_with_dead("crash").await;
    let carrier = &*scene.carrier;
    send(carrier, &queue, parcels(300)).await;
    let delayed: Vec<_> = (300..310).map(|n| Parcel { delay: 2 * SHORT, ..parcel(n) }).collect();
    send(carrier, &queue, delayed).await;
    let taken = take(carrier, &queue, 30).await;
    ack(carrier, &queue, &taken[..10]).await;
    let die = handles(&taken[10..20]).into_iter().map(|handle| (handle, "why".into())).collect();
    assert_eq!(carrier.dead(&queue, die).await.unwrap(), vec![Ok(()); 10]);
    let back: Vec<_> = handles(&taken[20..25]).into_iter().map(|h| (h, SHORT)).collect();
    assert_eq!(carrier.release(&queue, back).await.unwrap(), vec![Ok(()); 5]);

    scene.engine.crash().await;
    let begun = Instant::now();
    for away in [
        carrier.send(&queue, parcels(1)).await.map(drop),
        carrier.take(&queue, 1, SHORT).await.map(drop),
        carrier.depth(&queue).await.map(drop),
    ] {
        assert!(matches!(away, Err(CarrierError::Outage(_))), "{away:?}");
    }
    assert!(begun.elapsed() < PATIENCE, "its patience is endless: {:?}", begun.elapsed());
    scene.engine.start().await;
    if !E::DURABLE {
        return;
    }

    // 20 of the first 300 ended. The five in hands may come again when their deadline passes, or
    // their connection ended; they are acked here so that nobody needs to wait for it.
    let held = patiently(async || carrier.ack(&queue, handles(&taken[25..])).await).await.unwrap();
    let settled = held.iter().filter(|answer| answer.is_ok()).count();
    assert!(held.iter().all(|one| matches!(one, Ok(()) | Err(Failed::Over))), "{held:?}");
    let mut came = BTreeSet::new();
    let until = Instant::now() + LONG;
    while came.len() < 290 - settled {
        let more =
            patiently(async || carrier.take(&queue, 100, Duration::from_secs(5)).await).await;
        let more = more.unwrap();
        ack(carrier, &queue, &more).await;
        came.extend(more.into_iter().map(|taken| taken.id.unwrap()));
        assert!(Instant::now() < until, "{} of {} came", came.len(), 290 - settled);
    }
    for ended in &taken[..20] {
        assert!(!came.contains(ended.id.as_ref().unwrap()), "{:?} had ended", ended.id);
    }
    let died = take(carrier, &dead, 10).await;
    assert!(died.iter().all(|taken| taken.attributes.contains_key("rowmill-reason")));
}

pub(crate) async fn nobody_listens<E: Engine>(scene: &Scene<E>) {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = free.local_addr().unwrap();
    drop(free);
    let begun = Instant::now();
    // Some drivers connect when they are first used.
    let away = match scene.engine.connect(nowhere).await {
        Ok(carrier) => carrier.depth(&scene.name("nowhere")).await.map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(away, Err(CarrierError::Outage(_))), "{away:?}");
    assert!(begun.elapsed() < PATIENCE, "its patience is endless: {:?}", begun.elapsed());
}
