//! Queues are made, changed and deleted while their topic is published to: each batch is routed by
//! the queues of one moment, between the call's beginning and its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowmill::broker::keeper::Keeper;
use rowmill::broker::{Broker, Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{Filters, Settlement, Verdict};
use rowmill::store::Store;
use rowmill::store::control::{NewQueue, UploadState};
use rowmill::store::log::{BLOCK, QueueId, TopicId};

use crate::support::TestDatabase;
use crate::{
    MINUTE, NO_TIME, delete, messages, name, publish_rows, publishing, queue, topic_name, upload,
};

on_both!(
    every_batch_is_routed_by_one_moment,
    an_upload_closes_though_its_queue_is_deleted,
    delay_and_retention_bind_at_publish_the_rest_at_receive,
);

/// Publishers, and those of them that publish rows.
const PUBLISHERS: usize = 4;
const UPLOADING: usize = 2;
/// Changes that must be over before publishers stop.
const CHANGES: usize = 40;
/// Between two changes: a publish is routed anew only so often.
const PAUSE: Duration = Duration::from_millis(25);

/// What a queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    All,
    /// Messages of even number, and sheets of that name.
    Even,
}

/// The queues of the topic at each moment; a moment is known once its change has begun.
#[derive(Debug, Default)]
struct History {
    moments: Mutex<Vec<BTreeMap<i32, Takes>>>,
    /// How many of the changes are over.
    over: AtomicUsize,
}

impl History {
    fn begin(&self, queues: BTreeMap<i32, Takes>) {
        self.moments.lock().unwrap().push(queues);
    }

    fn end(&self) {
        self.over.store(self.moments.lock().unwrap().len(), Ordering::SeqCst);
    }
}

/// A batch: the moments that it may have been routed by, and whether each of its messages is even.
#[derive(Debug)]
struct Published {
    since: usize,
    until: usize,
    first_id: i64,
    even: Vec<bool>,
}

fn queue_of(topic: TopicId, number: usize, takes: Takes) -> NewQueue {
    let even = |attribute: &str| (attribute.to_owned(), vec!["even".to_owned()]);
    let filters = match takes {
        Takes::All => BTreeMap::new(),
        // A message has one of the two attributes, and a filter wants all of its own.
        Takes::Even => {
            BTreeMap::from([even(if number.is_multiple_of(2) { "parity" } else { "sheet" })])
        }
    };
    NewQueue {
        topic: Some(topic),
        filters: Filters(filters),
        ..NewQueue::new(name(&format!("q-{number}")))
    }
}

/// Makes, changes and deletes queues, until told to stop.
async fn change(store: Store, topic: TopicId, history: Arc<History>, stop: Arc<AtomicBool>) {
    let mut queues: BTreeMap<i32, Takes> = BTreeMap::new();
    let mut numbers: BTreeMap<i32, usize> = BTreeMap::new();
    for step in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let oldest = queues.keys().next().copied();
        match (step % 4, oldest) {
            (0 | 1, _) | (_, None) => {
                // Its number is known when it is there: the moment begins after it did, so all
                // who look are kept out meanwhile.
                let takes = if step % 4 == 1 { Takes::Even } else { Takes::All };
                let mut moments = history.moments.lock().unwrap().clone();
                let made = queue(&store, queue_of(topic, step, takes)).await.0;
                queues.insert(made, takes);
                numbers.insert(made, step);
                moments.push(queues.clone());
                *history.moments.lock().unwrap() = moments;
            }
            (2, Some(oldest)) => {
                let takes = match queues[&oldest] {
                    Takes::All => Takes::Even,
                    Takes::Even => Takes::All,
                };
                queues.insert(oldest, takes);
                history.begin(queues.clone());
                queue(&store, queue_of(topic, numbers[&oldest], takes)).await;
            }
            (_, Some(oldest)) => {
                queues.remove(&oldest);
                history.begin(queues.clone());
                delete(&store, topic, QueueId(oldest)).await;
            }
        }
        history.end();
        tokio::time::sleep(PAUSE).await;
    }
}

