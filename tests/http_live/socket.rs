//! A WebSocket client, and what it needs of a server.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use rowmill::domain::Depth;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::scene::{PATIENCE, Scene};

pub(crate) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A client of `GET /queues/{queue}/ws`.
pub(crate) struct Socket(pub(crate) Stream);

impl Socket {
    /// A consumer of a queue; `query` with its question mark.
    pub(crate) async fn open(address: &str, queue: &str, query: &str) -> Self {
        match Self::ask(request(address, queue, query)).await {
            Ok(socket) => socket,
            Err((status, problem)) => panic!("refused with {status}: {problem}"),
        }
    }

    /// Asks for one; a refusal is its status and its problem document.
    pub(crate) async fn ask(request: Request) -> Result<Self, (u16, Value)> {
        match timeout(PATIENCE, connect_async(request)).await.expect("no answer") {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(Error::Http(answer)) => {
                let body = answer.body().as_deref().unwrap_or_default();
                Err((answer.status().as_u16(), serde_json::from_slice(body).unwrap_or_default()))
            }
            Err(error) => panic!("no WebSocket: {error}"),
        }
    }

    /// The next frame, of any type.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let frame = timeout(PATIENCE, self.0.next()).await.expect("no frame came");
            match frame.expect("the connection ended").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a frame of text: {other:?}"),
            }
        }
    }

    /// The next frame, which is a message.
    pub(crate) async fn message(&mut self) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], "message", "{frame}");
        frame
    }

    /// The next `n` frames, which are messages, by the number in their data.
    pub(crate) async fn messages(&mut self, n: usize) -> Vec<Value> {
        let mut all = vec![];
        for _ in 0..n {
            all.push(self.message().await);
        }
        all.sort_by_key(|message| message["data"]["n"].as_u64());
        all
    }

    /// Sends a frame.
    pub(crate) async fn say(&mut self, frame: Value) {
        self.say_raw(Message::text(frame.to_string())).await;
    }

    pub(crate) async fn say_raw(&mut self, frame: Message) {
        timeout(PATIENCE, self.0.send(frame)).await.expect("it is not read").unwrap();
    }

    /// Sends a verdict and answers what became of it.
    pub(crate) async fn settled(&mut self, frame: Value) -> String {
        let id = frame["id"].clone();
        self.say(frame).await;
        let answer = self.next().await;
        assert_eq!((&answer["type"], &answer["id"]), (&json!("settled"), &id), "{answer}");
        answer["status"].as_str().unwrap().to_owned()
    }

    /// Acks a message.
    pub(crate) async fn ack(&mut self, message: &Value) -> String {
        self.settled(json!({"type": "ack", "id": message["id"]})).await
    }

    /// Returns when the server has taken in, and acted on, all that was said before.
    pub(crate) async fn heard(&mut self) {
        // The answer to the first is sent while the frame before it is acted on.
        for _ in 0..2 {
            self.say(json!({"type": "hello"})).await;
            let answer = self.next().await;
            assert_eq!(answer["type"], "error", "{answer}");
        }
    }

    /// Waits for the server's close: its code and reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            let frame = timeout(PATIENCE, self.0.next()).await.expect("it was not closed");
            match frame.expect("the connection ended without a close").unwrap() {
                Message::Close(Some(close)) => {
                    return (close.code.into(), close.reason.to_string());
                }
                Message::Close(None) => panic!("a close without a reason"),
                _ => {}
            }
        }
    }
}

pub(crate) fn request(address: &str, queue: &str, query: &str) -> Request {
    format!("ws://{address}/queues/{queue}/ws{query}").into_client_request().unwrap()
}

impl Scene {
    pub(crate) async fn socket(&self, query: &str) -> Socket {
        Socket::open(&self.address, "rows", query).await
    }

    /// Publishes `{"n": 1}`, `{"n": 2}`, … to `rows`.
    pub(crate) async fn publish(&self, n: usize) {
        self.publish_data((1..=n).map(|n| json!({"n": n}))).await;
    }

    pub(crate) async fn publish_data(&self, data: impl Iterator<Item = Value>) {
        let messages: Vec<Value> = data.map(|data| json!({ "data": data })).collect();
        let url = self.url("/topics/rows/messages");
        let answer = self.client.post(url).json(&json!({ "messages": messages })).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }

    pub(crate) async fn depth(&self) -> Depth {
        let queue = self.store.control.queue(&"rows".parse().unwrap()).await.unwrap().unwrap();
        self.store.log.depth(queue.id).await.unwrap()
    }

    /// Waits until so many messages wait and so many are in consumers' hands.
    pub(crate) async fn until_depth(&self, ready: u64, in_flight: u64) {
        let what = format!("{ready} ready, {in_flight} in flight");
        self.until(&what, async || {
            let depth = self.depth().await;
            (depth.ready, depth.in_flight) == (ready, in_flight)
        })
        .await;
    }

    /// The time of all that is in hands passes, and what is left of it comes again.
    pub(crate) async fn let_deadlines_pass(&self) {
        self.store.clock.advance(Duration::from_secs(61));
        self.broker.sweep(100).await.unwrap();
    }

    /// How a message stands.
    pub(crate) async fn result(&self, message: &Value) -> Value {
        self.get(&format!("/results/{}", message["id"].as_str().unwrap())).await
    }
}
