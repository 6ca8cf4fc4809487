//! `GET /events`: the whole state at once, and then what changes.

use futures::StreamExt;
use futures::stream::BoxStream;
use rowmill::http::HttpLimits;
use rowmill::workbook::ReadLimits;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::scene::{PATIENCE, Scene, csv, problem};
use crate::support::TestDatabase;

/// A stream of events, read as a browser does.
struct Events {
    pieces: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Events {
    async fn listen(scene: &Scene) -> Self {
        let response = scene.client.get(scene.url("/events")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { pieces: response.bytes_stream().boxed(), text: String::new() }
    }

    /// The next event's kind and data; `None` when the stream ends.
    async fn next(&mut self) -> Option<(String, Vec<Value>)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
                let Some(kind) = field("event: ") else { continue };
                let data: Value = serde_json::from_str(field("data: ").unwrap()).unwrap();
                return Some((kind.to_owned(), data["data"].as_array().unwrap().clone()));
            }
            let piece = timeout(PATIENCE, self.pieces.next()).await.expect("no event")?;
            self.text += std::str::from_utf8(&piece.unwrap()).unwrap();
        }
    }

    /// Reads on until an event of a kind says so.
    async fn until(&mut self, kind: &str, so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        loop {
            let (told, data) = self.next().await.expect("it ended");
            if told == kind && so(&data) {
                return data;
            }
        }
    }
}

async fn uploads_are_told_of_as_they_go(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut events = Events::listen(&scene).await;
    let first = events.next().await.unwrap();
    assert_eq!(first.0, "queues");
    assert_eq!(events.next().await.unwrap(), ("uploads".into(), vec![]));
    let upload = scene.published("many.csv", csv(30)).await;
    let told = events.until("uploads", |data| !data.is_empty()).await;
    assert_eq!(told[0]["id"], upload.id.to_string());
    assert_eq!(told[0]["filename"], "many.csv");
    // Who comes later is told the same.
    let mut late = Events::listen(&scene).await;
    let is = |field: &'static str| {
        move |data: &[Value]| data.first().is_some_and(|one| one["counts"][field] == 30)
    };
    let told = late.until("uploads", is("waiting")).await;
    assert_eq!(told[0]["status"], "published");
    assert_eq!(scene.work("rows", 30).await, 30);
    for events in [&mut events, &mut late] {
        let told = events.until("uploads", is("done")).await;
        assert_eq!(told[0]["status"], "ended");
    }
    // When it ended is recorded by whoever keeps the house; a minute later it is not told of.
    scene.store.log.end_uploads().await.unwrap();
    scene.store.clock.advance(std::time::Duration::from_secs(61));
    events.until("uploads", <[Value]>::is_empty).await;
}

async fn queues_are_told_of_as_they_go(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.queue_of_rows("other", &["2"]).await;
    let mut events = Events::listen(&scene).await;
    let (_, first) = events.next().await.unwrap();
    let names: Vec<_> = first.iter().map(|queue| queue["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["other", "rows"]);
    for field in [
        "ready",
        "delayed",
        "held",
        "in_flight",
        "dead",
        "published_per_second",
        "ended_per_second",
    ] {
        assert!(first[0][field].as_f64().is_some(), "{field}: {}", first[0]);
    }
    assert_eq!(first[1]["oldest_seconds"], Value::Null);
    let began = Instant::now();
    let of_rows = |field: &'static str, n: u64| move |data: &[Value]| data[1][field] == n;
    scene.publish(10).await;
    let told = events.until("queues", of_rows("ready", 10)).await;
    assert!(told[1]["oldest_seconds"].as_u64().is_some(), "{}", told[1]);
    let mut socket = scene.socket("?credit=4").await;
    let held = socket.messages(4).await;
    events.until("queues", of_rows("in_flight", 4)).await;
    drop((held, socket));
    events.until("queues", of_rows("in_flight", 0)).await;
    // Many changes, few events.
    let mut told = 0;
    for _ in 0..10 {
        assert_eq!(scene.work("rows", 1).await, 1);
    }
    loop {
        let (kind, data) = events.next().await.unwrap();
        told += u128::from(kind == "queues");
        if kind == "queues" && data[1]["ready"] == 0 {
            break;
        }
    }
    assert!(told <= began.elapsed().as_millis() / 250 + 1, "{told} events");
}

async fn listeners_are_counted_and_their_stream_ends_with_the_server(database: TestDatabase) {
    let limits = HttpLimits { listeners: 1, ..HttpLimits::default() };
    let scene = Scene::with(database, limits, ReadLimits::default()).await;
    let mut events = Events::listen(&scene).await;
    events.next().await.unwrap();
    let refused = scene.client.get(scene.url("/events")).send().await.unwrap();
    assert_eq!(problem(refused).await.status, 503);
    drop(events);
    // Its place is free again, and whoever looked for it looks no more or looks for the next.
    scene
        .until("there is room again", async || {
            let answer = scene.client.get(scene.url("/events")).send().await.unwrap();
            answer.status() == 200
        })
        .await;
    let mut events = loop {
        let answer = scene.client.get(scene.url("/events")).send().await.unwrap();
        if answer.status() == 200 {
            break Events { pieces: answer.bytes_stream().boxed(), text: String::new() };
        }
    };
    events.next().await.unwrap();
    scene.stop.cancel();
    while events.next().await.is_some() {}
}

on_both!(
    uploads_are_told_of_as_they_go,
    queues_are_told_of_as_they_go,
    listeners_are_counted_and_their_stream_ends_with_the_server,
);
