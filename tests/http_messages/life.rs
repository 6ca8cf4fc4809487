//! The life of a server: how it starts, what it leaves alone, how it stops.

use std::time::{Duration, Instant};

use rowmill::broker::SqlBroker;
use rowmill::config::Config;
use rowmill::http::server::{Exposure, Server, ServerEnd};
use rowmill::store::control::NewQueue;
use rowmill::worker::Stop;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::Api;
use crate::server::{TestServer, client};
use crate::support::TestDatabase;

async fn a_queue_that_was_changed_stays_so(database: TestDatabase) {
    let store = database.open(4).await;
    let topic = store.control.ensure_topic(&"rows".parse().unwrap()).await.unwrap();
    let changed = NewQueue {
        topic: Some(topic),
        deadline: Duration::from_secs(7),
        ..NewQueue::new("rows".parse().unwrap())
    };
    store.control.ensure_queue(&changed).await.unwrap();
    store.close().await;
    let api = Api::on(database).await;
    api.publish(1).await;
    let received = api.receive_all("rows", 1).await;
    assert!(received[0]["deadline_seconds"].as_f64().unwrap() <= 7.0);
    // What it did not find it did not need either.
    assert_eq!(api.get("/queues/rows-dead/messages").await.0, 404);
}

async fn a_stop_ends_long_polls_and_then_the_process(database: TestDatabase) {
    let home = tempfile::tempdir().unwrap();
    let mut command = TestServer::command(&home);
    command
        .args(["--listen", "127.0.0.1:0", "--database-url", database.url()])
        .env("ROWMILL_LOG", "rowmill=debug");
    let mut server = TestServer::run(command, home).await;
    let poll = client().get(server.url("/queues/rows/messages?wait=30")).send();
    let poll = tokio::spawn(poll);
    server.logged(&["/queues/rows/messages", "began"]).await;
    let begun = Instant::now();
    server.signal("-TERM");
    let response = poll.await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), r#"{"data":[]}"#);
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited for the poll");
}

#[tokio::test]
async fn a_request_is_one_line_of_the_log() {
    let database = TestDatabase::sqlite();
    let home = tempfile::tempdir().unwrap();
    let mut command = TestServer::command(&home);
    command
        .args(["--listen", "127.0.0.1:0", "--database-url", database.url()])
        .env("ROWMILL_LOG", "rowmill=info");
    let server = TestServer::run(command, home).await;
    client().get(server.url("/nowhere?secret=1")).send().await.unwrap();
    let line = server.logged(&["/nowhere"]).await;
    for part in ["INFO", "GET", "404", "latency"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("secret"), "{line}");
}

/// Sends half a request, and waits until the server reads on for the rest.
async fn half_a_request(server: &TestServer) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let head = "POST /topics/rows/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\
                Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    // The server says `100 Continue` when the handler begins to read the body.
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    socket
}

#[tokio::test]
async fn a_request_under_way_holds_a_stop_until_a_second_signal() {
    let database = TestDatabase::sqlite();
    let mut server = TestServer::start(database.url()).await;
    let socket = half_a_request(&server).await;
    server.signal("-TERM");
    // New connections are refused once the first signal was heard.
    while TcpStream::connect(server.address()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    server.signal("-INT");
    assert_eq!(server.ended().await.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(10), "the second signal was not heard");
    drop(socket);
}

#[tokio::test]
async fn a_request_under_way_is_cut_off_when_the_grace_is_over() {
    let database = TestDatabase::sqlite();
    let mut server = TestServer::start_with(database.url(), &["--grace", "300ms"]).await;
    let _socket = half_a_request(&server).await;
    server.signal("-TERM");
    assert_eq!(server.ended().await.code(), Some(1));
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_end() {
    let database = TestDatabase::sqlite();
    let mut server = TestServer::start(database.url()).await;
    let mut socket = half_a_request(&server).await;
    server.signal("-TERM");
    while TcpStream::connect(server.address()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    socket.write_all(br#"{"data": {}}"#).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("HTTP/1.1 201"), "{answer}");
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn every_option_can_come_from_the_environment() {
    let home = tempfile::tempdir().unwrap();
    let mut command = TestServer::command(&home);
    command
        .env("ROWMILL_LISTEN", "127.0.0.1:0")
        .env("ROWMILL_DATABASE_URL", "sqlite:of-env.db")
        .env("ROWMILL_SPOOL", "spool/of/env")
        .env("ROWMILL_MAX_FILE_SIZE", "10M")
        .env("ROWMILL_READ_LIMIT", "rows=10,columns=5")
        .env("ROWMILL_LEASE", "20s")
        .env("ROWMILL_GRACE", "1s")
        .env("ROWMILL_CONNECTIONS", "4");
    let server = TestServer::run(command, home).await;
    assert!(server.home().join("of-env.db").is_file());
    assert!(server.home().join("spool/of/env").is_dir());
    let health = client().get(server.url("/health")).send().await.unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn without_a_word_it_has_its_own_files() {
    let home = tempfile::tempdir().unwrap();
    let mut command = TestServer::command(&home);
    command.args(["--listen", "127.0.0.1:0"]).env("DATABASE_URL", "");
    let server = TestServer::run(command, home).await;
    assert!(server.home().join("rowmill.db").is_file());
    assert!(server.home().join("rowmill-spool").is_dir());
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, says) in [
        (vec!["--listen", &address], "cannot listen on"),
        (vec!["--database-url", "mysql://x"], "names no database"),
        (vec!["--read-limit", "colour=5"], "there is no limit `colour`"),
        (vec!["--max-file-size", "much"], "not a number of bytes"),
        (vec!["--lease", "10ms"], "1s at least"),
        (vec!["--spool", "/dev/null/spool"], "cannot make the spool directory"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let output = TestServer::command(&home).args(&arguments).output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}

/// In this process: its database is closed under it.
#[tokio::test]
async fn a_server_whose_database_is_gone_is_not_healthy() {
    let database = TestDatabase::sqlite();
    let store = database.open(2).await;
    let home = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".into();
    config.server.grace = Duration::from_secs(5);
    let exe = env!("CARGO_BIN_EXE_rowmill").into();
    let spool = rowmill::ingest::spool::Spool::directory(home.path().join("spool"));
    let settings = config.server_settings(exe, spool, Exposure::Loopback);
    let stop = Stop::default();
    let carry = |broker: SqlBroker| broker;
    let server = Server::open(store.clone(), carry, settings, stop.clone()).await.unwrap();
    let url = format!("http://{}/health", server.address());
    let running = tokio::spawn(server.run());
    assert_eq!(client().get(&url).send().await.unwrap().status(), 200);
    store.close().await;
    let response = client().get(&url).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.json::<serde_json::Value>().await.unwrap()["status"], json!(503));
    stop.drain.cancel();
    assert_eq!(running.await.unwrap(), ServerEnd::Drained);
}

on_both!(a_queue_that_was_changed_stays_so, a_stop_ends_long_polls_and_then_the_process);
