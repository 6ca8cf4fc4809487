//! Who consumed which queue lately: `GET /workers`.
//!
//! A server knows those that came to it, by what they did: a receive, a settle, a socket. It keeps that in
//! memory, for a while and for so many of them, so it says nothing of workers that come to another server
//! or straight to the database, and forgets all when it ends.
//!
//! A worker's name is what it says of itself (`rowmill-worker`), or else its program's (`user-agent`):
//! several without names are one.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, Uri, header};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::OpenApi;
use uuid::Uuid;

use super::openapi::PROBLEM;
use super::time::rfc3339;
use super::{ApiError, App};
use crate::api;
use crate::broker::Broker;
use crate::domain::{Lease, QueueName, units};

/// What a worker says of itself.
const NAME: HeaderName = HeaderName::from_static(api::WORKER_HEADER);
/// Characters of a name.
const NAME_LONG: usize = 64;
/// The rate is measured over so many stretches of [`STRETCH`], the one under way among them.
const STRETCHES: usize = 6;
const STRETCH: Duration = Duration::from_secs(10);

/// What is remembered of workers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkersLimits {
    /// Workers remembered, one for each queue that it consumes. 1,000; the longest unseen goes first.
    pub most: usize,
    /// For how long after they were last seen. 15 min.
    #[serde(with = "units::time")]
    pub kept: Duration,
}

impl Default for WorkersLimits {
    fn default() -> Self {
        Self { most: 1_000, kept: Duration::from_secs(15 * 60) }
    }
}

/// Who asks, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WorkerName(String);

impl<S: Sync> FromRequestParts<S> for WorkerName {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let said = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let program = || said(header::USER_AGENT)?.split_whitespace().next();
        let name = said(NAME).map(str::trim).filter(|name| !name.is_empty()).or_else(program);
        Ok(Self(name.unwrap_or("unnamed").chars().take(NAME_LONG).collect()))
    }
}

/// One worker at one queue.
#[derive(Debug)]
struct Seen {
    last: Instant,
    last_ms: i64,
    received: u64,
    settled: u64,
    /// What was settled in each of the last stretches of time, by the number of the stretch.
    lately: [(u64, u64); STRETCHES],
    /// What is left of each lease, and until when.
    leases: HashMap<Uuid, (u64, Instant)>,
    /// The same of a socket, which counts for itself.
    held: u64,
}

impl Seen {
    fn new(now: Instant) -> Self {
        Self {
            last: now,
            last_ms: 0,
            received: 0,
            settled: 0,
            lately: [(0, 0); STRETCHES],
            leases: HashMap::new(),
            held: 0,
        }
    }

    fn settle(&mut self, n: u64, stretch: u64) {
        self.settled += n;
        let at = usize::try_from(stretch).unwrap_or(0) % STRETCHES;
        if self.lately[at].0 != stretch {
            self.lately[at] = (stretch, 0);
        }
        self.lately[at].1 += n;
    }

    fn per_second(&self, stretch: u64) -> f64 {
        let first = stretch.saturating_sub(STRETCHES as u64 - 1);
        let fresh = self.lately.iter().filter(|(at, _)| (first..=stretch).contains(at));
        let n: u64 = fresh.map(|(_, n)| n).sum();
        #[allow(clippy::cast_precision_loss)] // messages of a minute
        let rate = n as f64 / (STRETCH.as_secs_f64() * STRETCHES as f64);
        (rate * 100.0).round() / 100.0
    }
}

type All = HashMap<(WorkerName, QueueName), Seen>;

/// The workers that this server has seen. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct WorkersSeen {
    all: Arc<Mutex<All>>,
    limits: WorkersLimits,
    began: Instant,
}

impl WorkersSeen {
    pub(super) fn new(limits: &WorkersLimits) -> Self {
        Self { all: Arc::default(), limits: limits.clone(), began: Instant::now() }
    }

    /// It asked for messages, or was given some.
    pub(super) fn received(&self, name: &WorkerName, queue: &QueueName, leases: &[Lease], ms: i64) {
        self.note(name, queue, ms, |seen, now, _| {
            seen.leases.retain(|_, (_, until)| *until > now);
            for lease in leases {
                let n = lease.deliveries.len() as u64;
                seen.received += n;
                seen.leases.insert(lease.receipt.0, (n, now + lease.deadline));
            }
        });
    }

    /// It settled so many messages of these leases.
    pub(super) fn settled(
        &self,
        name: &WorkerName,
        queue: &QueueName,
        leases: impl Iterator<Item = (Uuid, u64)>,
        ms: i64,
    ) {
        self.note(name, queue, ms, |seen, _, stretch| {
            for (lease, n) in leases {
                seen.settle(n, stretch);
                if let Some((left, _)) = seen.leases.get_mut(&lease) {
                    *left = left.saturating_sub(n);
                    if *left == 0 {
                        seen.leases.remove(&lease);
                    }
                }
            }
        });
    }

    /// It has these leases for longer.
    pub(super) fn extended(
        &self,
        name: &WorkerName,
        queue: &QueueName,
        leases: impl Iterator<Item = (Uuid, Duration)>,
        ms: i64,
    ) {
        self.note(name, queue, ms, |seen, now, _| {
            for (lease, lasting) in leases {
                if let Some((_, until)) = seen.leases.get_mut(&lease) {
                    *until = now + lasting;
                }
            }
        });
    }

