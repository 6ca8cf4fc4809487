//! From a publish to its receipt over HTTP, at low load: one publisher, one consumer that waits in
//! a long poll, a server and PostgreSQL between them.
//!
//! The time is taken by one clock, from before the publish is sent until the consumer has the
//! message in hands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rowmill::api::{Ack, NewMessage, Settle};
use rowmill::client::Client;
use tokio::sync::mpsc;

use crate::ROUNDS;
use crate::server::Server;

/// Messages of one round, and those before them that are not counted.
const MESSAGES: usize = 500;
const WARM: usize = 50;
/// The pause after each receipt: a load far below what the server can bear.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn measure() {
    println!("publish to receipt over HTTP, {MESSAGES} messages one at a time, ms:");
    head();
    for round in 1..=ROUNDS {
        let server = Server::start().await;
        print(round, one_round(&server).await);
    }
}

/// The names of the columns of [`print`].
pub(crate) fn head() {
    println!("{:>6} {:>8} {:>8} {:>8} {:>8}", "round", "p50", "p90", "p99", "most");
}

/// How the milliseconds of one round are spread.
pub(crate) fn print(round: usize, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    println!("{round:>6} {:>8.2} {:>8.2} {:>8.2} {:>8.2}", at(0.5), at(0.9), at(0.99), at(1.0));
}

async fn one_round(server: &Server) -> Vec<f64> {
    let (received, mut receipts) = mpsc::channel(1);
    let consumer = tokio::spawn(consume(server.client(), received));
    let publisher = server.client();
    let mut times = vec![];
    for n in 0..WARM + MESSAGES {
        let data = serde_json::value::to_raw_value(&serde_json::json!({ "n": n })).unwrap();
        let message = NewMessage { data, attributes: BTreeMap::new() };
        let sent = Instant::now();
        let publish = publisher.publish("rows", message, None);
        let (published, receipt) = tokio::join!(publish, receipts.recv());
        published.unwrap();
        let receipt: Instant = receipt.unwrap();
        if n >= WARM {
            times.push(receipt.duration_since(sent).as_secs_f64() * 1000.0);
        }
        tokio::time::sleep(PAUSE).await;
    }
    consumer.abort();
    times
}

async fn consume(client: Client, received: mpsc::Sender<Instant>) {
    loop {
        let deliveries = client.receive("rows", 1, Duration::from_secs(20)).await.unwrap();
        let now = Instant::now();
        for delivery in deliveries {
            if received.send(now).await.is_err() {
                return;
            }
            let acks = vec![Ack { receipt: delivery.receipt, output: None }];
            client.settle("rows", &Settle { acks, ..Settle::default() }).await.unwrap();
        }
    }
}
