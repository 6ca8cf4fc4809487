//! A queue behind a server, as a worker sees it: leases made of deliveries that share one, and
//! settlements put into the API's words and back.
//!
//! The API counts what a settle did over all of it and names stale receipts one by one; a worker
//! wants the counts a lease. They follow from what was asked: an ack that is not stale is done, a
//! reject dead, a nack or a release comes again. Only a nack at its last attempt differs, for it is
//! dead; so many of these as the server counts on top of the rejects are put on the first leases
//! with nacks. The sums are right; to which lease a last attempt belonged is not told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Client, ClientError};
use crate::api;
use crate::broker::{BrokerError, Source};
use crate::domain::{
    Delivery, Lease, Origin, QueueName, Receipt, RowNumber, Settled, Settlement, Verdict,
};

/// What one settlement takes of a request besides its texts, about.
const SETTLEMENT_BYTES: usize = 100;

/// One queue of a server.
#[derive(Debug, Clone)]
pub struct RemoteSource {
    client: Client,
    queue: QueueName,
}

impl RemoteSource {
    /// The queue of that name.
    pub fn new(client: Client, queue: QueueName) -> Self {
        Self { client, queue }
    }

    fn error(&self, error: ClientError) -> BrokerError {
        let about_the_queue = |problem: &api::Problem| {
            problem.status == 404 && problem.kind.starts_with("/problems/")
        };
        // A 404 that is no document of the API comes from something else at that address, which may
        // not be there tomorrow.
        if error.problem().is_some_and(about_the_queue) {
            return BrokerError::NoQueue(self.queue.clone());
        }
        if let Some(problem) = error.problem()
            && problem.kind.ends_with(api::UNSUPPORTED)
        {
            let what = "that".to_owned();
            return BrokerError::Unsupported { what, why: problem.detail.clone() };
        }
        if error.is_not_allowed() {
            return BrokerError::NotAllowed(Box::new(error));
        }
        BrokerError::Store(Box::new(error))
    }
}

impl Source for RemoteSource {
    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Lease>, BrokerError> {
        if *queue != self.queue {
            // Its messages could be received but never settled here.
            return Err(BrokerError::NoQueue(queue.clone()));
        }
        let received = self.client.receive(queue.as_str(), max, wait).await;
        leases(received.map_err(|error| self.error(error))?).map_err(|detail| {
            let url = self.client.address();
            BrokerError::Store(Box::new(ClientError::BadAnswer { url, detail }))
        })
    }

    /// Everything in one request, unless the outputs are longer than one may be: then in several,
    /// each of which is applied whole or not at all.
    async fn settle(
        &self,
        settlements: Vec<(Receipt, Vec<Settlement>)>,
    ) -> Result<Vec<Settled>, BrokerError> {
        let limits = self.client.limits();
        let mut answers = vec![Settled::default(); settlements.len()];
        for part in parts(settlements, limits.messages, limits.settle_bytes) {
            let settled = self.client.settle(self.queue.as_str(), &part.words).await;
            attribute(&part.asked, &settled.map_err(|error| self.error(error))?, &mut answers);
        }
        Ok(answers)
    }

    async fn extend(&self, receipts: Vec<Receipt>) -> Result<Vec<Option<Duration>>, BrokerError> {
        let mut deadlines = HashMap::new();
        for some in receipts.chunks(self.client.limits().messages) {
            // Any of a lease's receipts extends the whole of it.
            let asked = some.iter().map(|receipt| receipt_of(*receipt, 0)).collect();
            let extended = self.client.extend(self.queue.as_str(), asked).await;
            for one in extended.map_err(|error| self.error(error))? {
                let deadline = one.deadline_seconds.and_then(seconds);
                deadlines.insert(one.receipt.lease, deadline);
            }
        }
        Ok(receipts.iter().map(|receipt| deadlines.get(&receipt.0).copied().flatten()).collect())
    }
}

fn receipt_of(lease: Receipt, position: u16) -> api::Receipt {
    api::Receipt { lease: lease.0, position }
}

fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok()
}

/// Deliveries by their lease, in the order they came.
fn leases(received: Vec<api::Delivery>) -> Result<Vec<Lease>, String> {
    let mut places: HashMap<Uuid, usize> = HashMap::new();
    let mut leases: Vec<Lease> = vec![];
    let mut names: Names = HashMap::new();
    for one in received {
        let receipt = Receipt(one.receipt.lease);
        let deadline = seconds(one.deadline_seconds)
            .ok_or_else(|| format!("a deadline of {} seconds", one.deadline_seconds))?;
        let id = one.id.parse().map_err(|_| format!("`{}` is no message's id", one.id))?;
        let origin = match (one.upload_id, one.row) {
            (Some(upload_id), Some(row)) => Some(Origin {
                upload_id,
                filename: shared(&mut names, one.filename.unwrap_or_default()),
                sheet: one.sheet.map(|sheet| shared(&mut names, sheet)),
                row: RowNumber(row),
            }),
            _ => None,
        };
        let delivery = Delivery {
            receipt,
            position: one.receipt.position,
            id,
            attempt: one.delivery_attempts,
            origin,
            data: one.data.into(),
            attributes: one.attributes.map(Into::into),
            created_ms: millis(&one.created_at).unwrap_or_default(),
            expires_ms: one.expired_at.as_deref().and_then(millis),
        };
        let place = *places.entry(receipt.0).or_insert_with(|| {
            leases.push(Lease { receipt, deadline, deliveries: vec![] });
            leases.len() - 1
        });
        leases[place].deadline = leases[place].deadline.min(deadline);
        leases[place].deliveries.push(delivery);
    }
    Ok(leases)
}

