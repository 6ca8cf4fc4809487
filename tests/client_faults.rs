//! What the client makes of servers, and of ways to them, that do not work: what it tries again, what
//! it answers at once, and what it says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rowmill::api::NewMessage;
use rowmill::broker::{BrokerError, Source};
use rowmill::client::{Client, ClientError, ClientLimits, RemoteSource, UploadOptions};
use rowmill::domain::RetryPolicy;
use tokio_util::task::AbortOnDropHandle;

/// Every request's address and idempotency key.
type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A server that answers from a script, and a plain 200 after its end.
struct Scripted {
    address: String,
    asked: Asked,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<Vec<Say>>>,
    asked: Asked,
}

#[derive(Clone)]
enum Say {
    /// Status, Retry-After, body.
    This(u16, &'static str, String),
    /// Nothing, ever.
    Silence,
}

impl Scripted {
    async fn start(answers: Vec<Say>) -> Self {
        let asked = Arc::default();
        let script = Script { answers: Arc::new(Mutex::new(answers)), asked: Arc::clone(&asked) };
        let app = Router::new().fallback(answer).with_state(script);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, asked, _serving: AbortOnDropHandle::new(serving) }
    }

    fn client(&self) -> Client {
        client(&format!("http://mill:s3cret@{}", self.address))
    }

    fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn answer(State(script): State<Script>, request: Request<Body>) -> Response {
    let key = request.headers().get("idempotency-key");
    let key = key.map(|key| key.to_str().unwrap().to_owned());
    script.asked.lock().unwrap().push((request.uri().to_string(), key));
    let say = {
        let mut answers = script.answers.lock().unwrap();
        if answers.is_empty() {
            Say::This(200, "", r#"{"data":[]}"#.into())
        } else {
            answers.remove(0)
        }
    };
    match say {
        Say::This(status, after, body) => {
            // To the end, so that what was sent is what the client meant to send.
            axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let status = StatusCode::from_u16(status).unwrap();
            let mut response = (status, body).into_response();
            if !after.is_empty() {
                response.headers_mut().insert(header::RETRY_AFTER, after.parse().unwrap());
            }
            response
        }
        Say::Silence => std::future::pending().await,
    }
}

fn limits() -> ClientLimits {
    let soon = Duration::from_millis(2);
    ClientLimits {
        retries: 3,
        retry: RetryPolicy { first: soon, factor: 1.0, most: soon },
        ..ClientLimits::default()
    }
}

fn client(url: &str) -> Client {
    Client::new(url, limits()).unwrap()
}

fn busy() -> Say {
    let problem = r#"{"type":"/problems/unavailable","title":"Not now","status":503,"detail":"x"}"#;
    Say::This(503, "", problem.into())
}

fn message() -> NewMessage {
    let data = serde_json::value::RawValue::from_string("{}".into()).unwrap();
    NewMessage { data, attributes: BTreeMap::new() }
}

#[tokio::test]
async fn what_may_be_asked_twice_is_tried_again_and_nothing_else() {
    let server = Scripted::start(vec![busy(), busy()]).await;
    server.client().publish("rows", message(), Some("k1")).await.unwrap();
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked, vec![("/topics/rows/messages".to_owned(), Some("k1".to_owned())); 3]);

    let server = Scripted::start(vec![busy()]).await;
    let error = server.client().publish("rows", message(), None).await.unwrap_err();
    assert_eq!((error.status(), server.times()), (Some(503), 1));
    let error = server.client().receive("rows", 5_000, Duration::from_millis(500)).await;
    assert!(error.unwrap().is_empty());
    assert_eq!(server.asked.lock().unwrap()[1].0, "/queues/rows/messages?limit=1000&wait=0.5");

    // The last allowed try fails, too.
    let server = Scripted::start(vec![busy(); 9]).await;
    let error = server.client().health().await.unwrap_err().to_string();
    assert_eq!(server.times(), 4);
    assert_eq!(error, format!("http://{}/health: Not now: x", server.address));

    // What the client did wrong stays wrong.
    let no = Say::This(422, "", r#"{"type":"/p","title":"No","status":422,"detail":""}"#.into());
    let server = Scripted::start(vec![no]).await;
    assert_eq!(server.client().health().await.unwrap_err().status(), Some(422));
    assert_eq!(server.times(), 1);
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let server = Scripted::start(vec![Say::This(429, "1", String::new())]).await;
    let begun = std::time::Instant::now();
    server.client().health().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.times(), 2);
}

#[tokio::test]
async fn answers_that_are_none_of_the_apis_are_told_apart() {
    let html = Say::This(404, "", "<h1>nginx</h1>".into());
    let server = Scripted::start(vec![html.clone(), html]).await;
    let error = server.client().health().await.unwrap_err().to_string();
    assert!(error.ends_with("/health: 404 Not Found: <h1>nginx</h1>"), "{error}");
    // A worker must not take it for the end of its queue.
    let queue: rowmill::domain::QueueName = "rows".parse().unwrap();
    let source = RemoteSource::new(server.client(), queue.clone());
    let error = source.receive(&queue, 1, Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, BrokerError::Store(_)), "{error}");

