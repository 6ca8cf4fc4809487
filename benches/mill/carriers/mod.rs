//! Publish, receive and settle over each carrier, beside a bare loop of the engine's own client.
//!
//! What is measured of rowmill is the whole broker, `Relay` through its contract: a topic with one
//! queue, the ledger on PostgreSQL, outcomes recorded or not. The bare loop is written as its engine
//! wants it and promises as much: every message is confirmed as kept before its publish is over, none
//! leaves its queue before it is acked, and the ack of the last is part of the time. Both sides send
//! the same messages, each with an id and when it was sent, from as many producers in batches as large,
//! to as many consumers that ask for as many at a time. The time of a phase ends with its last message, and not with the waits of those who
//! found nothing more.

mod rabbitmq;
mod redis;
mod relay;
mod sqs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::{ROUNDS, fresh_database, median, open};

const PRODUCERS: usize = 4;
const CONSUMERS: usize = 8;
const BATCHES: [usize; 2] = [50, 500];
/// How long a phase may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a consumer waits for the first of a batch.
const WAIT: Duration = Duration::from_millis(100);

/// An engine: its name, where `benches/run` says its server is, and messages of one run.
struct Engine {
    name: &'static str,
    url: &'static str,
    messages: usize,
}

const ENGINES: [Engine; 3] = [
    Engine { name: "rabbitmq", url: "ROWMILL_BENCH_RABBITMQ_URL", messages: 20_000 },
    Engine { name: "redis", url: "ROWMILL_BENCH_REDIS_URL", messages: 50_000 },
    // The server is moto, in Python: a thousandth of the real one, on this machine's processors.
    Engine { name: "sqs", url: "ROWMILL_BENCH_SQS_URL", messages: 2_000 },
];

/// What is published: an object of 200 bytes, and two attributes.
#[derive(Debug, Clone)]
struct Message {
    data: String,
    attributes: BTreeMap<String, String>,
}

/// The attribute in which a message says when it was sent, as ours do.
const CREATED: &str = "rowmill-created";

/// What stands there: milliseconds since 1970.
fn created() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_millis().to_string()
}

/// The messages of one run, cut into what one publish sends.
fn load(messages: usize, batch: usize) -> Vec<Vec<Message>> {
    let message = |n: usize| Message {
        data: crate::log::payload(n),
        attributes: BTreeMap::from([
            ("customer".to_owned(), format!("c{}", n % 97)),
            ("region".to_owned(), ["north", "south"][n % 2].to_owned()),
        ]),
    };
    (0..messages).step_by(batch).map(|from| (from..from + batch).map(message).collect()).collect()
}

/// One side of the comparison, set up: its queue is there and empty.
trait Side: Clone + Send + Sync + 'static {
    /// What publishes.
    type Producer: Producer;

    /// A producer, with what it needs for itself alone.
    fn producer(&self) -> impl Future<Output = Self::Producer> + Send;

    /// Takes up to `batch` messages at a time and acks them, until all are.
    fn consume(&self, batch: usize, done: Arc<Done>) -> impl Future<Output = ()> + Send;
}

/// Publishes.
trait Producer: Send + 'static {
    /// Sends messages, and waits until all are known to be kept.
    fn publish(&mut self, messages: Vec<Message>) -> impl Future<Output = ()> + Send;
}

/// What is still to be acked.
#[derive(Debug)]
struct Done {
    wanted: usize,
    acked: AtomicUsize,
    all: Notify,
}

impl Done {
    /// Whether some are still to be acked.
    fn open(&self) -> bool {
        !self.last(0)
    }

    /// Whether these would be the last.
    fn last(&self, n: usize) -> bool {
        self.acked.load(Ordering::SeqCst) + n >= self.wanted
    }

    /// So many were acked.
    fn add(&self, n: usize) {
        if self.acked.fetch_add(n, Ordering::SeqCst) + n >= self.wanted {
            self.all.notify_one();
        }
    }
}

/// Seconds of the two phases.
#[derive(Debug, Clone, Copy)]
struct Times {
    publish: f64,
    drain: f64,
}

