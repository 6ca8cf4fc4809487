//! Clients that go, in every way there is, and servers that stop: what was held comes to others at
//! once, long before its deadline of a minute.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::SinkExt;
use rowmill::http::{HttpLimits, WsLimits};
use rowmill::workbook::ReadLimits;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, PgConnection, SqliteConnection};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;

use crate::scene::Scene;
use crate::server::{TestServer, client};
use crate::socket::Socket;
use crate::support::TestDatabase;

/// What is held for a minute comes again in less than this.
const AT_ONCE: Duration = Duration::from_secs(10);

async fn with_ws(database: TestDatabase, ws: WsLimits) -> Scene {
    let limits = HttpLimits { ws, ..HttpLimits::default() };
    Scene::with(database, limits, ReadLimits::default()).await
}

/// The `n` messages come to this consumer, and not for the first time. Mostly it is the second; the
/// look of the client that is gone may have been under way and have caught what was handed back.
async fn comes_again(to: &mut Socket, n: usize, since: Instant) {
    let again = to.messages(n).await;
    assert!(since.elapsed() < AT_ONCE, "it took {:?}", since.elapsed());
    for (at, message) in again.iter().enumerate() {
        assert_eq!(message["data"]["n"], at + 1);
        assert!((2..=4).contains(&message["delivery_attempts"].as_u64().unwrap()), "{message}");
    }
}

async fn a_client_that_closes_hands_back(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("").await;
    scene.publish(3).await;
    socket.messages(3).await;
    let mut next = scene.socket("").await;
    let since = Instant::now();
    socket.0.close(None).await.unwrap();
    comes_again(&mut next, 3, since).await;
}

async fn a_client_whose_connection_breaks_hands_back(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("").await;
    scene.publish(3).await;
    let held = socket.messages(3).await;
    let mut next = scene.socket("").await;
    let since = Instant::now();
    // What it said before it broke is carried out.
    let ack = json!({"type": "ack", "id": held[2]["id"], "output": "said"});
    socket.0.send(Message::text(ack.to_string())).await.unwrap();
    drop(socket);
    comes_again(&mut next, 2, since).await;
    scene.until_depth(0, 2).await;
    assert_eq!(scene.result(&held[2]).await["output"], "said");
}

async fn a_client_that_is_silent_is_found_out(database: TestDatabase) {
    let ws = WsLimits { ping_every: Duration::from_millis(1_500), ..WsLimits::default() };
    let scene = with_ws(database, ws).await;
    let mut silent = scene.socket("").await;
    scene.publish(3).await;
    silent.messages(3).await;
    let since = Instant::now();
    // Its connection stands, but nobody reads it or answers a ping any more.
    let mut next = scene.socket("").await;
    comes_again(&mut next, 3, since).await;
    drop(silent);
}

async fn a_client_that_reads_nothing_is_given_up(database: TestDatabase) {
    let ws = WsLimits { write: Duration::from_millis(500), ..WsLimits::default() };
    let scene = with_ws(database, ws).await;
    let stuck = scene.socket("").await;
    let large = "x".repeat(1_000_000);
    // More than the system keeps for a reader that does not read.
    for _ in 0..4 {
        scene.publish_data((0..4).map(|n| json!({"n": n, "large": large}))).await;
    }
    scene
        .until("it is given up", async || {
            let depth = scene.depth().await;
            (depth.ready, depth.in_flight) == (16, 0)
        })
        .await;
    drop(stuck);
}

/// A client in a process of its own, as small as there can be one: it asks for a socket, and shows
/// what it is sent.
const CLIENT: &str = r#"exec 3<>"/dev/tcp/${1%:*}/${1#*:}"
printf '%s\r\n' 'GET /queues/rows/ws HTTP/1.1' "Host: $1" 'Connection: Upgrade' \
    'Upgrade: websocket' 'Sec-WebSocket-Version: 13' \
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' '' >&3
exec cat <&3"#;

async fn a_killed_client_hands_back(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.publish(3).await;
    let mut victim = tokio::process::Command::new("bash")
        .args(["-c", CLIENT, "client", &scene.address])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut sent = victim.stdout.take().unwrap();
    let mut seen = Vec::new();
    while String::from_utf8_lossy(&seen).matches(r#""type":"message""#).count() < 3 {
        assert!(sent.read_buf(&mut seen).await.unwrap() > 0, "it ended");
    }
    let mut next = scene.socket("").await;
    let since = Instant::now();
    let pid = victim.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    comes_again(&mut next, 3, since).await;
}

async fn a_server_that_stops_hands_back_and_says_so(database: TestDatabase) {
    let mut server = TestServer::start(database.url()).await;
    let mut socket = Socket::open(server.address(), "rows", "").await;
    let messages: Vec<Value> = (1..=3).map(|n| json!({"data": {"n": n}})).collect();
    let url = server.url("/topics/rows/messages");
    let published = client().post(url).json(&json!({ "messages": messages })).send().await.unwrap();
    assert_eq!(published.status(), 201);
    socket.messages(3).await;
    let since = Instant::now();
    server.signal("-TERM");
    assert_eq!(socket.closed().await, (1001, "the server stops".into()));
    assert!(server.ended().await.success());
    assert!(since.elapsed() < AT_ONCE, "it took {:?}", since.elapsed());

    let server = TestServer::start(database.url()).await;
    let mut next = Socket::open(server.address(), "rows", "").await;
    comes_again(&mut next, 3, since).await;
}

async fn a_consumer_of_a_deleted_queue_is_told(database: TestDatabase) {
    let url = database.url().to_owned();
    let ws = WsLimits { look: Duration::from_millis(100), ..WsLimits::default() };
    let scene = with_ws(database, ws).await;
    let mut socket = scene.socket("").await;
    // What deleting a queue does to its name.
    let delete = "update queue set name='rows/1' where name='rows'";
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(delete).execute(&mut connection).await.unwrap();
    } else {
        let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        let mut connection: PgConnection = options.connect().await.unwrap();
        sqlx::query(delete).execute(&mut connection).await.unwrap();
    }
    assert_eq!(socket.closed().await, (1000, "the queue is gone".into()));
}

on_both!(
    a_client_that_closes_hands_back,
    a_client_whose_connection_breaks_hands_back,
    a_client_that_is_silent_is_found_out,
    a_client_that_reads_nothing_is_given_up,
    a_killed_client_hands_back,
    a_server_that_stops_hands_back_and_says_so,
    a_consumer_of_a_deleted_queue_is_told,
);