async fn every_batch_is_routed_by_one_moment(database: TestDatabase) {
    let store = database.open(10).await;
    let topic = store.control.ensure_topic(&topic_name()).await.unwrap();
    let history = Arc::new(History::default());
    history.begin(BTreeMap::new());
    history.end();
    let stop = Arc::new(AtomicBool::new(false));
    let changer =
        tokio::spawn(change(store.clone(), topic, Arc::clone(&history), Arc::clone(&stop)));
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (store, history) = (store.clone(), Arc::clone(&history));
        // Processes of their own: each with what it last knew of the routes.
        let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
        publishers.spawn(async move {
            let mut published = vec![];
            let upload = upload(&store, topic, publisher % 2 == 0).await;
            let mut turn = 0;
            while history.over.load(Ordering::SeqCst) < CHANGES {
                turn += 1;
                let since = history.over.load(Ordering::SeqCst) - 1;
                let (first_id, even) = if publisher < UPLOADING {
                    let first_id = publish_rows(&broker, &upload, turn, 10).await;
                    (first_id, vec![turn.is_multiple_of(2); 10])
                } else {
                    let copies =
                        broker.publish_messages(&topic_name(), messages(10), None).await.unwrap();
                    let first = copies.iter().flatten().next();
                    let Some(first) = first else { continue };
                    let (_, id) = broker.open_id(first.id).unwrap();
                    let before = copies.iter().position(|copies| !copies.is_empty()).unwrap();
                    let even = (0..10).map(|n| n % 2 == 0).collect();
                    (id - i64::try_from(before).unwrap(), even)
                };
                // What began until now may have been over before the commit.
                let until = history.moments.lock().unwrap().len();
                published.push((publisher, Published { since, until, first_id, even }));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            ((publisher, upload), published)
        });
    }
    let mut all = vec![];
    let mut uploads = vec![];
    while let Some(done) = publishers.join_next().await {
        let (upload, published) = done.unwrap();
        all.extend(published);
        uploads.push(upload);
    }
    stop.store(true, Ordering::SeqCst);
    changer.await.unwrap();
    let moments = history.moments.lock().unwrap().clone();
    let mut used = HashMap::new();
    let mut copies: HashMap<usize, u64> = HashMap::new();
    for (publisher, batch) in &all {
        let mut ids: Vec<i64> = (batch.first_id..).take(batch.even.len()).collect();
        ids.retain(|id| id / BLOCK == batch.first_id / BLOCK);
        assert_eq!(ids.len(), batch.even.len(), "a batch lies in one block");
        let mut found: BTreeMap<i32, Vec<bool>> = BTreeMap::new();
        for queue in moments.iter().flat_map(BTreeMap::keys) {
            if !found.contains_key(queue) {
                let copies = store.log.copies(QueueId(*queue), &ids).await.unwrap();
                found.insert(*queue, ids.iter().map(|id| copies.contains_key(id)).collect());
            }
        }
        // A queue takes the even ones by the attribute that it filters by, or none: which one it is
        // was decided when it was made.
        let fits = |moment: &BTreeMap<i32, Takes>| {
            found.iter().all(|(queue, there)| match moment.get(queue) {
                None => there.iter().all(|there| !there),
                Some(Takes::All) => there.iter().all(|there| *there),
                Some(Takes::Even) => *there == batch.even || there.iter().all(|there| !there),
            })
        };
        let there = found.values().flatten().filter(|there| **there).count();
        *copies.entry(*publisher).or_default() += there as u64;
        let until = batch.until.min(moments.len() - 1);
        let by = (batch.since..=until).find(|at| fits(&moments[*at]));
        let by = by.unwrap_or_else(|| {
            panic!(
                "{batch:?} is routed by no moment of its time: {found:?}, {:?}",
                &moments[batch.since..=until]
            )
        });
        *used.entry(by).or_insert(0) += 1;
    }
    assert!(used.len() > 10, "all by {} moments", used.len());
    // And every upload's copies are counted.
    for (number, upload) in uploads.into_iter().filter(|(number, _)| *number < UPLOADING) {
        let standing = store.log.standing(upload.id).await.unwrap();
        assert_eq!(standing.copies, copies.get(&number).copied().unwrap_or(0));
    }
}