    /// A socket was sent, and settled, so many, and what it holds is that many more, or fewer.
    pub(super) fn socket(
        &self,
        name: &WorkerName,
        queue: &QueueName,
        (received, settled): (usize, usize),
        held: (usize, usize),
        ms: i64,
    ) {
        self.note(name, queue, ms, |seen, _, stretch| {
            seen.received += received as u64;
            seen.settle(settled as u64, stretch);
            seen.held = (seen.held + held.1 as u64).saturating_sub(held.0 as u64);
        });
    }

    fn note(
        &self,
        name: &WorkerName,
        queue: &QueueName,
        ms: i64,
        note: impl FnOnce(&mut Seen, Instant, u64),
    ) {
        let (now, stretch) = self.now();
        let mut all = self.lock();
        let key = (name.clone(), queue.clone());
        if !all.contains_key(&key) && all.len() >= self.limits.most {
            let oldest = all.iter().min_by_key(|(_, seen)| seen.last).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        if self.limits.most == 0 {
            return;
        }
        let seen = all.entry(key).or_insert_with(|| Seen::new(now));
        (seen.last, seen.last_ms) = (now, ms);
        note(seen, now, stretch);
    }

    /// Those last seen first.
    fn list(&self) -> Vec<api::WorkerSeen> {
        let (now, stretch) = self.now();
        let mut all = self.lock();
        let kept = self.limits.kept;
        all.retain(|_, seen| now.duration_since(seen.last) <= kept);
        let mut list: Vec<(Instant, api::WorkerSeen)> = all
            .iter()
            .map(|((name, queue), seen)| {
                let leased = seen.leases.values().filter(|(_, until)| *until > now);
                let worker = api::WorkerSeen {
                    name: name.0.clone(),
                    queue: queue.to_string(),
                    last_seen_at: rfc3339(seen.last_ms),
                    received: seen.received,
                    settled: seen.settled,
                    settled_per_second: seen.per_second(stretch),
                    in_flight: seen.held + leased.map(|(left, _)| left).sum::<u64>(),
                };
                (seen.last, worker)
            })
            .collect();
        list.sort_by(|(a, one), (b, other)| {
            b.cmp(a).then_with(|| (&one.name, &one.queue).cmp(&(&other.name, &other.queue)))
        });
        list.into_iter().map(|(_, worker)| worker).collect()
    }

    /// Now, and the number of its stretch; the first is 1, as 0 stands for none.
    fn now(&self) -> (Instant, u64) {
        let now = Instant::now();
        (now, now.duration_since(self.began).as_secs() / STRETCH.as_secs() + 1)
    }

    /// Each note is whole, so what a panic left behind is good.
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new().route("/workers", get(seen_lately::<B>))
}

#[derive(OpenApi)]
#[openapi(paths(seen_lately))]
struct Docs;

/// What this file adds to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

#[utoipa::path(
    get,
    path = "/workers",
    tag = "queues",
    summary = "Who consumed which queue lately",
    description = "As far as this server knows: those that came to it in the last 15 minutes, the last seen \
        first, 1,000 at most. Workers that go to another server or to the database are not among them. A \
        worker says its name in the header `rowmill-worker`; one that says none is known by its program.",
    responses(
        (status = 200, description = "They", body = api::Data<api::WorkerSeen>),
        (status = 422, description = "There are no parameters", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
async fn seen_lately<B: Broker + Clone>(
    State(app): State<App<B>>,
    uri: Uri,
) -> Result<Json<api::Data<api::WorkerSeen>>, ApiError> {
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(ApiError::invalid("there are no parameters"));
    }
    Ok(Json(api::Data { data: app.workers.list() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(most: usize) -> (WorkersSeen, QueueName) {
        let limits = WorkersLimits { most, ..WorkersLimits::default() };
        (WorkersSeen::new(&limits), "rows".parse().unwrap())
    }

    fn named(name: &str) -> WorkerName {
        WorkerName(name.into())
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_worker_did_lately_is_told() {
        let (workers, queue) = seen(10);
        workers.socket(&named("a"), &queue, (7, 0), (0, 7), 1_000);
        workers.socket(&named("a"), &queue, (0, 6), (7, 1), 2_000);
        let list = workers.list();
        let [one] = &list[..] else { panic!("{list:?}") };
        assert_eq!((one.received, one.settled, one.in_flight), (7, 6, 1));
        assert!((one.settled_per_second - 0.1).abs() < 1e-9);
        assert_eq!(one.last_seen_at, rfc3339(2_000));
        tokio::time::advance(Duration::from_secs(70)).await;
        assert!(workers.list()[0].settled_per_second < 1e-9, "a minute has passed");
        tokio::time::advance(Duration::from_secs(15 * 60)).await;
        assert!(workers.list().is_empty(), "it was not seen for long");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_remembered() {
        let (workers, queue) = seen(2);
        for name in ["a", "b", "a", "c"] {
            workers.socket(&named(name), &queue, (1, 1), (0, 0), 0);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let names: Vec<String> = workers.list().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["c", "a"]);
    }

    #[tokio::test]
    async fn a_name_is_said_or_the_programs() {
        let of = async |pairs: &[(&str, &str)]| {
            let mut request = axum::http::Request::builder();
            for (name, value) in pairs {
                request = request.header(*name, *value);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            WorkerName::from_request_parts(&mut parts, &()).await.unwrap().0
        };
        assert_eq!(of(&[]).await, "unnamed");
        assert_eq!(of(&[("user-agent", "python-requests/2.32 (x)")]).await, "python-requests/2.32");
        assert_eq!(of(&[("user-agent", "x"), ("rowmill-worker", " mill-1 ")]).await, "mill-1");
        assert_eq!(of(&[("rowmill-worker", &"x".repeat(500))]).await.len(), NAME_LONG);
    }
}
