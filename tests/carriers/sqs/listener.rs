//! A server between a driver and the real one, which hears every request and may meddle with it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use serde_json::{Value, json};

/// What becomes of a request.
pub(super) enum Meddle {
    /// It is as the real server says.
    Not,
    /// The entries with these ids do not reach the real server, and have failed like this: the
    /// sender's fault, code, message.
    Entries(Vec<String>, bool, &'static str, &'static str),
    /// The whole request does not reach it, and has failed with this status and code.
    All(u16, &'static str),
}

type Meddler = dyn FnMut(&str, &Value) -> Meddle + Send;

/// A request that was heard: its action and what it asks for.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) action: String,
    pub(super) body: Value,
}

struct Ear {
    server: SocketAddr,
    http: reqwest::Client,
    heard: Mutex<Vec<Heard>>,
    meddler: Mutex<Box<Meddler>>,
    under_way: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// Hears requests until it is dropped.
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    ear: Arc<Ear>,
    serves: tokio::task::JoinHandle<()>,
}

impl Listener {
    pub(super) async fn before(
        server: SocketAddr,
        meddler: impl FnMut(&str, &Value) -> Meddle + Send + 'static,
    ) -> Self {
        // The process may have one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ear = Arc::new(Ear {
            server,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            heard: Mutex::default(),
            meddler: Mutex::new(Box::new(meddler)),
            under_way: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(hear).with_state(Arc::clone(&ear));
        let app = app.layer(axum::extract::DefaultBodyLimit::disable());
        let serves = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, ear, serves }
    }

    /// What was asked for by one action, in order.
    pub(super) fn heard(&self, action: &str) -> Vec<Value> {
        let heard = self.ear.heard.lock().unwrap();
        let heard = heard.iter().filter(|heard| heard.action == action);
        heard.map(|heard| heard.body.clone()).collect()
    }

    /// How many requests there ever were under way at once.
    pub(super) fn most_at_once(&self) -> usize {
        self.ear.most_at_once.load(Ordering::SeqCst)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.serves.abort();
    }
}

async fn hear(State(ear): State<Arc<Ear>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let at_once = ear.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    ear.most_at_once.fetch_max(at_once, Ordering::SeqCst);
    let action =
        headers["x-amz-target"].to_str().unwrap().trim_start_matches("AmazonSQS.").to_owned();
    let mut request: Value = serde_json::from_slice(&body).unwrap();
    let meddle = (ear.meddler.lock().unwrap())(&action, &request);
    ear.heard.lock().unwrap().push(Heard { action, body: request.clone() });
    let answer = match meddle {
        Meddle::Not => pass_on(&ear, headers, &request).await,
        Meddle::All(status, code) => {
            let error =
                json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": "meddled"});
            (status, error)
        }
        Meddle::Entries(ids, sender_fault, code, message) => {
            let entries = request["Entries"].as_array_mut().unwrap();
            entries.retain(|entry| !ids.iter().any(|id| entry["Id"] == **id));
            let (status, mut answer) = match entries.is_empty() {
                true => (200, json!({"Successful": []})),
                false => pass_on(&ear, headers, &request).await,
            };
            let failed = ids.iter().map(|id| {
                json!({"Id": id, "SenderFault": sender_fault, "Code": code, "Message": message})
            });
            answer["Failed"] = failed.collect();
            (status, answer)
        }
    };
    ear.under_way.fetch_sub(1, Ordering::SeqCst);
    let (status, body) = answer;
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/x-amz-json-1.0");
    response.body(Body::from(body.to_string())).unwrap()
}

async fn pass_on(ear: &Ear, mut headers: HeaderMap, request: &Value) -> (u16, Value) {
    for name in ["host", "content-length", "transfer-encoding"] {
        headers.remove(name);
    }
    let ask = ear.http.post(format!("http://{}/", ear.server)).headers(headers);
    let answer = ask.body(request.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap();
    (status, if body.is_empty() { json!({}) } else { serde_json::from_slice(&body).unwrap() })
}

/// The ids of a request's entries that have `text` in them.
pub(super) fn entries_with(request: &Value, text: &str) -> Vec<String> {
    let entries = request["Entries"].as_array().into_iter().flatten();
    let with = entries.filter(|entry| entry.to_string().contains(text));
    with.map(|entry| entry["Id"].as_str().unwrap().to_owned()).collect()
}
