//! Messages looked at, extended and moved through the broker.

use std::time::Duration;

use rowmill::broker::{Broker, BrokerError, Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{Delivery, Depth, Lease, MessageId, MessageState, Settlement, Verdict};
use rowmill::store::Store;
use rowmill::store::control::NewQueue;
use rowmill::store::log::QueueId;

use crate::support::TestDatabase;
use crate::{
    MINUTE, NO_TIME, delete, execute, message, messages, name, publish_rows, publishing, queue,
    topic_name, upload,
};

on_both!(
    a_message_is_followed_through_its_life,
    what_waits_is_peeked_at_in_order,
    a_delivery_says_when_it_was_made_and_when_it_expires,
    a_lease_is_extended_by_as_long_as_is_said,
    a_retried_message_expires,
    ends_are_not_recorded_where_nobody_wants_them,
    a_queue_is_redriven_to_any_other,
    stats_say_how_a_queue_stands,
    attempts_stop_counting,
    a_deleted_queue_holds_nothing_for_anybody,
);

/// A topic with the queue `work`, whose dead queue is `dead`, and the queue `other`.
struct Scene {
    store: Store,
    broker: SqlBroker,
    work: QueueId,
}

const RETENTION: Duration = Duration::from_secs(600);
const DEAD_RETENTION: Duration = Duration::from_secs(900);

async fn scene(database: &TestDatabase) -> Scene {
    let store = database.open(6).await;
    let topic = store.control.ensure_topic(&topic_name()).await.unwrap();
    let dead = NewQueue { retention: Some(DEAD_RETENTION), ..NewQueue::new(name("dead")) };
    let dead = queue(&store, dead).await;
    let work = NewQueue {
        topic: Some(topic),
        dead_queue: Some(dead),
        max_deliveries: 2,
        retention: Some(RETENTION),
        ..NewQueue::new(name("work"))
    };
    let work = queue(&store, work).await;
    let other = NewQueue { delay: MINUTE, ..NewQueue::new(name("other")) };
    queue(&store, other).await;
    let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
    Scene { store, broker, work }
}

impl Scene {
    async fn publish(&self, n: usize) -> Vec<MessageId> {
        let copies = self.broker.publish_messages(&topic_name(), messages(n), None).await.unwrap();
        copies.into_iter().map(|copies| copies[0].id).collect()
    }

    async fn receive(&self, queue: &str, max: usize) -> Vec<Delivery> {
        let leases = self.broker.receive(&name(queue), max, NO_TIME).await.unwrap();
        leases.into_iter().flat_map(|lease: Lease| lease.deliveries).collect()
    }

    async fn settle(&self, delivery: &Delivery, verdict: Verdict) {
        let settlement = Settlement { position: delivery.position, verdict };
        let settled = self.broker.settle(vec![(delivery.receipt, vec![settlement])]).await.unwrap();
        assert!(settled[0].stale.is_empty());
    }

    async fn state(&self, id: MessageId) -> Option<MessageState> {
        self.broker.message(id).await.unwrap().map(|message| message.state)
    }

    async fn depth(&self, queue: &str) -> Depth {
        self.broker.stats(&name(queue)).await.unwrap().depth
    }
}

fn retry() -> Verdict {
    Verdict::Retry { reason: "not now".into(), after: Some(MINUTE) }
}

fn reject() -> Verdict {
    Verdict::Reject { reason: "never".into() }
}

/// Whether two times are one, as far as a slow machine lets them.
fn near(a: i64, b: i64) -> bool {
    (a - b).abs() < 20_000
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

async fn a_message_is_followed_through_its_life(database: TestDatabase) {
    let scene = scene(&database).await;
    let broker = &scene.broker;
    let began = scene.store.clock.now_ms();
    let id = scene.publish(1).await[0];
    let fresh = broker.message(id).await.unwrap().unwrap();
    assert_eq!((fresh.state, fresh.attempts), (MessageState::Waiting, 0));
    assert_eq!((fresh.queue.as_str(), &*fresh.data), ("work", r#"{"n":0}"#));
    assert_eq!(fresh.attributes.as_deref(), Some(r#"{"parity":"even"}"#));
    assert!(near(fresh.created_ms, began) && near(fresh.scheduled_ms, began), "{fresh:?}");
    assert!(near(fresh.expires_ms.unwrap(), began + ms(RETENTION)));
    assert_eq!(broker.holder(id).await.unwrap(), None);

    let held = scene.receive("work", 1).await.remove(0);
    assert_eq!(broker.holder(id).await.unwrap(), Some((held.receipt, 0)));
    let in_hands = broker.message(id).await.unwrap().unwrap();
    assert_eq!((in_hands.state, in_hands.attempts), (MessageState::InFlight, 1));
    assert!(near(in_hands.scheduled_ms, began + 60_000), "its deadline: {in_hands:?}");

    scene.settle(&held, retry()).await;
    let again = broker.message(id).await.unwrap().unwrap();
    assert_eq!((again.state, again.attempts), (MessageState::Waiting, 1));
    assert_eq!(again.reason.as_deref(), Some("not now"));
    assert_eq!(again.expires_ms, fresh.expires_ms, "its time goes on");
    assert!(near(again.scheduled_ms, began + 60_000));

    scene.store.clock.advance(MINUTE);
    let held = scene.receive("work", 1).await.remove(0);
    assert_eq!((held.attempt, held.id), (2, id));
    scene.settle(&held, reject()).await;
    let dead = broker.message(id).await.unwrap().unwrap();
    assert_eq!((dead.state, dead.attempts), (MessageState::Dead, 2));
    assert_eq!((dead.reason.as_deref(), dead.expires_ms), (Some("never"), None));
    let copy = broker.peek(&name("dead"), 10).await.unwrap().remove(0);
    assert_eq!((copy.attempts, copy.reason.as_deref()), (0, Some("never")));
    let expires = copy.expires_ms.unwrap() - ms(DEAD_RETENTION);
    assert!(near(expires, began + 60_000), "it began to wait there when it died");
    assert!(near(copy.created_ms, began));
    assert_eq!(scene.state(copy.id).await, Some(MessageState::Waiting));
    let made_up: MessageId = "12345678-0000-8000-8000-000000000000".parse().unwrap();
    assert_eq!(scene.state(made_up).await, None);
    assert_eq!(broker.holder(made_up).await.unwrap(), None);
}

async fn what_waits_is_peeked_at_in_order(database: TestDatabase) {
    let scene = scene(&database).await;
    let ids = scene.publish(6).await;
    let held = scene.receive("work", 3).await;
    scene.settle(&held[0], retry()).await;
    let soon = Verdict::Retry { reason: "soon".into(), after: Some(NO_TIME) };
    scene.settle(&held[1], soon).await;
    let broker = &scene.broker;
    let peek = |limit| async move {
        let seen = broker.peek(&name("work"), limit).await.unwrap();
        seen.into_iter().map(|message| message.id).collect::<Vec<_>>()
    };
    let order = [ids[1], ids[3], ids[4], ids[5], ids[0]];
    assert_eq!(peek(10).await, order, "due retries, fresh ones, delayed ones");
    assert_eq!(peek(2).await, order[..2]);
    let none = scene.broker.peek(&name("nowhere"), 1).await;
    assert!(matches!(none, Err(BrokerError::NoQueue(_))), "{none:?}");

    // Rows of a file that is held are not shown, but found.
    let topic = scene.store.control.ensure_topic(&topic_name()).await.unwrap();
    let upload = upload(&scene.store, topic, false).await;
    scene.broker.describe(upload.fence(), r#"[{"index":0,"name":"even"}]"#).await.unwrap();
    let first = publish_rows(&scene.broker, &upload, 0, 3).await;
    let row = scene.broker.id_of(scene.work, first);
    assert_eq!(scene.state(row).await, Some(MessageState::Held));
    assert_eq!(peek(10).await.len(), 5);
    scene.broker.release(publishing(&upload).fence, "{}").await.unwrap();
    assert_eq!(peek(10).await.len(), 8);
    let row = scene.broker.message(row).await.unwrap().unwrap();
    let origin = row.origin.unwrap();
    assert_eq!((origin.upload_id, origin.row.0), (upload.public_id, 2));
    assert_eq!((&*origin.filename, origin.sheet.as_deref()), ("orders.csv", Some("even")));
}

async fn a_delivery_says_when_it_was_made_and_when_it_expires(database: TestDatabase) {
    let scene = scene(&database).await;
    let began = scene.store.clock.now_ms();
    scene.publish(3).await;
    scene.store.clock.advance(MINUTE);
    for attempt in 1..=2 {
        let got = scene.receive("work", 3).await;
        assert_eq!(got.len(), 3);
        for delivery in got {
            assert_eq!(delivery.attempt, attempt);
            assert!(near(delivery.created_ms, began), "{delivery:?}");
            assert!(near(delivery.expires_ms.unwrap(), began + ms(RETENTION)), "{delivery:?}");
            if attempt == 1 {
                scene.settle(&delivery, retry()).await;
            }
        }
        scene.store.clock.advance(MINUTE);
    }
}

async fn a_lease_is_extended_by_as_long_as_is_said(database: TestDatabase) {
    let scene = scene(&database).await;
    scene.publish(1).await;
    let held = scene.receive("work", 1).await.remove(0);
    let long = Duration::from_secs(1_800);
    let extended = scene.broker.extend_for(vec![held.receipt], long).await.unwrap();
    assert_eq!(extended, [Some(long)]);
    scene.store.clock.advance(Duration::from_secs(1_700));
    assert!(scene.broker.sweep(10).await.unwrap().is_empty());
    assert_eq!(scene.broker.extend(vec![held.receipt]).await.unwrap(), [Some(MINUTE)]);
    scene.store.clock.advance(MINUTE * 2);
    assert_eq!(scene.broker.sweep(10).await.unwrap().len(), 1);
    let late = scene.broker.extend_for(vec![held.receipt], long).await.unwrap();
    assert_eq!(late, [None]);
}

async fn a_retried_message_expires(database: TestDatabase) {
    let scene = scene(&database).await;
    let ids = scene.publish(2).await;
    let held = scene.receive("work", 2).await;
    scene.settle(&held[0], Verdict::Retry { reason: "no".into(), after: Some(NO_TIME) }).await;
    scene.broker.extend_for(vec![held[1].receipt], RETENTION * 2).await.unwrap();
    scene.store.clock.advance(RETENTION);
    assert!(scene.receive("work", 2).await.is_empty(), "it is not handed out any more");
    assert!(scene.broker.peek(&name("work"), 2).await.unwrap().is_empty(), "nor shown");
    scene.broker.sweep(10).await.unwrap();
    let expired = scene.broker.message(ids[0]).await.unwrap().unwrap();
    assert_eq!((expired.state, expired.attempts), (MessageState::Expired, 1));
    assert_eq!(scene.state(ids[1]).await, Some(MessageState::InFlight), "in hands none expires");
    scene.settle(&held[1], Verdict::Release).await;
    assert!(scene.receive("work", 2).await.is_empty());
    scene.broker.sweep(10).await.unwrap();
    assert_eq!(scene.state(ids[1]).await, Some(MessageState::Expired));
}

async fn ends_are_not_recorded_where_nobody_wants_them(database: TestDatabase) {
    let scene = scene(&database).await;
    execute(&scene.store, &["update queue set record_outcomes=false".into()]).await;
    let topic = scene.store.control.ensure_topic(&topic_name()).await.unwrap();
    let upload = upload(&scene.store, topic, true).await;
    let ids = scene.publish(4).await;
    let first = publish_rows(&scene.broker, &upload, 0, 4).await;
    let held = scene.receive("work", 8).await;
    assert_eq!(held.len(), 8);
    let done = Verdict::Done { output: Some("1".into()) };
    // One whole, the other in parts: both ways of settling.
    let (plain, rows): (Vec<_>, Vec<_>) =
        held.iter().partition(|delivery| delivery.origin.is_none());
    let whole = plain.iter().map(|d| Settlement { position: d.position, verdict: done.clone() });
    scene.broker.settle(vec![(plain[0].receipt, whole.collect())]).await.unwrap();
    for delivery in &rows[..3] {
        scene.settle(delivery, done.clone()).await;
    }
    scene.settle(rows[3], reject()).await;
    for id in &ids {
        assert_eq!(scene.state(*id).await, None, "nothing is kept of it");
    }
    let counts = scene.store.log.counts(upload.fence().upload, scene.work).await.unwrap();
    assert_eq!((counts.done, counts.dead), (3, 1), "rows always are recorded");
    let row = scene.broker.id_of(scene.work, first + 3);
    assert_eq!(scene.state(row).await, Some(MessageState::Dead));
    // The dead go to the dead queue all the same, and what is purged leaves nothing.
    scene.publish(2).await;
    let held = scene.receive("work", 1).await.remove(0);
    scene.settle(&held, reject()).await;
    assert_eq!(scene.depth("dead").await.ready, 2);
    assert_eq!(scene.broker.purge(&name("work")).await.unwrap(), 1);
    assert_eq!(
        crate::count(&scene.store, "select count(*) from outcome where upload_id is null").await,
        0
    );
}

async fn a_queue_is_redriven_to_any_other(database: TestDatabase) {
    let scene = scene(&database).await;
    let broker = &scene.broker;
    let ids = scene.publish(5).await;
    for delivery in scene.receive("work", 2).await {
        scene.settle(&delivery, reject()).await;
    }
    let held = scene.receive("work", 1).await;
    let redrive = |from: &'static str, to: &'static str| async move {
        broker.redrive(&name(from), &name(to)).await
    };
    assert_eq!(redrive("work", "work").await.unwrap(), 0);
    assert_eq!(redrive("dead", "work").await.unwrap(), 2);
    assert_eq!(scene.state(ids[0]).await, Some(MessageState::Waiting), "its death is forgotten");
    assert_eq!(redrive("work", "other").await.unwrap(), 4, "two retried, two fresh");
    let depth = scene.depth("other").await;
    assert_eq!((depth.ready, depth.delayed), (0, 4), "that queue's delay");
    assert_eq!(scene.depth("work").await.total(), 1, "what is in hands stays");
    scene.settle(&held[0], Verdict::Release).await;
    scene.store.clock.advance(MINUTE);
    let moved = scene.receive("other", 10).await;
    assert_eq!(moved.len(), 4);
    assert!(moved.iter().all(|one| one.attempt == 1 && one.expires_ms.is_none()), "{moved:?}");
    let none = redrive("work", "nowhere").await;
    assert!(matches!(none, Err(BrokerError::NoQueue(_))), "{none:?}");
    assert_eq!(broker.purge(&name("work")).await.unwrap(), 1);
}

async fn stats_say_how_a_queue_stands(database: TestDatabase) {
    let scene = scene(&database).await;
    let empty = scene.broker.stats(&name("work")).await.unwrap();
    assert_eq!((empty.depth.total(), empty.dead, empty.oldest), (0, 0, None));
    scene.publish(60).await;
    scene.store.clock.advance(Duration::from_secs(10));
    scene.broker.publish_messages(&topic_name(), vec![message(1)], None).await.unwrap();
    let held = scene.receive("work", 30).await;
    for delivery in &held[..12] {
        scene.settle(delivery, Verdict::Done { output: None }).await;
    }
    scene.settle(&held[12], reject()).await;
    let stats = scene.broker.stats(&name("work")).await.unwrap();
    assert_eq!((stats.depth.ready, stats.depth.in_flight, stats.dead), (31, 17, 1));
    let age = stats.oldest.unwrap().as_secs();
    assert!((10..30).contains(&age), "{age}");
    assert!((stats.published_per_second - 61.0 / 60.0).abs() < 0.01, "{stats:?}");
    assert!((stats.ended_per_second - 13.0 / 60.0).abs() < 0.01, "{stats:?}");
    let dead = scene.broker.stats(&name("dead")).await.unwrap();
    assert!(dead.published_per_second == 0.0 && dead.oldest.unwrap().as_secs() >= 10);
    scene.store.clock.advance(MINUTE * 2);
    let later = scene.broker.stats(&name("work")).await.unwrap();
    assert!(later.published_per_second == 0.0 && later.ended_per_second == 0.0, "{later:?}");
}

async fn attempts_stop_counting(database: TestDatabase) {
    let scene = scene(&database).await;
    let unlimited = format!("update queue set max_deliveries={}, dead_queue_id=null", i32::MAX);
    scene.publish(2).await;
    for delivery in scene.receive("work", 2).await {
        scene.settle(&delivery, Verdict::Release).await;
    }
    execute(&scene.store, &[unlimited, "update redelivery set attempts=32766".into()]).await;
    for _ in 0..3 {
        let got = scene.receive("work", 2).await;
        assert_eq!(got.iter().map(|one| one.attempt).collect::<Vec<_>>(), [32_767, 32_767]);
        for delivery in got {
            let failed = Verdict::Retry { reason: "no".into(), after: Some(NO_TIME) };
            scene.settle(&delivery, failed).await;
        }
    }
}

async fn a_deleted_queue_holds_nothing_for_anybody(database: TestDatabase) {
    let scene = scene(&database).await;
    let topic = scene.store.control.ensure_topic(&topic_name()).await.unwrap();
    let ids = scene.publish(3).await;
    let held = scene.receive("work", 1).await.remove(0);
    let waiting = {
        let broker = scene.broker.clone();
        scene.receive("work", 2).await;
        tokio::spawn(async move { broker.receive(&name("work"), 1, MINUTE).await })
    };
    delete(&scene.store, topic, scene.work).await;
    let told = tokio::time::timeout(MINUTE / 2, waiting).await.expect("it waits on").unwrap();
    assert!(matches!(told, Err(BrokerError::NoQueue(_))), "{told:?}");
    scene.broker.forget_names();
    for id in ids {
        assert_eq!(scene.state(id).await, None);
        assert_eq!(scene.broker.holder(id).await.unwrap(), None);
    }
    while scene.store.log.remove_deleted(1).await.unwrap() > 0 {}
    let settlement = Settlement { position: 0, verdict: Verdict::Release };
    let settled = scene.broker.settle(vec![(held.receipt, vec![settlement])]).await.unwrap();
    assert_eq!(settled[0].stale, [0]);
    let left = "select count(*) from queue where deleted_at is not null";
    assert_eq!(crate::count(&scene.store, left).await, 1, "it stays for a while");
    scene.store.clock.advance(MINUTE);
    scene.store.log.remove_deleted(1).await.unwrap();
    assert_eq!(crate::count(&scene.store, left).await, 0);
}
