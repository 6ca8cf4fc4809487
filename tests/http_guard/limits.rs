//! What one client, or many, may take of a server.

use std::time::Duration;

use rowmill::http::SafetyLimits;
use rowmill::http::server::ServerEnd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::scene::{Local, PATIENCE, refusal, until};

/// A long poll that finds nothing; shorter than anything else waits.
const POLL: &str = "/queues/rows-dead/messages?wait=30";

/// Sends bytes, and answers the connection.
async fn send(local: &Local, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&local.address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// What comes until the connection ends.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

/// A publish whose body does not come.
async fn half_a_publish(local: &Local) -> TcpStream {
    let head = "POST /topics/rows/messages HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                Content-Type: application/json\r\nContent-Length: 12\r\n\r\n";
    send(local, head).await
}

fn with_headers(n: usize, bytes: usize) -> String {
    let value = "v".repeat(bytes);
    let headers: String = (0..n).map(|n| format!("x-{n}: {value}\r\n")).collect();
    format!("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let limits = SafetyLimits { head_wait: Duration::from_millis(300), ..SafetyLimits::default() };
    let local = Local::with(limits).await;
    assert_eq!(rest(&mut send(&local, "GET /health HTTP/1.1\r\nHo").await).await, "");
    // Nor does an idle one stay.
    let mut idle = send(&local, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_head_has_its_size() {
    let local = Local::with(SafetyLimits::default()).await;
    let ask = async |head: String| rest(&mut send(&local, &head).await).await;
    assert!(ask(with_headers(60, 10)).await.starts_with("HTTP/1.1 200"));
    assert!(ask(with_headers(1, 30_000)).await.starts_with("HTTP/1.1 200"));
    for over in [with_headers(70, 1), with_headers(1, 40_000)] {
        let answer = ask(over).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(answer.contains("/problems/head-too-large"), "{answer}");
    }
    for far_over in [with_headers(200, 1), with_headers(2, 40_000)] {
        let answer = ask(far_over).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn too_many_requests_are_told_to_come_again_and_long_polls_are_not_in_their_way() {
    let limits = SafetyLimits { requests_at_once: 1, ..SafetyLimits::default() };
    let local = Local::with(limits).await;
    let mut slow = half_a_publish(&local).await;
    let full = until(503, async || local.get("/uploads").await).await;
    assert_eq!(full.headers()["retry-after"], "1");
    assert_eq!(refusal(full).await, (503, "unavailable".into()));
    assert_eq!(local.get("/queues/rows/messages").await.status(), 200);
    slow.write_all(br#"{"data": {}}"#).await.unwrap();
    assert!(rest(&mut slow).await.starts_with("HTTP/1.1 201"));
    until(200, async || local.get("/uploads").await).await;
}

#[tokio::test]
async fn too_many_long_polls_are_told_so_and_others_go_on() {
    let limits = SafetyLimits { streams_at_once: 1, ..SafetyLimits::default() };
    let local = Local::with(limits).await;
    let first = tokio::spawn(local.client.get(format!("http://{}{POLL}", local.address)).send());
    let second = until(503, async || local.get("/queues/rows/messages").await).await;
    assert_eq!(second.headers()["retry-after"], "1");
    assert_eq!(local.get("/uploads").await.status(), 200);
    // A drain ends the poll, and with it the server.
    assert_eq!(local.drain().await, ServerEnd::Drained);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn an_event_stream_counts_until_it_ends() {
    let limits = SafetyLimits { streams_at_once: 1, ..SafetyLimits::default() };
    let local = Local::with(limits).await;
    let part = reqwest::multipart::Part::bytes(&b"n\n1\n"[..]).file_name("a.csv");
    let form = reqwest::multipart::Form::new().part("files", part);
    let url = format!("http://{}/file/upload?wait=true", local.address);
    let upload = local.client.post(url).multipart(form).send().await.unwrap();
    let upload: serde_json::Value = upload.json().await.unwrap();
    let events = format!("/uploads/{}/events", upload["data"][0]["id"].as_str().unwrap());
    let stream = local.get(&events).await;
    assert_eq!(stream.status(), 200);
    assert_eq!(local.get("/queues/rows/messages").await.status(), 503);
    drop(stream);
    until(200, async || local.get("/queues/rows-dead/messages").await).await;
}

#[tokio::test]
async fn a_request_ends_in_time_and_a_long_poll_in_its_own() {
    let limits =
        SafetyLimits { request_time: Duration::from_millis(300), ..SafetyLimits::default() };
    let local = Local::with(limits).await;
    let answer = rest(&mut half_a_publish(&local).await).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("in time"), "{answer}");
    let begun = std::time::Instant::now();
    assert_eq!(local.get("/queues/rows-dead/messages?wait=1").await.status(), 200);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn too_many_connections_wait_for_one_to_end() {
    let limits = SafetyLimits { connections_at_once: 2, ..SafetyLimits::default() };
    let local = Local::with(limits).await;
    let request = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut open = vec![];
    for _ in 0..2 {
        let mut stream = send(&local, request).await;
        let mut first = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        open.push(stream);
    }
    let mut third = send(&local, request).await;
    let mut first = [0; 12];
    let early = timeout(Duration::from_millis(300), third.read_exact(&mut first)).await;
    assert!(early.is_err(), "it was answered beyond the limit");
    open.pop();
    timeout(PATIENCE, third.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}
