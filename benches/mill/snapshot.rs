//! What somebody else's long transaction costs: publishing, fetching and settling for a minute, a
//! twentieth of the messages nacked and tried again, while a transaction with an xid and a snapshot
//! stays open; beside the same minute without it.
//!
//! Such a transaction keeps the dead versions of everything that changes from being cleaned up. A
//! table of jobs, whose rows change twice each, feels it most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rowmill::broker::{Broker, MessageBody, Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{Delivery, QueueName, Settlement, TopicName, Verdict};
use rowmill::store::Store;
use rowmill::store::control::NewQueue;
use sqlx::postgres::PgPoolOptions;

use crate::log::payload;
use crate::{ROUNDS, fresh_database, median, open};

/// How long each run takes, and the transaction is open.
const MINUTE: Duration = Duration::from_secs(60);
const CONSUMERS: usize = 8;
const BATCH: usize = 50;
/// Messages of one publish.
const PUBLISH: usize = 500;
/// Messages that may wait; the publisher pauses beyond.
const WAITING: u64 = 20_000;
/// Every so many messages one fails at its first attempt.
const FAILS: usize = 20;

pub(crate) async fn compare() {
    println!("publish + fetch + settle for {MINUTE:?}, one in {FAILS} retried, messages/s:");
    println!("{:>6} {:>12} {:>18} {:>7}", "round", "alone", "beside a snapshot", "ratio");
    let mut ratios = vec![];
    for round in 1..=ROUNDS {
        let alone = minute(false).await;
        let beside = minute(true).await;
        println!("{round:>6} {alone:>12.0} {beside:>18.0} {:>7.2}", beside / alone);
        ratios.push(beside / alone);
    }
    println!("{:>38} {:>7.2}", "median", median(ratios));
}

async fn minute(snapshot: bool) -> f64 {
    let url = fresh_database().await;
    let store = open(&url).await;
    let elsewhere = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    let mut held = elsewhere.begin().await.unwrap();
    if snapshot {
        let hold = "set transaction isolation level repeatable read; select txid_current(); \
                    select count(*) from queue";
        sqlx::raw_sql(hold).execute(&mut *held).await.unwrap();
    }
    let rate = load(&store).await;
    held.rollback().await.unwrap();
    elsewhere.close().await;
    store.close().await;
    rate
}

async fn load(store: &Store) -> f64 {
    let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
    let topic: TopicName = "bench".parse().unwrap();
    let queue: QueueName = "bench".parse().unwrap();
    let number = store.control.ensure_topic(&topic).await.unwrap();
    let new = NewQueue { topic: Some(number), ..NewQueue::new(queue.clone()) };
    store.control.ensure_queue(&new).await.unwrap();
    let (published, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let until = Instant::now() + MINUTE;
    let consumers = (0..CONSUMERS)
        .map(|_| tokio::spawn(consume(broker.clone(), queue.clone(), Arc::clone(&done), until)));
    let consumers: Vec<_> = consumers.collect();
    let mut n = 0;
    while Instant::now() < until {
        if published.load(Ordering::Relaxed) > done.load(Ordering::Relaxed) + WAITING {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let message = |n| MessageBody { data: payload(n).into(), attributes: Default::default() };
        let messages = (n..n + PUBLISH).map(message).collect();
        broker.publish_messages(&topic, messages, None).await.unwrap();
        published.fetch_add(PUBLISH as u64, Ordering::Relaxed);
        n += PUBLISH;
    }
    futures::future::try_join_all(consumers).await.unwrap();
    done.load(Ordering::Relaxed) as f64 / MINUTE.as_secs_f64()
}

async fn consume(broker: SqlBroker, queue: QueueName, done: Arc<AtomicU64>, until: Instant) {
    while Instant::now() < until {
        let wait = Duration::from_millis(20);
        let leases = broker.receive(&queue, BATCH, wait).await.unwrap();
        let settlements = leases.iter().map(|lease| {
            let verdicts = lease.deliveries.iter().enumerate().map(verdict);
            (lease.receipt, verdicts.collect::<Vec<_>>())
        });
        for settled in broker.settle(settlements.collect()).await.unwrap() {
            done.fetch_add(u64::from(settled.done), Ordering::Relaxed);
        }
    }
}

fn verdict((at, delivery): (usize, &Delivery)) -> Settlement {
    let fails = delivery.attempt == 1 && at % FAILS == 0;
    let verdict = if fails {
        Verdict::Retry { reason: "fails once".into(), after: Some(Duration::ZERO) }
    } else {
        Verdict::Done { output: Some(format!(r#"{{"id":"{}"}}"#, delivery.id).into()) }
    };
    Settlement { position: delivery.position, verdict }
}
