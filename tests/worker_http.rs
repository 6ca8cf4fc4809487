//! The `http` handler against a real web server: what it sends, what is made of every kind of
//! answer, and what it refuses to follow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rowmill::domain::{Delivery, MessageKey, Origin, QueueName, Receipt, RowNumber, Verdict};
use rowmill::worker::{AnyHandler, Handler, Http, HttpCallLimits, Stop, WorkerLimits, run};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

#[path = "support/memory.rs"]
#[allow(dead_code, reason = "the loop's tests use all of it")]
mod memory;

use memory::{Memory, UntilEnded};

/// What a server was asked.
#[derive(Debug, Clone)]
struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Clone, Default)]
struct Seen {
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Told of every request.
    came: Arc<Notify>,
    /// Where another server is.
    other: Arc<Mutex<String>>,
}

/// A server of the outside world.
struct Outside {
    seen: Seen,
    address: String,
    _serving: AbortOnDropHandle<()>,
}

impl Outside {
    async fn start() -> Self {
        let seen = Seen::default();
        let app = Router::new().fallback(answer).with_state(seen.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { seen, address, _serving: AbortOnDropHandle::new(serving) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> Vec<Asked> {
        self.seen.asked.lock().unwrap().clone()
    }

    /// The verdict on one message sent to a path.
    async fn verdict(&self, path: &str) -> Verdict {
        verdict(&self.url(path)).await
    }

    async fn reason(&self, path: &str) -> String {
        match self.verdict(path).await {
            Verdict::Reject { reason } => reason.into(),
            other => panic!("{path} is not rejected: {other:?}"),
        }
    }
}

/// Answers as the path says.
async fn answer(State(seen): State<Seen>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let method = parts.method.clone();
    let asked = Asked { method: parts.method, uri: parts.uri, headers: parts.headers, body };
    seen.asked.lock().unwrap().push(asked);
    seen.came.notify_one();
    let redirect = |status: u16, to: &str| {
        let to = HeaderValue::from_str(to).unwrap();
        (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, to)]).into_response()
    };
    let later = |status: u16, after: String| {
        let status = StatusCode::from_u16(status).unwrap();
        (status, [(header::RETRY_AFTER, after)], "slow down\n").into_response()
    };
    let other = seen.other.lock().unwrap().clone();
    match path.as_str() {
        "/json" => (StatusCode::CREATED, " {\"n\":1.10}\n").into_response(),
        "/text" => "fine\n\"ü\"".into_response(),
        "/bytes" => vec![b'a', 0xff, b'b'].into_response(),
        "/empty" => StatusCode::NO_CONTENT.into_response(),
        "/huge" => {
            // Endless: a handler that wanted all of it would never end.
            let piece = Bytes::from(vec![b'x'; 64 << 10]);
            let endless =
                futures::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
            Body::from_stream(endless).into_response()
        }
        "/huge-error" => (StatusCode::BAD_REQUEST, "ä".repeat(100_000)).into_response(),
        "/missing" => (StatusCode::NOT_FOUND, "no such order\n").into_response(),
        "/gone" => StatusCode::GONE.into_response(),
        "/not-modified" => StatusCode::NOT_MODIFIED.into_response(),
        "/broken" => (StatusCode::INTERNAL_SERVER_ERROR, "oops").into_response(),
        "/slow-down" => later(429, "7".into()),
        "/next-year" => later(503, "31536000".into()),
        "/at-a-time" => {
            let time = SystemTime::now() + Duration::from_secs(100);
            later(503, httpdate::fmt_http_date(time))
        }
        "/nonsense" => later(503, "soon".into()),
        "/same" => redirect(307, "/text"),
        "/moved" => redirect(301, "/json"),
        "/see" => redirect(303, "/text"),
        "/loop" => redirect(308, "/loop"),
        "/elsewhere" => redirect(302, &other),
        "/file" => redirect(302, "file:///etc/passwd"),
        "/nowhere" => StatusCode::FOUND.into_response(),
        "/never" => std::future::pending().await,
        _ => panic!("{method} {path} was not expected"),
    }
}

fn delivery() -> Delivery {
    Delivery {
        receipt: Receipt(uuid::Uuid::from_u128(1)),
        position: 0,
        id: MessageKey::new(b"key").id(3, 7),
        attempt: 2,
        origin: Some(Origin {
            upload_id: uuid::Uuid::from_u128(9),
            filename: "orders.xlsx".into(),
            sheet: Some("Orders".into()),
            row: RowNumber(17),
        }),
        data: r#"{"n":1.10,"big":12345678901234567890}"#.into(),
        attributes: None,
        created_ms: 0,
        expires_ms: None,
    }
}

fn http(url: &str, limits: HttpCallLimits) -> Http {
    Http::new(url, limits).unwrap()
}

async fn verdict(url: &str) -> Verdict {
    let limits = HttpCallLimits { output_bytes: 100_000, ..HttpCallLimits::default() };
    let (handler, delivery) = (http(url, limits), delivery());
    let handled = handler.handle(&delivery, CancellationToken::new());
    tokio::time::timeout(Duration::from_secs(20), handled).await.expect("the handler hangs")
}

fn done(output: &str) -> Verdict {
    Verdict::Done { output: Some(output.into()) }
}

fn retry(reason: &str, after: Option<u64>) -> Verdict {
    Verdict::Retry { reason: reason.into(), after: after.map(Duration::from_secs) }
}

#[tokio::test]
async fn the_message_goes_as_json_with_its_id_and_attempt() {
    let outside = Outside::start().await;
    let url = format!("http://mill:s%40cret@{}/text?key=1", outside.address);
    assert!(matches!(verdict(&url).await, Verdict::Done { .. }));
    let asked = outside.asked().remove(0);
    assert_eq!((asked.method, asked.uri.to_string()), (Method::POST, "/text?key=1".to_owned()));
    let id = MessageKey::new(b"key").id(3, 7).to_string();
    for (name, value) in [
        ("content-type", "application/json"),
        ("rowmill-message-id", &id),
        ("idempotency-key", &id),
        ("rowmill-attempt", "2"),
        ("authorization", "Basic bWlsbDpzQGNyZXQ="),
    ] {
        assert_eq!(asked.headers.get(name).unwrap(), value, "{name}");
    }
    let upload = uuid::Uuid::from_u128(9);
    let expected = format!(
        r#"{{"id":"{id}","attempt":2,"upload_id":"{upload}","filename":"orders.xlsx","#
    ) + r#""sheet":"Orders","row":17,"data":{"n":1.10,"big":12345678901234567890},"attributes":{}}"#;
    assert_eq!(asked.body, expected);
}

#[tokio::test]
async fn a_success_is_done_with_its_body() {
    let outside = Outside::start().await;
    assert_eq!(outside.verdict("/json").await, done(r#"{"n":1.10}"#));
    assert_eq!(outside.verdict("/text").await, done(r#""fine\n\"ü\"""#));
    assert_eq!(outside.verdict("/bytes").await, done("\"a\u{FFFD}b\""));
    assert_eq!(outside.verdict("/empty").await, Verdict::Done { output: None });
    let note = r#"{"output_dropped":"more than 100000 bytes"}"#;
    assert_eq!(outside.verdict("/huge").await, done(note));
}

#[tokio::test]
async fn trouble_of_the_server_is_tried_again_when_it_says() {
    let outside = Outside::start().await;
    let busy = "HTTP 503 Service Unavailable: slow down";
    for (path, expected) in [
        ("/slow-down", retry("HTTP 429 Too Many Requests: slow down", Some(7))),
        ("/next-year", retry(busy, Some(3_600))),
        ("/nonsense", retry(busy, None)),
        ("/broken", retry("HTTP 500 Internal Server Error: oops", None)),
    ] {
        assert_eq!(outside.verdict(path).await, expected, "{path}");
    }
    match outside.verdict("/at-a-time").await {
        Verdict::Retry { after: Some(after), .. } => {
            assert!((90..=100).contains(&after.as_secs()), "{after:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_would_be_answered_the_same_again_is_rejected() {
    let outside = Outside::start().await;
    assert_eq!(outside.reason("/missing").await, "HTTP 404 Not Found: no such order");
    assert_eq!(outside.reason("/gone").await, "HTTP 410 Gone");
    assert_eq!(outside.reason("/not-modified").await, "HTTP 304 Not Modified");
    let long = outside.reason("/huge-error").await;
    assert!(long.starts_with("HTTP 400 Bad Request: ää") && long.ends_with('ä'), "{long}");
    assert!((2_000..2_100).contains(&long.len()), "{}", long.len());
}

#[tokio::test]
async fn redirects_are_followed_to_the_same_server_alone() {
    let (outside, other) = (Outside::start().await, Outside::start().await);
    let text = done(r#""fine\n\"ü\"""#);
    assert_eq!(outside.verdict("/same").await, text);
    assert_eq!(outside.verdict("/moved").await, done(r#"{"n":1.10}"#));
    assert_eq!(outside.verdict("/see").await, text);
    let methods: Vec<_> = outside.asked().into_iter().map(|a| (a.method, a.body.len())).collect();
    let post = (Method::POST, methods[0].1);
    assert!(post.1 > 0);
    let fetched = (Method::GET, 0);
    assert_eq!(methods, [&post, &post, &post, &post, &post, &fetched].map(Clone::clone));

    assert_eq!(outside.reason("/loop").await, "more than 5 redirects");
    assert_eq!(outside.asked().len(), 6 + 6);
    let port = other.address.rsplit(':').next().unwrap();
    for to in [other.url("/text"), format!("http://localhost:{port}/text"), "//x.invalid/a".into()]
    {
        *outside.seen.other.lock().unwrap() = to.clone();
        let reason = outside.reason("/elsewhere").await;
        assert!(
            reason.starts_with("HTTP 302 Found: it leads to another server, http://"),
            "{reason}"
        );
        assert!(reason.ends_with("which is not followed"), "{reason}");
    }
    assert!(other.asked().is_empty(), "rows went to another server");
    let reason = outside.reason("/file").await;
    assert!(reason.contains("file:///etc/passwd, which is not followed"), "{reason}");
    assert_eq!(outside.reason("/nowhere").await, "HTTP 302 Found: it does not say where to");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_retry() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    match verdict(&format!("http://user:s3cret@{address}/?token=s3cret")).await {
        Verdict::Retry { reason, after: None } => {
            assert!(reason.starts_with("no answer: Connection refused"), "{reason}");
            assert!(!reason.contains("s3cret"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_under_way_ends_when_it_is_cancelled() {
    let outside = Outside::start().await;
    let handler = http(&outside.url("/never"), HttpCallLimits::default());
    let (delivery, cancel) = (delivery(), CancellationToken::new());
    let handling = handler.handle(&delivery, cancel.clone());
    let (verdict, ()) = tokio::join!(handling, async {
        outside.seen.came.notified().await;
        cancel.cancel();
    });
    assert_eq!(verdict, Verdict::Release);
}

#[tokio::test]
async fn a_slow_server_meets_the_workers_timeout() {
    let outside = Outside::start().await;
    let source = Arc::new(Memory::new(1));
    let stop = Stop::default();
    let observer = UntilEnded::new(1, &stop.finished);
    let limits =
        WorkerLimits { timeout: Some(Duration::from_millis(200)), ..WorkerLimits::default() };
    let handler = http(&outside.url("/never"), HttpCallLimits::default());
    let handler = Arc::new(AnyHandler::Http(handler));
    let queue: QueueName = "rows".parse().unwrap();
    let summary = run(source.clone(), queue, handler, limits, stop, observer).await.unwrap();
    assert_eq!(summary.dead, 1);
    source.look(|state| assert_eq!(state.dead[&0], "timed out after 0.2 s"));
}

#[test]
fn an_address_that_cannot_be_used_is_refused_at_the_start() {
    for (url, expected) in [
        ("outside", "relative URL without a base"),
        ("ftp://host/x", "`ftp` is not spoken here"),
        ("http://", "empty host"),
        ("localhost:8000/x", "`localhost` is not spoken here"),
        ("http://user:s3cret@host:port/", "invalid port number"),
    ] {
        let error = Http::new(url, HttpCallLimits::default()).unwrap_err().to_string();
        assert!(error.starts_with("the handler's address cannot be used"), "{error}");
        assert!(error.contains(expected) && !error.contains("s3cret"), "{url}: {error}");
    }
}
