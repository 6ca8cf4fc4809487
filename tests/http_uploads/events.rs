//! An upload's events, from the first to the end.

use futures::StreamExt;
use reqwest::{Response, StatusCode};
use rowmill::api::{Upload, UploadStatus};
use tokio::time::{Instant, timeout};

use crate::scene::{PATIENCE, Scene, csv};
use crate::support::TestDatabase;

#[derive(Debug)]
struct Told {
    kind: String,
    id: String,
    upload: Upload,
    at: Instant,
}

/// A stream of events, read as a browser does.
struct Events {
    response: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Events {
    async fn open(scene: &Scene, upload: &Upload, seen: Option<&str>) -> Response {
        let mut request = scene.client.get(scene.url(&upload.links.events));
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen);
        }
        request.send().await.unwrap()
    }

    async fn listen(scene: &Scene, upload: &Upload, seen: Option<&str>) -> Self {
        let response = Self::open(scene, upload, seen).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response: response.bytes_stream().boxed(), text: String::new() }
    }

    /// The next event; `None` when the stream ends.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(':') {
                    continue;
                }
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
                };
                let upload = serde_json::from_str(&field("data: ")).unwrap();
                let (kind, id) = (field("event: "), field("id: "));
                return Some(Told { kind, id, upload, at: Instant::now() });
            }
            let piece = timeout(PATIENCE, self.response.next()).await.expect("no event")?;
            self.text += std::str::from_utf8(&piece.unwrap()).unwrap();
        }
    }
}

async fn events_show_the_work_and_end_with_it(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let upload = scene.published("many.csv", csv(300)).await;
    let mut events = Events::listen(&scene, &upload, None).await;
    let mut others = Events::listen(&scene, &upload, None).await;
    let mut told = vec![events.next().await.unwrap()];
    assert_eq!(told[0].upload.counts.waiting, 300);
    // Each part is seen before the next is worked off.
    for _ in 0..3 {
        assert_eq!(scene.work("rows", 100).await, 100);
        told.push(events.next().await.unwrap());
    }
    while let Some(event) = events.next().await {
        told.push(event);
    }
    let last = told.pop().unwrap();
    assert_eq!((last.kind.as_str(), last.upload.status), ("end", UploadStatus::Ended));
    assert_eq!(last.upload.counts.done, 300);
    assert!(told.iter().all(|event| event.kind == "progress"), "{told:?}");
    let done: Vec<u64> = told.iter().map(|event| event.upload.counts.done).collect();
    assert!(done.is_sorted() && done.starts_with(&[0, 100]), "{done:?}");
    for pair in told.windows(2) {
        assert!(pair[0].id != pair[1].id, "the same was told twice: {pair:?}");
        // A little less than 250 ms: the first may have been on its way for longer.
        assert!((pair[1].at - pair[0].at).as_millis() >= 150, "too often: {pair:?}");
    }
    let mut kinds = vec![];
    while let Some(event) = others.next().await {
        kinds.push(event.kind);
    }
    assert_eq!(kinds.last().map(String::as_str), Some("end"), "{kinds:?}");
    // A browser that comes back after the end is told to stay away; one that missed it is told it.
    let again = Events::open(&scene, &upload, Some(&last.id)).await;
    assert_eq!(again.status(), StatusCode::NO_CONTENT);
    let mut late = Events::listen(&scene, &upload, Some(&told[0].id)).await;
    assert_eq!(late.next().await.unwrap().kind, "progress");
    assert_eq!(late.next().await.unwrap().kind, "end");
    assert!(late.next().await.is_none());
}

async fn who_comes_back_is_told_what_is_new(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let upload = scene.published("few.csv", csv(2)).await;
    let first = Events::listen(&scene, &upload, None).await.next().await.unwrap();
    let mut back = Events::listen(&scene, &upload, Some(&first.id)).await;
    assert_eq!(scene.work("rows", 1).await, 1);
    let next = back.next().await.unwrap();
    assert_eq!((next.kind.as_str(), next.upload.counts.done), ("progress", 1));
}

async fn a_stream_ends_with_the_server(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let upload = scene.published("few.csv", csv(2)).await;
    let mut events = Events::listen(&scene, &upload, None).await;
    assert_eq!(events.next().await.unwrap().kind, "progress");
    scene.stop.cancel();
    assert!(events.next().await.is_none());
}

on_both!(
    events_show_the_work_and_end_with_it,
    who_comes_back_is_told_what_is_new,
    a_stream_ends_with_the_server,
);
