//! Keepers: any number of them beside consumers, and `rowmill maintain`.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rowmill::broker::keeper::{Keeper, Kept};
use rowmill::broker::{Broker, Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{Settlement, Verdict};
use rowmill::store::Store;
use rowmill::store::control::{NewQueue, UploadState};
use rowmill::store::log::{QueueId, TopicId};

use crate::support::TestDatabase;
use crate::{
    MINUTE, count, delete, messages, name, publish_rows, publishing, queue, topic_name, upload,
};

on_both!(three_keepers_do_everything_once, what_ended_long_ago_is_removed);

const ROWS: u64 = 400;
const PLAIN: u64 = 600;

/// Consumes until told to stop: most is done, some fails, some is left to its deadline.
async fn consume(
    broker: SqlBroker,
    label: &'static str,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) {
    let mut rng = fastrand::Rng::with_seed(7);
    while !stop.load(Ordering::SeqCst) {
        let leases = broker.receive(&name(label), 20, Duration::from_millis(50)).await;
        // One of the queues is deleted meanwhile.
        let Ok(leases) = leases else { return };
        for lease in leases {
            if rng.u8(0..10) == 0 {
                continue;
            }
            let mut settlements = vec![];
            for one in &lease.deliveries {
                let verdict = match rng.u8(0..10) {
                    0..7 => Verdict::Done { output: Some(format!("{}", one.attempt).into()) },
                    7 | 8 => Verdict::Retry {
                        reason: "no".into(),
                        after: Some(Duration::from_millis(20)),
                    },
                    _ => Verdict::Reject { reason: "never".into() },
                };
                settlements.push(Settlement { position: one.position, verdict });
            }
            let settled = broker.settle(vec![(lease.receipt, settlements)]).await.unwrap();
            done.fetch_add(u64::from(settled[0].done + settled[0].dead), Ordering::SeqCst);
        }
    }
}

async fn make(store: &Store, topic: TopicId, label: &str) -> QueueId {
    let new = NewQueue {
        topic: Some(topic),
        deadline: Duration::from_millis(150),
        max_deliveries: 4,
        // Some are expired before anybody comes to them.
        retention: Some(Duration::from_secs(2)),
        ..NewQueue::new(name(label))
    };
    queue(store, new).await
}

async fn three_keepers_do_everything_once(database: TestDatabase) {
    let store = database.open(16).await;
    let topic = store.control.ensure_topic(&topic_name()).await.unwrap();
    make(&store, topic, "work").await;
    let going = make(&store, topic, "going").await;
    let limits = SqlBrokerLimits { ended_kept: Duration::ZERO, ..SqlBrokerLimits::default() };
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut keepers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        // A process of its own, with nothing in common but the database.
        let broker = SqlBroker::new(store.clone(), limits.clone()).await.unwrap();
        let stop = Arc::clone(&stop);
        keepers.spawn(async move {
            let mut keeper = Keeper::new(broker);
            let mut all = vec![];
            while !stop.load(Ordering::SeqCst) {
                all.push(keeper.round().await.unwrap());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            all
        });
    }
    let broker = SqlBroker::new(store.clone(), limits).await.unwrap();
    let mut consumers = tokio::task::JoinSet::new();
    for label in ["work", "work", "going"] {
        consumers.spawn(consume(broker.clone(), label, Arc::clone(&stop), Arc::clone(&done)));
    }
    let upload = upload(&store, topic, true).await;
    for turn in 0..u32::try_from(ROWS / 20).unwrap() {
        publish_rows(&broker, &upload, turn, 20).await;
        let plain = usize::try_from(PLAIN * 20 / ROWS).unwrap();
        broker.publish_messages(&topic_name(), messages(plain), None).await.unwrap();
        if turn == 10 {
            delete(&store, topic, going).await;
        }
    }
    broker.release(publishing(&upload).fence, "{}").await.unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let over = |state| state == UploadState::Ended;
    loop {
        let left = count(&store, "select (select count(*) from segment)+(select count(*) from lease)+(select count(*) from redelivery)").await;
        if left == 0 && over(store.control.upload(upload.id).await.unwrap().state) {
            break;
        }
        assert!(Instant::now() < until, "{left} rows are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The names' memory is short; the queue's row stays for a while longer, and batches of the last
    // minute are counted still.
    store.clock.advance(MINUTE * 2);
    let left = "select (select count(*) from message where upload_id is null)+(select count(*) from outcome where upload_id is null)+(select count(*) from queue where deleted_at is not null)";
    while count(&store, left).await > 0 {
        assert!(Instant::now() < until, "something stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(ended) = consumers.join_next().await {
        ended.unwrap();
    }
    let mut sum = Kept::default();
    while let Some(rounds) = keepers.join_next().await {
        for kept in rounds.unwrap() {
            sum.leases += kept.leases;
            sum.expired += kept.expired;
            sum.uploads += kept.uploads;
            sum.deleted += kept.deleted;
            sum.ended += kept.ended;
        }
    }
    assert_eq!(sum.uploads, 1, "{sum:?}");
    assert_eq!(sum.ended, PLAIN, "each message once: {sum:?}");
    assert!(sum.leases > 0 && sum.deleted > 0, "{sum:?}");
    let standing = store.log.standing(upload.id).await.unwrap();
    assert_eq!((standing.messages, standing.copies), (ROWS, ROWS));
    assert_eq!(standing.ended.ended(), ROWS);
    let rows = count(&store, "select count(*) from message").await;
    assert_eq!(u64::try_from(rows).unwrap(), ROWS, "rows stay with their upload");
}

async fn what_ended_long_ago_is_removed(database: TestDatabase) {
    let store = database.open(6).await;
    let topic = store.control.ensure_topic(&topic_name()).await.unwrap();
    queue(&store, NewQueue { topic: Some(topic), ..NewQueue::new(name("work")) }).await;
    let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
    let mut keeper = Keeper::new(broker.clone());
    let done = |lease: &rowmill::domain::Lease| {
        let done = |one: &rowmill::domain::Delivery| Settlement {
            position: one.position,
            verdict: Verdict::Done { output: None },
        };
        (lease.receipt, lease.deliveries.iter().map(done).collect::<Vec<_>>())
    };
    // Two blocks; of the second one message is not done.
    for n in [1_000, 700, 1] {
        broker.publish_messages(&topic_name(), messages(n), None).await.unwrap();
    }
    let leases = broker.receive(&name("work"), 1_000, Duration::ZERO).await.unwrap();
    broker.settle(leases.iter().map(done).collect()).await.unwrap();
    let leases = broker.receive(&name("work"), 700, Duration::ZERO).await.unwrap();
    broker.settle(leases.iter().map(done).collect()).await.unwrap();
    store.clock.advance(Duration::from_secs(13 * 24 * 3600));
    assert_eq!(keeper.all().await.unwrap().ended, 0, "not yet");
    store.clock.advance(Duration::from_secs(2 * 24 * 3600));
    assert_eq!(keeper.all().await.unwrap().ended, 1_000);
    assert_eq!(count(&store, "select count(*) from message").await, 701);
    let leases = broker.receive(&name("work"), 10, Duration::ZERO).await.unwrap();
    broker.settle(leases.iter().map(done).collect()).await.unwrap();
    store.clock.advance(Duration::from_secs(15 * 24 * 3600));
    assert_eq!(keeper.all().await.unwrap().ended, 701);
    let left = "select (select count(*) from message)+(select count(*) from batch)+(select count(*) from outcome)";
    assert_eq!(count(&store, left).await, 0);
}

fn maintain(database: &TestDatabase, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
    command.args(["maintain", "--database-url", database.url()]).args(arguments);
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintain_says_what_it_did() {
    let database = TestDatabase::sqlite();
    let refused = maintain(&database, &["--once"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("there is no database"), "{said}");

    let store = database.open(2).await;
    let topic = store.control.ensure_topic(&topic_name()).await.unwrap();
    let new = NewQueue {
        topic: Some(topic),
        deadline: Duration::from_millis(1),
        retention: Some(Duration::from_millis(1)),
        ..NewQueue::new(name("work"))
    };
    queue(&store, new).await;
    let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
    broker.publish_messages(&topic_name(), messages(5), None).await.unwrap();
    // The command's clock is the real one.
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.close().await;
    let kept = maintain(&database, &["--once", "--json"]);
    assert!(kept.status.success(), "{kept:?}");
    let kept: serde_json::Value = serde_json::from_slice(&kept.stdout).unwrap();
    assert_eq!(kept["expired"], 5, "{kept}");
    let again = String::from_utf8(maintain(&database, &["--once"]).stdout).unwrap();
    assert!(again.contains("0 messages expired"), "{again}");
}
