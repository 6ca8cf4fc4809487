//! The web server that does the work, for `rowmill work --http`. It remembers how often it was asked
//! for each message, and some it does not do at first, some never: a retry and a death each go
//! through queues of their own, which are made while nodes are away. It can be slow, so that work is
//! left for as long as something else takes.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;

/// One message in so many is tried again once.
const AGAIN: usize = 10;
/// One of those in so many is to be tried again when the node that was killed is long away.
const MUCH_LATER: usize = 5;
/// After how many seconds.
const SECONDS: &str = "20";
/// How long it takes to answer while it is slow.
const SLOW: Duration = Duration::from_secs(1);
/// One message in so many is rejected.
const NEVER: usize = 500;

#[derive(Debug, Default)]
struct Seen {
    /// Each message's place among those of this round, and how often it came.
    messages: HashMap<String, (usize, u64)>,
}

#[derive(Debug, Default)]
struct Desk {
    seen: Mutex<Seen>,
    slow: AtomicBool,
}

/// The web server.
#[derive(Debug)]
pub(crate) struct Office {
    url: String,
    desk: Arc<Desk>,
}

impl Office {
    pub(crate) async fn open() -> Self {
        let desk = Arc::<Desk>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(work)).with_state(Arc::clone(&desk));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, desk }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Forgets what was done.
    pub(crate) fn begin(&self) {
        lock(&self.desk.seen).messages.clear();
    }

    /// Takes its time from now on, or does not.
    pub(crate) fn slow(&self, slow: bool) {
        self.desk.slow.store(slow, Ordering::SeqCst);
    }

    /// How many messages came, and how often all of them together.
    pub(crate) fn handled(&self) -> (u64, u64) {
        let seen = lock(&self.desk.seen);
        let times = seen.messages.values().map(|(_, times)| times).sum();
        (seen.messages.len() as u64, times)
    }

    /// The ids of those that were rejected.
    pub(crate) fn rejected(&self) -> BTreeSet<String> {
        let seen = lock(&self.desk.seen);
        let rejected = seen.messages.iter().filter(|(_, (place, _))| place % NEVER == 0);
        rejected.map(|(id, _)| id.clone()).collect()
    }
}

async fn work(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let Some(id) = headers.get("rowmill-message-id").and_then(|id| id.to_str().ok()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if desk.slow.load(Ordering::SeqCst) {
        tokio::time::sleep(SLOW).await;
    }
    let mut seen = lock(&desk.seen);
    let next = seen.messages.len();
    let (place, times) = seen.messages.entry(id.to_owned()).or_insert((next, 0));
    *times += 1;
    if *place % NEVER == 0 {
        StatusCode::UNPROCESSABLE_ENTITY.into_response()
    } else if *place % AGAIN == 0 && *times == 1 {
        let again = StatusCode::SERVICE_UNAVAILABLE;
        match (*place / AGAIN) % MUCH_LATER {
            0 => (again, [(RETRY_AFTER, SECONDS)]).into_response(),
            _ => again.into_response(),
        }
    } else {
        StatusCode::OK.into_response()
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
