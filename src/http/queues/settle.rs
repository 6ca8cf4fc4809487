//! Ending deliveries by their receipts, and giving consumers longer.
//!
//! A receipt is the only right to settle a delivery, and the broker asks for nothing else. That a
//! settle names receipts of the queue in its path is looked at here: one of another queue is a
//! mistake of its sender, and nothing of that request is done. An extend needs no such care.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::api;
use crate::broker::Broker;
use crate::domain::{QueueName, Receipt, Settled, Settlement, Verdict};
use crate::http::extract::{JsonBody, PathName};
use crate::http::limits::MessageLimits;
use crate::http::messages::{delay, extend_leases, lasting};
use crate::http::openapi::PROBLEM;
use crate::http::refusals::{OfBody, UNSUPPORTED};
use crate::http::workers::WorkerName;
use crate::http::{ApiError, App};

#[utoipa::path(
    post,
    path = "/queues/{queue}/settle",
    tag = "queues",
    summary = "Ends deliveries in one step: done, to be tried again, dead, handed back",
    params(("queue" = String, Path, description = "Its name")),
    request_body = api::Settle,
    responses(
        (status = 200, description = "What was done, and the receipts that settle nothing any more", body = api::Settled),
        OfBody,
        (status = 404, description = "There is no such queue", body = api::Problem, content_type = PROBLEM),
        (status = 410, description = "Not one of the receipts settles anything any more", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The request says something that cannot be", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["consume"])),
)]
pub(super) async fn settle<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(queue): PathName<QueueName>,
    worker: WorkerName,
    JsonBody(asked, _room): JsonBody<api::Settle>,
) -> Result<Json<api::Settled>, ApiError> {
    app.broker.number_of(&queue).await?;
    let settlements = by_lease(asked, app.limits.messages, &app.limits.message)?;
    let leases: Vec<Uuid> = settlements.iter().map(|(receipt, _)| receipt.0).collect();
    let mut answer = api::Settled::default();
    if settlements.is_empty() {
        return Ok(Json(answer));
    }
    if let Some(foreign) = foreign(&app, &queue, &leases).await? {
        return Err(ApiError::invalid(format!(
            "the receipts of lease {foreign} are of another queue than `{queue}`"
        )));
    }
    let settled = app.broker.settle(settlements).await?;
    let ended = |settled: &Settled| u64::from(settled.done + settled.dead + settled.again);
    let each = leases.iter().copied().zip(settled.iter().map(ended));
    app.workers.settled(&worker, &queue, each, app.store.clock.now_ms());
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

/// One of these leases that is on another queue, if any is.
async fn foreign<B: Broker + Clone>(
    app: &App<B>,
    queue: &QueueName,
    leases: &[Uuid],
) -> Result<Option<Uuid>, ApiError> {
    let known = app.broker.number_of(queue).await?;
    if app.store.log.foreign_lease(known, leases).await?.is_none() {
        return Ok(None);
    }
    // Another process may have given the name to another queue a moment ago.
    app.broker.names_changed();
    let number = app.broker.number_of(queue).await?;
    Ok(app.store.log.foreign_lease(number, leases).await?)
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
fn by_lease(
    asked: api::Settle,
    most: usize,
    limits: &MessageLimits,
) -> Result<Vec<(Receipt, Vec<Settlement>)>, ApiError> {
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
        let after = delay(nack.delay_seconds, limits)?;
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

#[utoipa::path(
    post,
    path = "/queues/{queue}/extend",
    tag = "queues",
    summary = "Gives leases longer, from now",
    description = "A lease is extended whole, with all messages that were received in it, by any of \
        its receipts.",
    params(("queue" = String, Path, description = "Its name")),
    request_body = api::Extend,
    responses(
        (status = 200, description = "How long each lasts; null where it was too late", body = api::Data<api::Extended>),
        OfBody,
        (status = 404, description = "There is no such queue", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The request says something that cannot be", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["consume"])),
)]
pub(super) async fn extend<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(queue): PathName<QueueName>,
    worker: WorkerName,
    JsonBody(asked, _room): JsonBody<api::Extend>,
) -> Result<Json<api::Data<api::Extended>>, ApiError> {
    app.broker.number_of(&queue).await?;
    let lasting = lasting(asked.seconds, &app.limits.message)?;
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
        false => extend_leases(&app, leases.clone(), lasting).await?,
    };
    let deadlines: HashMap<Uuid, Option<Duration>> =
        leases.iter().map(|lease| lease.0).zip(extended).collect();
    let longer = deadlines.iter().filter_map(|(lease, lasting)| Some((*lease, (*lasting)?)));
    app.workers.extended(&worker, &queue, longer, app.store.clock.now_ms());
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
        let leases = by_lease(asked, 5, &MessageLimits::default()).unwrap();
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
        assert!(
            by_lease(asked, 5, &MessageLimits::default())
                .unwrap_err()
                .problem
                .detail
                .contains("twice")
        );
    }

    #[test]
    fn what_passes_a_limit_is_refused() {
        let many = api::Settle { acks: vec![ack(1, 0), ack(1, 1)], ..api::Settle::default() };
        assert_eq!(by_lease(many, 1, &MessageLimits::default()).unwrap_err().problem.status, 422);
        for delay in [-1.0, 1e300, f64::NAN, 31_622_401.0] {
            let nack = api::Nack {
                receipt: receipt(1, 0),
                reason: String::new(),
                delay_seconds: Some(delay),
            };
            let asked = api::Settle { nacks: vec![nack], ..api::Settle::default() };
            assert_eq!(
                by_lease(asked, 5, &MessageLimits::default()).unwrap_err().problem.status,
                422,
                "{delay}"
            );
        }
    }
}
