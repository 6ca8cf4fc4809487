//! Messages that are no rows: published once and joined, received in another process, looked up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rowmill::broker::{Broker, BrokerError, MessageBody, Once, Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{Filters, QueueName, Settlement, TopicName, Verdict};
use rowmill::store::control::NewQueue;
use rowmill::store::log::{OutcomeKind, OutcomeQuery, Whereabouts};
use rowmill::store::{Store, StoreOptions};
use support::TestDatabase;

on_both!(
    each_queue_gets_its_copy,
    a_name_is_used_once,
    a_hundred_publishers_are_joined,
    an_outcome_is_found_by_queue_and_by_message,
    a_receive_that_is_dropped_loses_nothing,
);

fn topic() -> TopicName {
    "orders".parse().unwrap()
}

fn queue(name: &str) -> QueueName {
    name.parse().unwrap()
}

fn body(n: usize, country: &str) -> MessageBody {
    MessageBody {
        data: Bytes::from(format!(r#"{{"n":{n}}}"#)),
        attributes: BTreeMap::from([("country".into(), country.into())]),
    }
}

/// A topic with a queue that takes all and one that takes `DE` alone.
async fn set_up(database: &TestDatabase) -> (Store, SqlBroker) {
    let store = database.open(6).await;
    let topic = store.control.ensure_topic(&topic()).await.unwrap();
    let dead = store.control.ensure_queue(&NewQueue::new(queue("dead"))).await.unwrap();
    let all =
        NewQueue { topic: Some(topic), dead_queue: Some(dead), ..NewQueue::new(queue("all")) };
    store.control.ensure_queue(&all).await.unwrap();
    let filters = Filters(BTreeMap::from([("country".into(), vec!["DE".into()])]));
    let german = NewQueue { topic: Some(topic), filters, ..NewQueue::new(queue("german")) };
    store.control.ensure_queue(&german).await.unwrap();
    let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
    (store, broker)
}

async fn each_queue_gets_its_copy(database: TestDatabase) {
    let (_store, broker) = set_up(&database).await;
    let messages = vec![body(1, "DE"), body(2, "FR")];
    let copies = broker.publish_messages(&topic(), messages, None).await.unwrap();
    let queues: Vec<Vec<&str>> = copies
        .iter()
        .map(|copies| copies.iter().map(|copy| copy.queue.as_str()).collect())
        .collect();
    assert_eq!(queues, [vec!["all", "german"], vec!["all"]]);
    let leases = broker.receive(&queue("german"), 10, Duration::ZERO).await.unwrap();
    let got = &leases[0].deliveries;
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].id, copies[0][1].id);
    assert_eq!(&*got[0].data, r#"{"n":1}"#);
    assert_eq!(got[0].attributes.as_deref(), Some(r#"{"country":"DE"}"#));
    let error = broker.publish_messages(&"none".parse().unwrap(), vec![], None).await;
    assert!(matches!(error, Err(BrokerError::NoTopic(_))), "{error:?}");
}

async fn a_name_is_used_once(database: TestDatabase) {
    let (store, broker) = set_up(&database).await;
    let once =
        |fingerprint: &str| Some(Once { key: "k-1".into(), fingerprint: fingerprint.into() });
    let publish = |n, fingerprint| {
        let broker = broker.clone();
        async move { broker.publish_messages(&topic(), vec![body(n, "FR")], once(fingerprint)).await }
    };
    // All at once: one is made, the others are answered by it.
    let answers = futures::future::join_all((0..8).map(|_| publish(1, "a"))).await;
    let first = answers[0].as_ref().unwrap().clone();
    assert_eq!(first[0].len(), 1);
    for answer in answers {
        assert_eq!(answer.unwrap(), first);
    }
    let other = publish(2, "b").await;
    assert!(matches!(other, Err(BrokerError::KeyReused)), "{other:?}");
    let all = store.control.queue(&queue("all")).await.unwrap().unwrap();
    assert_eq!(store.log.depth(all.id).await.unwrap().ready, 1);
    // Forgotten in time, it is a new name.
    assert_eq!(store.log.forget_publications(Duration::from_secs(60)).await.unwrap(), 0);
    store.clock.advance(Duration::from_secs(61));
    assert_eq!(store.log.forget_publications(Duration::from_secs(60)).await.unwrap(), 1);
    assert_ne!(publish(1, "a").await.unwrap(), first);
}

async fn a_hundred_publishers_are_joined(database: TestDatabase) {
    let (store, broker) = set_up(&database).await;
    let publish = |n| {
        let broker = broker.clone();
        tokio::spawn(async move {
            broker.publish_messages(&topic(), vec![body(n, "FR"); 3], None).await.unwrap()
        })
    };
    let all: Vec<_> = futures::future::join_all((0..100).map(publish)).await;
    let mut ids: Vec<_> =
        all.into_iter().flat_map(|copies| copies.unwrap()).map(|copies| copies[0].id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 300);
    let all = store.control.queue(&queue("all")).await.unwrap().unwrap();
    assert_eq!(store.log.depth(all.id).await.unwrap().ready, 300);
}

async fn an_outcome_is_found_by_queue_and_by_message(database: TestDatabase) {
    let (store, broker) = set_up(&database).await;
    let messages = (0..2_500).map(|n| body(n, "FR"));
    let mut ids = vec![];
    for some in messages.collect::<Vec<_>>().chunks(700) {
        let copies = broker.publish_messages(&topic(), some.to_vec(), None).await.unwrap();
        ids.extend(copies.into_iter().map(|copies| copies[0].id));
    }
    let all = store.control.queue(&queue("all")).await.unwrap().unwrap().id;
    let key = store.control.message_key().await.unwrap();
    let number = |at: usize| i64::try_from(key.open(ids[at]).unwrap().1).unwrap();
    let found = store.log.find(all, number(17)).await.unwrap().unwrap();
    assert_eq!(found.at, Whereabouts::Waiting);
    assert!(store.log.find(all, 5).await.unwrap().is_none());

    // Every seventh is rejected, settled in parts, so that outcomes overlap.
    let mut seen = 0;
    while seen < 2_500 {
        for lease in broker.receive(&queue("all"), 300, Duration::ZERO).await.unwrap() {
            if seen == 0 {
                let first = key.open(lease.deliveries[0].id).unwrap().1;
                let found = store.log.find(all, i64::try_from(first).unwrap()).await.unwrap();
                assert_eq!(found.unwrap().at, Whereabouts::InFlight);
            }
            seen += lease.deliveries.len();
            let settlement = |delivery: &rowmill::domain::Delivery| {
                let n = key.open(delivery.id).unwrap().1;
                let verdict = if n % 7 == 0 {
                    Verdict::Reject { reason: format!("no {n}").into() }
                } else {
                    Verdict::Done { output: Some(n.to_string().into()) }
                };
                Settlement { position: delivery.position, verdict }
            };
            let (even, odd): (Vec<_>, Vec<_>) =
                lease.deliveries.iter().map(settlement).partition(|s| s.position % 2 == 0);
            for part in [odd, even] {
                broker.settle(vec![(lease.receipt, part)]).await.unwrap();
            }
        }
    }
    let mut numbers: Vec<i64> = (0..2_500).map(number).collect();
    numbers.sort_unstable();
    for kind in [None, Some(OutcomeKind::Dead), Some(OutcomeKind::Done)] {
        let mut query = OutcomeQuery { queue: None, upload: None, kind, after: None };
        let mut paged = vec![];
        loop {
            let (page, next) = store.log.outcomes(query, 333).await.unwrap();
            assert!(page.len() <= 333);
            for found in page {
                let Whereabouts::Ended(ended) = &found.at else { panic!("{found:?}") };
                if found.id % 7 == 0 {
                    assert_eq!(ended.error.as_deref(), Some(&*format!("no {}", found.id)));
                } else {
                    assert_eq!(ended.output.as_deref(), Some(&*found.id.to_string()));
                }
                paged.push(found.id);
            }
            match next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        let expected: Vec<i64> = numbers
            .iter()
            .copied()
            .filter(|n| match kind {
                None => true,
                Some(OutcomeKind::Dead) => n % 7 == 0,
                Some(_) => n % 7 != 0,
            })
            .collect();
        assert_eq!(paged, expected);
    }
    let found = store.log.find(all, number(18)).await.unwrap().unwrap();
    assert!(matches!(found.at, Whereabouts::Ended(_)));
}

/// A consumer that sleeps in one process hears of a publish in another, long before its own look.
#[tokio::test]
async fn a_publish_wakes_consumers_of_other_processes() {
    let database = TestDatabase::postgres().await;
    let (_store, here) = set_up(&database).await;
    let options = StoreOptions { connections: 4, ..StoreOptions::default() };
    let elsewhere = database.open_by(&options).await;
    let limits = SqlBrokerLimits { poll: Duration::from_secs(60), ..SqlBrokerLimits::default() };
    let there = SqlBroker::new(elsewhere.clone(), limits).await.unwrap();
    for n in 0..3 {
        let there = there.clone();
        let (asked, asking) = tokio::sync::oneshot::channel();
        let sleeper = tokio::spawn(async move {
            let _ = asked.send(());
            there.receive(&queue("all"), 1, Duration::from_secs(30)).await.unwrap()
        });
        asking.await.unwrap();
        let begun = std::time::Instant::now();
        here.publish_messages(&topic(), vec![body(n, "FR")], None).await.unwrap();
        let leases = sleeper.await.unwrap();
        assert_eq!(leases.len(), 1);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
    // With its listener it lets go of the pool when it is closed.
    drop(there);
    tokio::time::timeout(Duration::from_secs(10), elsewhere.close()).await.unwrap();
}

/// Dropped at any point of its way, a receive leaves nothing leased until the deadline of a minute.
async fn a_receive_that_is_dropped_loses_nothing(database: TestDatabase) {
    let (_store, broker) = set_up(&database).await;
    let (from, wait) = (queue("german"), Duration::from_secs(20));
    let mut caught = 0;
    for polls in 1..=30 {
        broker.publish_messages(&topic(), vec![body(polls, "DE")], None).await.unwrap();
        {
            let mut receive = Box::pin(broker.receive(&from, 10, wait));
            let mut got = None;
            for _ in 0..polls {
                got = futures::poll!(receive.as_mut()).is_ready().then_some(());
                if got.is_some() {
                    break;
                }
                // What it waits for is done meanwhile, or not.
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            if got.is_some() {
                // It came all the way: the answer was in hands, and is lost with them.
                caught += 1;
                continue;
            }
        }
        let leases = tokio::time::timeout(wait, broker.receive(&from, 10, wait)).await;
        let leases = leases.expect("it waits for its deadline").unwrap();
        assert_eq!(leases[0].deliveries.len(), 1, "after {polls} polls");
        let ack = Settlement { position: 0, verdict: Verdict::Done { output: None } };
        broker.settle(vec![(leases[0].receipt, vec![ack])]).await.unwrap();
    }
    assert!(caught < 30, "none was dropped on its way");
}
