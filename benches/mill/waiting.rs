//! What a full queue costs: the time of a receive of 50 with a million messages waiting, beside the
//! same with a thousand; once with rows of one upload, once with messages published one by one.
//!
//! Receives are timed alone, for 50 messages where one brought fewer; what they brought is acked
//! outside of the time. The two queues of a pair are served in turn, in one session.

use std::time::{Duration, Instant};

use rowmill::broker::{Broker, MessageBody, Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{QueueName, Settlement, TopicName, Verdict};
use rowmill::store::Store;
use rowmill::store::control::NewQueue;

use crate::log::{payload, publish};
use crate::{fresh_database, median, open};

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
const BATCH: usize = 50;
/// Receives of one turn: what `FEW` has enough for.
const RECEIVES: usize = 16;
/// Turns of each pair; the small queue is a new one each time.
const TURNS: usize = 7;
/// Publishers of single messages at once.
const PUBLISHERS: usize = 8;

#[derive(Debug, Clone, Copy)]
enum From {
    Upload,
    Singles,
}

pub(crate) async fn compare() {
    println!("a receive of {BATCH}, medians of {} in ms:", RECEIVES * TURNS);
    println!("{:>16} {:>9} {:>9} {:>7}", "published", "1,000", "1,000,000", "ratio");
    for (from, called) in [(From::Upload, "as one upload"), (From::Singles, "one by one")] {
        let store = open(&fresh_database().await).await;
        let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
        let full = fill(&store, &broker, from, MANY).await;
        let (mut few, mut many) = (vec![], vec![]);
        for _ in 0..TURNS {
            let small = fill(&store, &broker, from, FEW).await;
            few.extend(receives(&broker, &small).await);
            many.extend(receives(&broker, &full).await);
        }
        let (few, many) = (median(few), median(many));
        println!("{called:>16} {few:>9.2} {many:>9.2} {:>6.2}x", many / few);
        store.close().await;
    }
}

async fn fill(store: &Store, broker: &SqlBroker, from: From, messages: usize) -> QueueName {
    let name = format!("bench-{}", uuid::Uuid::new_v4().simple());
    let queue: QueueName = name.parse().unwrap();
    let topic = store.control.ensure_topic(&name.parse().unwrap()).await.unwrap();
    let new = NewQueue { topic: Some(topic), ..NewQueue::new(queue.clone()) };
    store.control.ensure_queue(&new).await.unwrap();
    match from {
        From::Upload => publish(store, broker, topic, messages).await,
        From::Singles => {
            let topic: TopicName = name.parse().unwrap();
            let publishers = (0..PUBLISHERS).map(|first| {
                let (broker, topic) = (broker.clone(), topic.clone());
                tokio::spawn(async move {
                    for n in (first..messages).step_by(PUBLISHERS) {
                        let data = payload(n).into();
                        let message = MessageBody { data, attributes: Default::default() };
                        broker.publish_messages(&topic, vec![message], None).await.unwrap();
                    }
                })
            });
            futures::future::try_join_all(publishers.collect::<Vec<_>>()).await.unwrap();
        }
    }
    queue
}

async fn receives(broker: &SqlBroker, queue: &QueueName) -> Vec<f64> {
    let mut times = vec![];
    for _ in 0..RECEIVES {
        let begun = Instant::now();
        let leases = broker.receive(queue, BATCH, Duration::ZERO).await.unwrap();
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        let received: usize = leases.iter().map(|lease| lease.deliveries.len()).sum();
        // How many small segments make up a batch is guessed from the first few: it may be short.
        assert!(received > BATCH / 2, "{received} of a queue that holds more");
        times.push(took * BATCH as f64 / received as f64);
        let settlements = leases.iter().map(|lease| {
            let done = |delivery: &rowmill::domain::Delivery| Settlement {
                position: delivery.position,
                verdict: Verdict::Done { output: None },
            };
            (lease.receipt, lease.deliveries.iter().map(done).collect())
        });
        broker.settle(settlements.collect()).await.unwrap();
    }
    times
}
