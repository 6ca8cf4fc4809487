//! From a publish to its frame: a wake-up, never a polling period.
//!
//! Servers look every half second at what they were not told of. What is asserted is far from that;
//! `benches/run live` has the figures.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{TestServer, client};
use crate::socket::Socket;
use crate::support::TestDatabase;

const MESSAGES: usize = 200;
const MEDIAN: Duration = Duration::from_millis(100);
const P99: Duration = Duration::from_millis(400);

async fn pushed_in_time(publisher: &TestServer, consumer: &TestServer) {
    let client = client();
    let mut socket = Socket::open(consumer.address(), "rows", "").await;
    let url = publisher.url("/topics/rows/messages");
    let mut times = vec![];
    for n in 0..MESSAGES {
        let begun = Instant::now();
        let publish = client.post(&url).json(&json!({"data": {"n": n}})).send();
        let (published, message) = tokio::join!(publish, async {
            let message = socket.message().await;
            times.push(begun.elapsed());
            message
        });
        assert_eq!(published.unwrap().status(), 201);
        assert_eq!(message["data"]["n"], n);
        assert_eq!(socket.ack(&message).await, "done");
    }
    times.sort_unstable();
    let (median, p99) = (times[MESSAGES / 2], times[MESSAGES * 99 / 100]);
    assert!(median < MEDIAN && p99 < P99, "p50 {median:?}, p99 {p99:?}");
}

async fn a_publish_wakes_the_push(database: TestDatabase) {
    let server = TestServer::start(database.url()).await;
    pushed_in_time(&server, &server).await;
}

on_both!(a_publish_wakes_the_push);

/// Through the database, to a consumer at another server.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_at_one_server_wakes_the_push_of_another() {
    let database = TestDatabase::postgres().await;
    let one = TestServer::start(database.url()).await;
    let other = TestServer::start(database.url()).await;
    pushed_in_time(&one, &other).await;
}
