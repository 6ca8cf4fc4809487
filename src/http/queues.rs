//! Queues: receiving, settling, extending.
//!
//! A receipt is the only right to settle a delivery, and the broker asks for nothing else. That a
//! settle names receipts of the queue in its path is looked at here: one of another queue is a
//! mistake of its sender, and nothing of that request is done. An extend needs no such care.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::delivery::deliveries;
use super::extract::{JsonBody, PathName, QueryOf};
use super::{ApiError, App};
use crate::api;
use crate::broker::Broker;
use crate::domain::{QueueName, Receipt, Settlement, Verdict};
use crate::store::log::QueueId;

/// The longest delay that a nack may ask for.
const MOST_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new()
        .route("/queues/{queue}/messages", get(receive::<B>))
        .route("/queues/{queue}/settle", post(settle::<B>))
        .route("/queues/{queue}/extend", post(extend::<B>))
        .layer(Extension(KnownQueues::default()))
}

/// Queues that were found once, so that not every settle asks the database for its queue. One that
/// was deleted since does no harm here: its receipts settle nothing.
#[derive(Debug, Clone, Default)]
struct KnownQueues(Arc<RwLock<HashMap<QueueName, QueueId>>>);

impl KnownQueues {
    /// The queue's number; 404 when there is no such queue.
    async fn find<B: Broker + Clone>(
        &self,
        app: &App<B>,
        queue: &QueueName,
    ) -> Result<QueueId, ApiError> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(queue).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = app.store.control.queue(queue).await?;
        let id = found.ok_or_else(|| ApiError::missing("queue", queue))?.id;
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(queue.clone(), id);
        Ok(id)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReceiveQuery {
    limit: Option<usize>,
    /// Seconds.
    wait: Option<f64>,
}

async fn receive<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(queue): PathName<QueueName>,
    QueryOf(asked): QueryOf<ReceiveQuery>,
) -> Result<([(HeaderName, &'static str); 1], Json<api::Data<api::Delivery>>), ApiError> {
    let most = app.limits.messages;
    let limit = asked.limit.unwrap_or(1);
    if !(1..=most).contains(&limit) {
        return Err(ApiError::invalid(format!("`limit` is 1 to {most}, not {limit}")));
    }
    let longest = app.limits.receive_wait;
    let wait = seconds(asked.wait.unwrap_or(0.0), longest).ok_or_else(|| {
        let longest = longest.as_secs_f64();
        ApiError::invalid(format!("`wait` is 0 to {longest} seconds"))
    })?;
    let leases = tokio::select! {
        leases = app.broker.receive(&queue, limit, wait) => leases?,
        // What it may have leased by then is handed back by the broker.
        () = app.stop.cancelled() => vec![],
    };
    let now_ms = app.store.clock.now_ms();
    let answer = |lease| deliveries(lease, &queue, now_ms);
    let data = leases.into_iter().flat_map(answer).collect::<Result<_, _>>()?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(api::Data { data })))
}

/// Seconds as a duration, if they are 0 to `most`.
fn seconds(seconds: f64, most: Duration) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= most)
}

async fn settle<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(queue): PathName<QueueName>,
    Extension(known): Extension<KnownQueues>,
    JsonBody(asked, _room): JsonBody<api::Settle>,
) -> Result<Json<api::Settled>, ApiError> {
    let number = known.find(&app, &queue).await?;
    let settlements = by_lease(asked, app.limits.messages)?;
    let leases: Vec<Uuid> = settlements.iter().map(|(receipt, _)| receipt.0).collect();
    let mut answer = api::Settled::default();
    if settlements.is_empty() {
        return Ok(Json(answer));
    }
    if let Some(foreign) = app.store.log.foreign_lease(number, &leases).await? {
        return Err(ApiError::invalid(format!(
            "the receipts of lease {foreign} are of another queue than `{queue}`"
        )));
    }
    let settled = app.broker.settle(settlements).await?;
    for (lease, settled) in leases.into_iter().zip(settled) {
        answer.done += settled.done;
        answer.dead += settled.dead;
        answer.again += settled.again;
        let receipt = |position| api::Receipt { lease, position };
        answer.stale.extend(settled.stale.into_iter().map(receipt));
    }
    if answer.done + answer.dead + answer.again == 0 {
        return Err(stale());
    }
    Ok(Json(answer))
}

/// Not one of the receipts settles anything any more. Where some do, the answer names the others.
fn stale() -> ApiError {
    ApiError::new(
        StatusCode::GONE,
        api::STALE_RECEIPTS,
        "The receipts settle nothing any more",
        "every message named was settled before, or its deadline passed and it comes again",
    )
}

