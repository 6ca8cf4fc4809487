//! Messages pushed over a WebSocket, at low load: from a publish to its frame, and from the death of
//! a consumer, killed with what it held, to the first frame of it at another.
//!
//! The times are taken by one clock, from before the publish is sent, or the kill.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use rowmill::api::NewMessage;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::ROUNDS;
use crate::latency::{head, print};
use crate::server::Server;

/// Messages of one round, and those before them that are not counted.
const MESSAGES: usize = 500;
const WARM: usize = 50;
/// The pause after each: a load far below what the server can bear.
const PAUSE: Duration = Duration::from_millis(10);
/// Consumers killed in a round.
const DEATHS: usize = 20;
/// Messages that each holds.
const HELD: usize = 10;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn measure() {
    println!("publish to push over a WebSocket, {MESSAGES} messages one at a time, ms:");
    head();
    for round in 1..=ROUNDS {
        print(round, pushes(&Server::start().await).await);
    }
    println!("death of a consumer to the redelivery at another, {DEATHS} deaths, ms:");
    head();
    for round in 1..=ROUNDS {
        print(round, deaths(&Server::start().await).await);
    }
}

async fn connect(url: &str) -> Socket {
    let address = url.strip_prefix("http").unwrap();
    let (socket, _) = connect_async(format!("ws{address}/queues/rows/ws")).await.unwrap();
    socket
}

/// The next message.
async fn message(socket: &mut Socket) -> Value {
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == "message" {
                return frame;
            }
        }
    }
}

async fn ack(socket: &mut Socket, message: &Value) {
    let ack = json!({"type": "ack", "id": message["id"]});
    socket.send(Message::text(ack.to_string())).await.unwrap();
}

fn one(n: usize) -> NewMessage {
    let data = serde_json::value::to_raw_value(&json!({ "n": n })).unwrap();
    NewMessage { data, attributes: BTreeMap::new() }
}

async fn pushes(server: &Server) -> Vec<f64> {
    let publisher = server.client();
    let mut socket = connect(&server.url).await;
    let mut times = vec![];
    for n in 0..WARM + MESSAGES {
        let sent = Instant::now();
        let (published, (message, came)) =
            tokio::join!(publisher.publish("rows", one(n), None), async {
                let message = message(&mut socket).await;
                (message, Instant::now())
            });
        published.unwrap();
        if n >= WARM {
            times.push(came.duration_since(sent).as_secs_f64() * 1000.0);
        }
        ack(&mut socket, &message).await;
        tokio::time::sleep(PAUSE).await;
    }
    times
}

async fn deaths(server: &Server) -> Vec<f64> {
    let publisher = server.client();
    let mut times = vec![];
    for _ in 0..DEATHS {
        for n in 0..HELD {
            publisher.publish("rows", one(n), None).await.unwrap();
        }
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["hold", &server.url])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut word = String::new();
        BufReader::new(victim.stdout.take().unwrap()).read_line(&mut word).unwrap();
        assert_eq!(word, "held\n");
        let mut heir = connect(&server.url).await;
        let killed = Instant::now();
        victim.kill().unwrap();
        let first = message(&mut heir).await;
        times.push(killed.elapsed().as_secs_f64() * 1000.0);
        ack(&mut heir, &first).await;
        for _ in 1..HELD {
            let next = message(&mut heir).await;
            ack(&mut heir, &next).await;
        }
        victim.wait().unwrap();
        heir.close(None).await.unwrap();
        while heir.next().await.is_some() {}
    }
    times
}

/// Takes messages, says so, and keeps them.
pub(crate) async fn hold(url: &str) {
    let mut socket = connect(url).await;
    for _ in 0..HELD {
        message(&mut socket).await;
    }
    println!("held");
    loop {
        socket.next().await;
    }
}
