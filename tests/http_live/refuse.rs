//! WebSockets that are not begun.

use rowmill::http::{HttpLimits, WsLimits};
use rowmill::workbook::ReadLimits;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::scene::{Scene, problem};
use crate::socket::{Socket, request};
use crate::support::TestDatabase;

async fn what_cannot_be_is_refused_before_it_begins(database: TestDatabase) {
    let scene = Scene::new(database).await;
    for (queue, query, expected) in [
        ("nowhere", "", 404),
        ("no%20where", "", 422),
        ("rows", "?credit=0", 422),
        ("rows", "?credit=1001", 422),
        ("rows", "?credit=many", 422),
        ("rows", "?auto_ack=perhaps", 422),
        ("rows", "?credits=1", 422),
    ] {
        let refused = Socket::ask(request(&scene.address, queue, query)).await;
        let (status, problem) = refused.err().expect("it was taken");
        assert_eq!((status, &problem["status"]), (expected, &expected.into()), "{queue}{query}");
    }
    // Without the headers of a WebSocket.
    let answer = scene.client.get(scene.url("/queues/rows/ws")).send().await.unwrap();
    assert_eq!(problem(answer).await.status, 400);
}

async fn a_page_of_another_origin_is_refused(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let from = |origin: &str| {
        let mut request = request(&scene.address, "rows", "");
        request.headers_mut().insert("origin", HeaderValue::from_str(origin).unwrap());
        request
    };
    let refused = Socket::ask(from("https://evil.example")).await;
    assert_eq!(refused.err().expect("it was taken").0, 403);
    assert!(Socket::ask(from(&scene.url(""))).await.is_ok());
}

async fn sockets_beyond_the_limit_are_told_to_come_again(database: TestDatabase) {
    let ws = WsLimits { sockets: 1, ..WsLimits::default() };
    let limits = HttpLimits { ws, ..HttpLimits::default() };
    let scene = Scene::with(database, limits, ReadLimits::default()).await;
    let first = scene.socket("").await;
    let refused = Socket::ask(request(&scene.address, "rows", "")).await;
    assert_eq!(refused.err().expect("it was taken").0, 503);
    drop(first);
    scene
        .until("there is room again", async || {
            Socket::ask(request(&scene.address, "rows", "")).await.is_ok()
        })
        .await;
}

on_both!(
    what_cannot_be_is_refused_before_it_begins,
    a_page_of_another_origin_is_refused,
    sockets_beyond_the_limit_are_told_to_come_again,
);