async fn an_upload_closes_though_its_queue_is_deleted(database: TestDatabase) {
    let store = database.open(6).await;
    let topic = store.control.ensure_topic(&topic_name()).await.unwrap();
    let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
    let make =
        |label: &str| queue(&store, NewQueue { topic: Some(topic), ..NewQueue::new(name(label)) });
    let (kept, going) = (make("kept").await, make("going").await);
    for stream in [true, false] {
        let going = if stream { going } else { make("going-too").await };
        let going_name = name(if stream { "going" } else { "going-too" });
        let upload = upload(&store, topic, stream).await;
        for turn in 0..6 {
            publish_rows(&broker, &upload, turn, 10).await;
        }
        let mut held = vec![];
        if stream {
            // Some of it is done there, some dead, some waits again, some is in hands.
            let leases = broker.receive(&going_name, 40, NO_TIME).await.unwrap();
            for (at, lease) in leases.iter().enumerate() {
                let verdict = |position| match (at, position) {
                    (0, _) => Verdict::Done { output: None },
                    (_, 0) => Verdict::Reject { reason: "no".into() },
                    _ => Verdict::Retry { reason: "no".into(), after: Some(MINUTE) },
                };
                let ended = lease.deliveries.iter().take(7);
                let settlements = ended
                    .map(|one| Settlement {
                        position: one.position,
                        verdict: verdict(one.position),
                    })
                    .collect();
                broker.settle(vec![(lease.receipt, settlements)]).await.unwrap();
                held.push(lease.receipt);
            }
        }
        let copies = |store: Store| async move { store.log.standing(upload.id).await.unwrap() };
        assert_eq!(copies(store.clone()).await.copies, 120);
        delete(&store, topic, going).await;
        for turn in 6..9 {
            publish_rows(&broker, &upload, turn, 10).await;
        }
        assert_eq!(copies(store.clone()).await.copies, 150, "counted until it is removed");
        broker.release(publishing(&upload).fence, "{}").await.unwrap();
        // Work goes on while the other's remains are removed, a few rows at a time.
        let mut removed = 0;
        loop {
            let leases = broker.receive(&name("kept"), 7, NO_TIME).await.unwrap();
            for lease in &leases {
                let done = |one: &rowmill::domain::Delivery| Settlement {
                    position: one.position,
                    verdict: Verdict::Done { output: None },
                };
                let settlements = lease.deliveries.iter().map(done).collect();
                broker.settle(vec![(lease.receipt, settlements)]).await.unwrap();
            }
            let gone = store.log.remove_deleted(3).await.unwrap();
            removed += gone;
            let standing = copies(store.clone()).await;
            let counted = standing.ended.ended() + standing.in_flight + standing.waiting();
            assert_eq!(counted, standing.copies);
            if gone == 0 && leases.is_empty() {
                break;
            }
        }
        assert_eq!(removed, 60);
        let standing = copies(store.clone()).await;
        assert_eq!((standing.copies, standing.ended.done, standing.ended.dead), (90, 90, 0));
        Keeper::new(broker.clone()).round().await.unwrap();
        let upload = store.control.upload(upload.id).await.unwrap();
        assert_eq!(upload.state, UploadState::Ended);
        for receipt in held {
            assert_eq!(broker.extend(vec![receipt]).await.unwrap(), [None]);
        }
        let counts = store.log.counts(upload.id, kept).await.unwrap();
        assert_eq!(counts.done, 90);
    }
}

async fn delay_and_retention_bind_at_publish_the_rest_at_receive(database: TestDatabase) {
    let store = database.open(6).await;
    let topic = store.control.ensure_topic(&topic_name()).await.unwrap();
    let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
    let before = NewQueue { topic: Some(topic), ..NewQueue::new(name("work")) };
    queue(&store, before.clone()).await;
    broker.publish_messages(&topic_name(), messages(1), None).await.unwrap();
    let after = NewQueue {
        deadline: MINUTE * 3,
        max_deliveries: 1,
        delay: MINUTE * 10,
        retention: Some(MINUTE * 30),
        ..before
    };
    queue(&store, after).await;
    broker.publish_messages(&topic_name(), messages(1), None).await.unwrap();
    let leases = broker.receive(&name("work"), 10, NO_TIME).await.unwrap();
    let [lease] = leases.as_slice() else { panic!("{leases:?}") };
    assert_eq!(lease.deadline, MINUTE * 3, "the deadline of today");
    let [first] = lease.deliveries.as_slice() else { panic!("{lease:?}") };
    assert_eq!(first.expires_ms, None, "it was published to be kept for ever");
    let failed = Verdict::Retry { reason: "no".into(), after: None };
    let settlement = Settlement { position: first.position, verdict: failed };
    let settled = broker.settle(vec![(lease.receipt, vec![settlement])]).await.unwrap();
    assert_eq!(settled[0].dead, 1, "deliveries of today");
    store.clock.advance(MINUTE * 10);
    let leases = broker.receive(&name("work"), 10, NO_TIME).await.unwrap();
    let second = &leases[0].deliveries[0];
    assert_eq!(second.expires_ms.unwrap() - second.created_ms, 30 * 60_000);
}