/// One run of one side: everything is published, then everything is received and acked.
async fn run<S: Side>(side: &S, messages: usize, batch: usize) -> Times {
    let mut loads: [Vec<_>; PRODUCERS] = Default::default();
    for (n, batch) in load(messages, batch).into_iter().enumerate() {
        loads[n % PRODUCERS].push(batch);
    }
    let mut producers = vec![];
    for load in loads {
        producers.push((side.producer().await, load));
    }
    let begun = Instant::now();
    let publishing = producers.into_iter().map(|(mut producer, load)| async move {
        for messages in load {
            producer.publish(messages).await;
        }
    });
    publishing.collect::<JoinSet<()>>().join_all().await;
    let publish = begun.elapsed().as_secs_f64();

    let done = Arc::new(Done { wanted: messages, acked: 0.into(), all: Notify::new() });
    let begun = Instant::now();
    let mut consumers = JoinSet::new();
    for _ in 0..CONSUMERS {
        let (side, done) = (side.clone(), Arc::clone(&done));
        consumers.spawn(async move { side.consume(batch, done).await });
    }
    tokio::select! {
        () = done.all.notified() => {}
        () = tokio::time::sleep(PATIENCE) => panic!("not all is acked: {done:?}"),
    }
    let drain = begun.elapsed().as_secs_f64();
    // Nothing is cut off that could still be given a message of the next run.
    consumers.join_all().await;
    assert_eq!(done.acked.load(Ordering::SeqCst), messages, "a message was acked twice");
    Times { publish, drain }
}

/// Compares the engines of these names; all, without any.
pub(crate) async fn compare(names: &[&str]) {
    println!(
        "publish, then receive + settle; {PRODUCERS} producers, {CONSUMERS} consumers, messages of \
         200 bytes, messages/s:"
    );
    for engine in ENGINES.iter().filter(|engine| names.is_empty() || names.contains(&engine.name)) {
        let url = std::env::var(engine.url).expect("run this by benches/run, which starts servers");
        match engine.name {
            "rabbitmq" => beside(engine, &url, rabbitmq::Bare::open(&url).await).await,
            "redis" => beside(engine, &url, redis::Bare::open(&url).await).await,
            _ => beside(engine, &url, sqs::Bare::open(&url).await).await,
        }
    }
}

/// The rounds of one engine, and its lines of the table.
async fn beside<B: Side>(engine: &Engine, url: &str, bare: B) {
    let note =
        if engine.name == "sqs" { " (the server is moto, in memory, in Python)" } else { "" };
    println!("{}, {} messages a run{note}", engine.name, engine.messages);
    println!(
        "{:>6} {:>16} {:>9} {:>12} {:>6} {:>12} {:>6}",
        "batch", "", "bare", "outcomes off", "ratio", "outcomes on", "ratio"
    );
    let store = open(&fresh_database().await).await;
    let off = relay::Ours::open(&store, url, false).await;
    let on = relay::Ours::open(&store, url, true).await;
    for batch in BATCHES {
        // Connections, channels and plans are there before anything is timed.
        let few = CONSUMERS * BATCHES[1] / 4;
        run(&bare, few, batch).await;
        run(&off, few, batch).await;
        run(&on, few, batch).await;
        let mut rounds = vec![];
        for _ in 0..ROUNDS {
            rounds.push([
                run(&bare, engine.messages, batch).await,
                run(&off, engine.messages, batch).await,
                run(&on, engine.messages, batch).await,
            ]);
        }
        let whole = |times: &Times| times.publish + times.drain;
        print(engine, batch, "publish", &rounds, |times| times.publish);
        print(engine, batch, "receive + settle", &rounds, |times| times.drain);
        print(engine, batch, "all three", &rounds, whole);
    }
    off.close().await;
    on.close().await;
    store.close().await;
}

fn print(
    engine: &Engine,
    batch: usize,
    phase: &str,
    rounds: &[[Times; 3]],
    seconds: impl Fn(&Times) -> f64,
) {
    let rate = |side: usize| {
        median(rounds.iter().map(|round| engine.messages as f64 / seconds(&round[side])).collect())
    };
    let ratio = |side: usize| {
        median(rounds.iter().map(|round| seconds(&round[0]) / seconds(&round[side])).collect())
    };
    println!(
        "{batch:>6} {phase:>16} {:>9.0} {:>12.0} {:>6.2} {:>12.0} {:>6.2}",
        rate(0),
        rate(1),
        ratio(1),
        rate(2),
        ratio(2)
    );
}