/// What is asked of each lease, in the order asked: acks, nacks, rejects, releases.
fn by_lease(asked: api::Settle, most: usize) -> Result<Vec<(Receipt, Vec<Settlement>)>, ApiError> {
    let n = asked.acks.len() + asked.nacks.len() + asked.rejects.len() + asked.releases.len();
    if n > most {
        return Err(ApiError::invalid(format!(
            "one request settles {most} messages at most, not {n}"
        )));
    }
    let mut all = Vec::with_capacity(n);
    for ack in asked.acks {
        let text = |output: Box<RawValue>| -> Box<str> { output.into() };
        all.push((ack.receipt, Verdict::Done { output: ack.output.map(text) }));
    }
    for nack in asked.nacks {
        let delay = |asked| {
            seconds(asked, MOST_DELAY).ok_or_else(|| {
                let most = MOST_DELAY.as_secs();
                ApiError::invalid(format!("`delay_seconds` is 0 to {most}, not {asked}"))
            })
        };
        let after = nack.delay_seconds.map(delay).transpose()?;
        all.push((nack.receipt, Verdict::Retry { reason: nack.reason.into(), after }));
    }
    for reject in asked.rejects {
        all.push((reject.receipt, Verdict::Reject { reason: reject.reason.into() }));
    }
    all.extend(asked.releases.into_iter().map(|receipt| (receipt, Verdict::Release)));

    let mut seen = HashSet::with_capacity(n);
    let mut places = HashMap::new();
    let mut leases: Vec<(Receipt, Vec<Settlement>)> = vec![];
    for (receipt, verdict) in all {
        if !seen.insert(receipt) {
            return Err(ApiError::invalid(format!("the receipt {receipt} is there twice")));
        }
        let place = *places.entry(receipt.lease).or_insert_with(|| {
            leases.push((Receipt(receipt.lease), vec![]));
            leases.len() - 1
        });
        leases[place].1.push(Settlement { position: receipt.position, verdict });
    }
    Ok(leases)
}

async fn extend<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(queue): PathName<QueueName>,
    Extension(known): Extension<KnownQueues>,
    JsonBody(asked, _room): JsonBody<api::Extend>,
) -> Result<Json<api::Data<api::Extended>>, ApiError> {
    known.find(&app, &queue).await?;
    let (most, n) = (app.limits.messages, asked.receipts.len());
    if n > most {
        return Err(ApiError::invalid(format!(
            "one request extends {most} receipts at most, not {n}"
        )));
    }
    // A lease is extended once, however many of its receipts are named.
    let mut seen = HashSet::new();
    let leases: Vec<Receipt> = asked
        .receipts
        .iter()
        .filter(|receipt| seen.insert(receipt.lease))
        .map(|receipt| Receipt(receipt.lease))
        .collect();
    let extended = match leases.is_empty() {
        true => vec![],
        false => app.broker.extend(leases.clone()).await?,
    };
    let deadlines: HashMap<Uuid, Option<Duration>> =
        leases.iter().map(|lease| lease.0).zip(extended).collect();
    let answer = |receipt: api::Receipt| {
        let deadline = deadlines.get(&receipt.lease).copied().flatten();
        api::Extended { receipt, deadline_seconds: deadline.map(|left| left.as_secs_f64()) }
    };
    Ok(Json(api::Data { data: asked.receipts.into_iter().map(answer).collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(lease: u128, position: u16) -> api::Receipt {
        api::Receipt { lease: Uuid::from_u128(lease), position }
    }

    fn ack(lease: u128, position: u16) -> api::Ack {
        api::Ack { receipt: receipt(lease, position), output: None }
    }

    #[test]
    fn what_is_settled_goes_by_lease_in_the_order_asked() {
        let asked = api::Settle {
            acks: vec![ack(2, 3), ack(1, 0), ack(2, 1)],
            releases: vec![receipt(3, 0), receipt(1, 7)],
            ..api::Settle::default()
        };
        let leases = by_lease(asked, 5).unwrap();
        let places: Vec<(u128, Vec<u16>)> = leases
            .iter()
            .map(|(lease, all)| (lease.0.as_u128(), all.iter().map(|one| one.position).collect()))
            .collect();
        assert_eq!(places, [(2, vec![3, 1]), (1, vec![0, 7]), (3, vec![0])]);
    }

    #[test]
    fn a_receipt_is_settled_once_in_a_request() {
        let asked = api::Settle {
            acks: vec![ack(1, 0)],
            releases: vec![receipt(1, 0)],
            ..api::Settle::default()
        };
        assert!(by_lease(asked, 5).unwrap_err().problem.detail.contains("twice"));
    }

    #[test]
    fn what_passes_a_limit_is_refused() {
        let many = api::Settle { acks: vec![ack(1, 0), ack(1, 1)], ..api::Settle::default() };
        assert_eq!(by_lease(many, 1).unwrap_err().problem.status, 422);
        for delay in [-1.0, 1e300, f64::NAN, MOST_DELAY.as_secs_f64() + 1.0] {
            let nack = api::Nack {
                receipt: receipt(1, 0),
                reason: String::new(),
                delay_seconds: Some(delay),
            };
            let asked = api::Settle { nacks: vec![nack], ..api::Settle::default() };
            assert_eq!(by_lease(asked, 5).unwrap_err().problem.status, 422, "{delay}");
        }
    }
}
