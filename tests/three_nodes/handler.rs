//! The web server that does the work, for `rowmill work --http`. It remembers how often it was asked
//! for each message, and some it does not do at first, some never: a retry and a death each go
//! through queues of their own, which are made while nodes are away.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::net::TcpListener;

/// One message in so many is tried again once.
const AGAIN: usize = 10;
/// One message in so many is rejected.
const NEVER: usize = 500;

#[derive(Debug, Default)]
struct Seen {
    /// Each message's place among those of this round, and how often it came.
    messages: HashMap<String, (usize, u64)>,
}

/// The web server.
#[derive(Debug)]
pub(crate) struct Office {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

impl Office {
    pub(crate) async fn open() -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(work)).with_state(Arc::clone(&seen));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Forgets what was done.
    pub(crate) fn begin(&self) {
        lock(&self.seen).messages.clear();
    }

    /// How many messages came, and how often all of them together.
    pub(crate) fn handled(&self) -> (u64, u64) {
        let seen = lock(&self.seen);
        let times = seen.messages.values().map(|(_, times)| times).sum();
        (seen.messages.len() as u64, times)
    }

    /// The ids of those that were rejected.
    pub(crate) fn rejected(&self) -> BTreeSet<String> {
        let seen = lock(&self.seen);
        let rejected = seen.messages.iter().filter(|(_, (place, _))| place % NEVER == 0);
        rejected.map(|(id, _)| id.clone()).collect()
    }
}

async fn work(State(seen): State<Arc<Mutex<Seen>>>, headers: HeaderMap) -> StatusCode {
    let Some(id) = headers.get("rowmill-message-id").and_then(|id| id.to_str().ok()) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut seen = lock(&seen);
    let next = seen.messages.len();
    let (place, times) = seen.messages.entry(id.to_owned()).or_insert((next, 0));
    *times += 1;
    if *place % NEVER == 0 {
        StatusCode::UNPROCESSABLE_ENTITY
    } else if *place % AGAIN == 0 && *times == 1 {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