    let server = Scripted::start(vec![Say::This(200, "", "hello".into())]).await;
    let error = server.client().uploads(None, 1).await.unwrap_err();
    assert!(matches!(error, ClientError::BadAnswer { .. }), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");

    let server = Scripted::start(vec![Say::This(200, "", "x".repeat(1_000))]).await;
    let small = ClientLimits { answer_bytes: 999, ..limits() };
    let client = Client::new(&format!("http://{}", server.address), small).unwrap();
    let error = client.health().await.unwrap_err().to_string();
    assert!(error.ends_with("it has more than 999 bytes"), "{error}");
}

#[tokio::test]
async fn silence_ends_in_a_timeout_that_says_where() {
    let server = Scripted::start(vec![Say::Silence; 9]).await;
    let soon = Duration::from_millis(50);
    let impatient = ClientLimits { request_timeout: soon, retries: 1, ..limits() };
    let url = format!("http://mill:s3cret@{}/deep", server.address);
    let client = Client::new(&url, impatient).unwrap();
    let error = client.health().await.unwrap_err();
    let expected = format!("http://{}/deep/health did not answer within 0.05 s", server.address);
    assert_eq!(error.to_string(), expected);
    assert_eq!(server.times(), 2);
    // A receive waits as long as it asked for, and then as long as any request.
    let error = client.receive("rows", 1, soon).await.unwrap_err().to_string();
    assert!(error.ends_with("did not answer within 0.1 s"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(&format!("http://mill:s3cret@{address}")).health().await.unwrap_err();
    let error = error.to_string();
    let expected = format!("http://{address}/health cannot be reached: Connection refused");
    assert!(error.starts_with(&expected), "{error}");
}

#[tokio::test]
async fn a_file_that_was_turned_away_is_sent_again_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a \"b\" ü.csv");
    std::fs::write(&file, "id\n1\n").unwrap();
    let refusal =
        r#"{"data":[{"type":"/problems/empty","title":"Empty","status":422,"detail":""}]}"#;
    let server = Scripted::start(vec![busy(), Say::This(202, "", refusal.into())]).await;
    let sent = Arc::new(AtomicU64::new(0));
    let options = UploadOptions {
        sheet: Some("May & June".into()),
        topic: Some("t".into()),
        wait: true,
        ..UploadOptions::default()
    };
    let error = server.client().upload(&file, &options, &sent).await.unwrap_err();
    assert_eq!(error.status(), Some(422), "{error}");
    assert_eq!(sent.load(Ordering::Relaxed), 5);
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].0, "/file/upload?sheet=May+%26+June&topic=t&wait=true");
    let error = server.client().upload(&dir.path().join("none"), &options, &sent).await;
    assert!(matches!(error, Err(ClientError::File { .. })));
    let error = server.client().upload(dir.path(), &options, &sent).await;
    assert!(matches!(error, Err(ClientError::File { .. })));
}

#[tokio::test]
async fn an_upload_that_nobody_takes_ends() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large.csv");
    let mut large = std::fs::File::create(&file).unwrap();
    // More than the buffers between two sockets hold.
    for _ in 0..64 {
        large.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    // It accepts the connection and reads nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let impatient = ClientLimits { upload_silence: Duration::from_millis(300), ..limits() };
    let client = Client::new(&format!("http://{address}"), impatient).unwrap();
    let sent = Arc::default();
    let error = client.upload(&file, &UploadOptions::default(), &sent).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
}