/// A time of the API in milliseconds since 1970 (UTC), if it is one.
fn millis(text: &str) -> Option<i64> {
    let since = humantime::parse_rfc3339(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// The few names that all of a receive's rows have in common.
type Names = HashMap<String, Arc<str>>;

fn shared(names: &mut Names, name: String) -> Arc<str> {
    Arc::clone(names.entry(name).or_insert_with_key(|name| Arc::from(name.as_str())))
}

/// What was asked for a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Ack,
    Nack,
    Reject,
    Release,
}

/// One request's part of a settle.
#[derive(Debug, Default)]
struct Part {
    words: api::Settle,
    /// What each receipt in it asks for, and the place of its lease in the whole.
    asked: Vec<(usize, api::Receipt, Asked)>,
    bytes: usize,
}

impl Part {
    fn push(&mut self, place: usize, receipt: api::Receipt, verdict: Verdict) {
        let asked = match verdict {
            Verdict::Done { output } => {
                self.words.acks.push(api::Ack { receipt, output: output.map(json) });
                Asked::Ack
            }
            Verdict::Retry { reason, after } => {
                let delay_seconds = after.map(|after| after.as_secs_f64());
                let reason = reason.into();
                self.words.nacks.push(api::Nack { receipt, reason, delay_seconds });
                Asked::Nack
            }
            Verdict::Reject { reason } => {
                self.words.rejects.push(api::Reject { receipt, reason: reason.into() });
                Asked::Reject
            }
            Verdict::Release => {
                self.words.releases.push(receipt);
                Asked::Release
            }
        };
        self.asked.push((place, receipt, asked));
    }
}

/// An output as JSON; the worker has seen to it that it is, and a text that is none is a string.
fn json(output: Box<str>) -> Box<RawValue> {
    let text = String::from(output);
    RawValue::from_string(text.clone())
        .or_else(|_| serde_json::value::to_raw_value(&text))
        .unwrap_or_default()
}

fn parts(
    settlements: Vec<(Receipt, Vec<Settlement>)>,
    most: usize,
    most_bytes: usize,
) -> Vec<Part> {
    let mut parts: Vec<Part> = vec![];
    let mut part = Part::default();
    for (place, (lease, settlements)) in settlements.into_iter().enumerate() {
        for Settlement { position, verdict } in settlements {
            let bytes = SETTLEMENT_BYTES
                + match &verdict {
                    Verdict::Done { output } => output.as_ref().map_or(0, |output| output.len()),
                    Verdict::Retry { reason, .. } | Verdict::Reject { reason } => reason.len(),
                    Verdict::Release => 0,
                };
            let full = part.asked.len() >= most || part.bytes + bytes > most_bytes;
            if full && !part.asked.is_empty() {
                parts.push(std::mem::take(&mut part));
            }
            part.bytes += bytes;
            part.push(place, receipt_of(lease, position), verdict);
        }
    }
    if !part.asked.is_empty() {
        parts.push(part);
    }
    parts
}

/// Adds what one request did to the answers of the leases it was about.
fn attribute(
    asked: &[(usize, api::Receipt, Asked)],
    settled: &api::Settled,
    answers: &mut [Settled],
) {
    let stale: HashSet<_> = settled.stale.iter().collect();
    let mut nacked = vec![];
    let mut rejected = 0;
    for (place, receipt, asked) in asked {
        let Some(answer) = answers.get_mut(*place) else { continue };
        if stale.contains(receipt) {
            answer.stale.push(receipt.position);
            continue;
        }
        match asked {
            Asked::Ack => answer.done += 1,
            Asked::Reject => {
                answer.dead += 1;
                rejected += 1;
            }
            Asked::Release => answer.again += 1,
            Asked::Nack => {
                answer.again += 1;
                nacked.push(*place);
            }
        }
    }
    let last_attempts = settled.dead.saturating_sub(rejected) as usize;
    for place in nacked.into_iter().take(last_attempts) {
        if let Some(answer) = answers.get_mut(place) {
            answer.again -= 1;
            answer.dead += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(n: u128) -> Receipt {
        Receipt(Uuid::from_u128(n))
    }

    fn settlement(position: u16, verdict: Verdict) -> Settlement {
        Settlement { position, verdict }
    }

    fn done(output: &str) -> Verdict {
        Verdict::Done { output: Some(output.into()) }
    }

    fn retry() -> Verdict {
        Verdict::Retry { reason: "no".into(), after: Some(Duration::from_millis(1_500)) }
    }

    fn reject() -> Verdict {
        Verdict::Reject { reason: "bad".into() }
    }

    #[test]
    fn a_settle_is_put_into_the_words_of_the_api() {
        let asked = vec![
            (lease(1), vec![settlement(0, done("{\"a\":1.10}")), settlement(3, retry())]),
            (lease(2), vec![settlement(7, reject()), settlement(8, Verdict::Release)]),
        ];
        let parts = parts(asked, 10, 10_000);
        let one = Uuid::from_u128(1).simple();
        let two = Uuid::from_u128(2).simple();
        let expected = format!(
            r#"{{"acks":[{{"receipt":"{one}.0","output":{{"a":1.10}}}}],"nacks":[{{"receipt":"{one}.3","reason":"no","delay_seconds":1.5}}],"rejects":[{{"receipt":"{two}.7","reason":"bad"}}],"releases":["{two}.8"]}}"#
        );
        assert_eq!(parts.len(), 1);
        assert_eq!(serde_json::to_string(&parts[0].words).unwrap(), expected);
    }

    #[test]
    fn counts_of_the_whole_are_told_by_lease() {
        let asked = vec![
            (lease(1), vec![settlement(0, done("1")), settlement(1, done("2"))]),
            (lease(2), vec![settlement(0, retry()), settlement(1, retry())]),
            (lease(3), vec![settlement(0, retry()), settlement(1, reject())]),
            (lease(4), vec![settlement(4, Verdict::Release), settlement(5, reject())]),
        ];
        let part = parts(asked, 100, 10_000).remove(0);
        let stale = vec![receipt_of(lease(1), 1), receipt_of(lease(4), 5)];
        // Two of the three nacks were last attempts.
        let settled = api::Settled { done: 1, dead: 3, again: 2, stale };
        let mut answers = vec![Settled::default(); 4];
        attribute(&part.asked, &settled, &mut answers);
        let expected = [
            Settled { done: 1, stale: vec![1], ..Settled::default() },
            Settled { dead: 2, ..Settled::default() },
            Settled { dead: 1, again: 1, ..Settled::default() },
            Settled { again: 1, stale: vec![5], ..Settled::default() },
        ];
        assert_eq!(answers, expected);
    }

    #[test]
    fn long_outputs_go_in_several_requests() {
        let long = format!("\"{}\"", "x".repeat(600));
        let settlements = (0..5).map(|n| settlement(n, done(&long))).collect();
        let parts = parts(vec![(lease(1), settlements)], 100, 1_500);
        assert_eq!(parts.iter().map(|part| part.asked.len()).collect::<Vec<_>>(), [2, 2, 1]);
        let mut answers = vec![Settled::default()];
        for part in &parts {
            let done = u32::try_from(part.asked.len()).unwrap();
            attribute(&part.asked, &api::Settled { done, ..Default::default() }, &mut answers);
        }
        assert_eq!(answers[0].done, 5);
        assert!(super::parts(vec![(lease(1), vec![])], 10, 10).is_empty());
    }

    #[test]
    fn deliveries_are_gathered_into_their_leases() {
        let id = crate::domain::MessageKey::new(b"k").id(1, 1).to_string();
        let delivery = |n: u128, position: u16, deadline_seconds: f64| api::Delivery {
            receipt: receipt_of(lease(n), position),
            id: id.clone(),
            queue_id: "rows".into(),
            delivery_attempts: 2,
            created_at: "2026-11-22T10:30:00.007Z".into(),
            scheduled_at: "2026-11-22T10:31:00.007Z".into(),
            expired_at: None,
            updated_at: "2026-11-22T10:30:00.007Z".into(),
            deadline_seconds,
            upload_id: Some(Uuid::from_u128(9)),
            filename: Some("a.csv".into()),
            sheet: None,
            row: Some(17),
            data: json("{\"a\":1.10}".into()),
            attributes: None,
        };
        let all = vec![delivery(1, 0, 60.0), delivery(2, 0, 60.0), delivery(1, 1, 59.5)];
        let leases = leases(all).unwrap();
        assert_eq!(leases.iter().map(|l| l.deliveries.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(leases[0].deadline, Duration::from_millis(59_500));
        let second = &leases[0].deliveries[1];
        assert_eq!((second.position, second.attempt), (1, 2));
        assert_eq!(&*second.data, "{\"a\":1.10}");
        assert_eq!(second.origin.as_ref().unwrap().row, RowNumber(17));
        assert!(super::leases(vec![delivery(1, 0, f64::NAN)]).is_err());
        assert!(
            super::leases(vec![api::Delivery { id: "x".into(), ..delivery(1, 0, 1.0) }]).is_err()
        );
    }
}
