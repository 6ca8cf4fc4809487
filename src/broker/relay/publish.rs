//! Publishing over a carrier: rows of uploads, whose coverage moves only past what was confirmed, and
//! other messages.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Inner;
use super::parcels::{self, Times, bytes, bytes_of, parcel};
use super::send::WhenFull;
use crate::broker::attributes::RowAttributes;
use crate::broker::carrier::Carrier;
use crate::broker::error::BrokerError;
use crate::broker::fanout::route;
use crate::broker::published::{CopyOf, MessageBody, Once, Published, Publishing, RowBatch};
use crate::broker::publishes::{NotPublished, Placed, same_answer};
use crate::domain::number::named;
use crate::domain::{QueueName, RowOfUpload, TopicName};
use crate::store::StoreError;
use crate::store::control::{Routes, UploadState};
use crate::store::log::{
    CarriedBatch, End, Fence, LogError, NewSegment, OutcomeKind, Publication, QueueId, RowsOf,
    Taken,
};

/// Rows of a batch at most.
pub(super) const ROWS: usize = 1_000;

/// What of a batch has been sent to one queue.
#[derive(Default)]
struct Sent {
    rows: Vec<bool>,
    refused: Vec<End>,
}

impl<C: Carrier> Inner<C> {
    pub(super) async fn publish(
        &self,
        to: &Publishing,
        batch: &RowBatch,
    ) -> Result<Published, BrokerError> {
        let number = |row| {
            let of = RowOfUpload { upload: to.fence.upload.0, sheet: batch.sheet, row };
            of.number().map_err(|error| BrokerError::Unsupported {
                what: "so long a file".into(),
                why: error.to_string(),
            })
        };
        let first_id = number(batch.first_row)?;
        let numbers: Vec<i64> =
            batch.rows.iter().map(|row| number(row.row)).collect::<Result<_, _>>()?;
        let attributes = RowAttributes::of(to, batch);
        let mut sent: BTreeMap<QueueId, Sent> = BTreeMap::new();
        let mut anew = false;
        for _ in 0..=self.limits.reroutes {
            let routes = self.routes(to.topic, anew).await?;
            anew = true;
            let routed = route(&routes, numbers.len(), |at, name| attributes.value(at, name));
            match self.send_rows(to, batch, &numbers, &routes, routed.segments, &mut sent).await {
                // Deleted since the routes were read.
                Err(BrokerError::NoQueue(_)) => continue,
                sent => sent?,
            }
            let taken = |at: usize| sent.values().any(|sent| sent.rows.get(at) == Some(&true));
            let unrouted = (0..numbers.len()).filter(|at| !taken(*at)).count();
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let carried = CarriedBatch {
                topic: to.topic,
                routes_version: routes.version,
                first_id,
                messages: count(numbers.len()),
                rows: rows_of(to, batch)?,
                copies: sent
                    .iter()
                    .map(|(queue, sent)| {
                        (*queue, count(sent.rows.iter().filter(|one| **one).count()))
                    })
                    .collect(),
                unrouted: count(unrouted),
                refused: sent.values().flat_map(|sent| sent.refused.iter().cloned()).collect(),
            };
            match self.store.log.commit_carried(&carried).await {
                Ok(()) | Err(LogError::AlreadyThere) => {
                    let (all, unrouted) = (numbers.len() as u64, unrouted as u64);
                    return Ok(Published { routed: all - unrouted, unrouted });
                }
                Err(LogError::RoutesChanged) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LogError::RoutesChanged.into())
    }

    /// Sends what has not been sent yet of what each queue takes.
    async fn send_rows(
        &self,
        to: &Publishing,
        batch: &RowBatch,
        numbers: &[i64],
        routes: &Routes,
        segments: Vec<NewSegment>,
        sent: &mut BTreeMap<QueueId, Sent>,
    ) -> Result<(), BrokerError> {
        let now_ms = self.store.clock.now_ms();
        for segment in segments {
            let Some(route) = routes.queues.iter().find(|route| route.queue == segment.queue)
            else {
                continue;
            };
            self.check_delay(segment.delay)?;
            self.queue(&route.name).await?;
            let times = Times { now_ms, delay: segment.delay, retention: segment.retention };
            let done = sent.entry(segment.queue).or_default();
            done.rows.resize(numbers.len(), false);
            let places: Vec<usize> = offsets(&segment.taken, numbers.len())
                .into_iter()
                .filter(|at| done.rows.get(*at) == Some(&false))
                .collect();
            if places.is_empty() {
                continue;
            }
            let make = |at: usize| {
                let id = self.id_of(segment.queue, *numbers.get(at)?).to_string();
                parcels::row(to, batch, at, id, times)
            };
            let refused = self.send(&route.name, places.clone(), WhenFull::GoOn, make).await?;
            places.iter().for_each(|at| done.rows[*at] = true);
            done.refused.extend(refused.into_iter().filter_map(|(at, why)| {
                Some(End {
                    queue: segment.queue,
                    message: *numbers.get(at)?,
                    upload: Some(to.fence.upload),
                    kind: OutcomeKind::Dead,
                    attempts: 0,
                    item: Some(format!("the broker refused it: {why}").into()),
                })
            }));
        }
        Ok(())
    }

    pub(super) async fn publish_messages(
        &self,
        name: &TopicName,
        messages: Vec<MessageBody>,
        once: Option<Once>,
    ) -> Result<Vec<Vec<CopyOf>>, BrokerError> {
        let topic = self.names.topic(name).await?;
        if let Some(once) = &once
            && let Some(before) = self.store.log.publication(topic, &once.key).await?
        {
            let asked = Some((once.key.clone(), once.fingerprint.clone()));
            let placed = same_answer(&asked, &before).map_err(|error| match error {
                NotPublished::KeyReused => BrokerError::KeyReused,
                error => BrokerError::Store(Box::new(error)),
            })?;
            return self.copies(&placed);
        }
        let numbers: Vec<i64> = match &once {
            // The same again if this is asked again after a crash.
            Some(once) => {
                let topic = topic.0.to_be_bytes();
                let key = once.key.as_bytes();
                let number = |at: usize| named(&[b"once", &topic, key, &at.to_be_bytes()]);
                (0..messages.len()).map(number).collect()
            }
            None => {
                let first = self.routing.reserve_whole(messages.len()).await?.first_id;
                (first..).take(messages.len()).collect()
            }
        };
        let mut anew = false;
        for _ in 0..=self.limits.reroutes {
            let routes = self.routes(topic, anew).await?;
            anew = true;
            if routes.deleted {
                self.names.forget();
                return Err(BrokerError::NoTopic(name.clone()));
            }
            let (copies, segments) = match self.send_messages(&routes, &messages, &numbers).await {
                Err(BrokerError::NoQueue(_)) => continue,
                sent => sent?,
            };
            if let Some(once) = once {
                let placed = placed(&routes, &segments, &numbers);
                let answer = serde_json::to_string(&placed)
                    .map_err(|error| BrokerError::Store(Box::new(error)))?;
                let Once { key, fingerprint } = once;
                let publication = Publication { key, fingerprint, answer };
                self.store.log.remember_publication(topic, &publication).await?;
            }
            return Ok(copies);
        }
        Err(LogError::RoutesChanged.into())
    }

    /// Answers of each message its copies, and by what segments they came to be.
    async fn send_messages(
        &self,
        routes: &Arc<Routes>,
        messages: &[MessageBody],
        numbers: &[i64],
    ) -> Result<(Vec<Vec<CopyOf>>, Vec<NewSegment>), BrokerError> {
        let now_ms = self.store.clock.now_ms();
        let routed = route(routes, messages.len(), |at, name| {
            messages.get(at)?.attributes.get(name).map(|value| Cow::Borrowed(value.as_str()))
        });
        let mut copies: Vec<Vec<CopyOf>> = vec![vec![]; messages.len()];
        let mut sends = vec![];
        for segment in &routed.segments {
            let Some(route) = routes.queues.iter().find(|route| route.queue == segment.queue)
            else {
                continue;
            };
            self.check_delay(segment.delay)?;
            self.queue(&route.name).await?;
            let times = Times { now_ms, delay: segment.delay, retention: segment.retention };
            let places = offsets(&segment.taken, messages.len());
            for at in &places {
                if let (Some(copies), Some(number)) = (copies.get_mut(*at), numbers.get(*at)) {
                    // An id costs a keyed hash: each is made once, for the answer and for the parcel.
                    copies.push(CopyOf {
                        queue: route.name.clone(),
                        id: self.id_of(segment.queue, *number),
                        delay: segment.delay,
                        retention: segment.retention,
                    });
                }
            }
            sends.push((route, times, places));
        }
        let make = |queue: &QueueName, times: Times, at: usize| {
            let body = messages.get(at)?;
            let copy = copies.get(at)?.iter().find(|copy| copy.queue == *queue)?;
            Some(parcel(copy.id.to_string(), body.data.clone(), body.attributes.clone(), times))
        };
        let most = self.carrier.abilities().parcel_bytes;
        for (route, times, places) in &sends {
            let id = self.id_of(route.queue, 0).to_string();
            let empty = bytes(&parcel(id, Bytes::new(), BTreeMap::new(), *times));
            for at in places {
                let Some(body) = messages.get(*at) else { continue };
                let bytes = bytes_of(&body.data, &body.attributes, empty);
                if bytes > most {
                    return Err(BrokerError::Refused(format!(
                        "message {at}: with its attributes it has {bytes} bytes, and the broker \
                         carries {most} at most"
                    )));
                }
            }
        }
        for (route, times, places) in sends {
            let make = |at| make(&route.name, times, at);
            let refused = self.send(&route.name, places, WhenFull::Fail, make).await?;
            if let Some((at, why)) = refused.first() {
                let (n, queue) = (refused.len(), &route.name);
                return Err(BrokerError::Refused(format!(
                    "message {at}: {why}; the queue `{queue}` has all but {n} of the messages"
                )));
            }
        }
        Ok((copies, routed.segments))
    }

    fn copies(&self, placed: &[Vec<Placed>]) -> Result<Vec<Vec<CopyOf>>, BrokerError> {
        let copy = |placed: &Placed| {
            let damaged = |_| StoreError::Damaged("a queue without a name".into());
            Ok(CopyOf {
                queue: placed.name.parse().map_err(damaged)?,
                id: self.id_of(placed.queue(), placed.message),
                delay: placed.delay(),
                retention: placed.retention(),
            })
        };
        placed.iter().map(|copies| copies.iter().map(copy).collect()).collect()
    }

    /// Whether what is being asked was done before, by a call whose answer was lost.
    pub(super) async fn ended_by_us(
        &self,
        fence: Fence,
        states: &[UploadState],
    ) -> Result<bool, BrokerError> {
        let upload = self.store.control.upload(fence.upload).await?;
        Ok(upload.epoch == fence.epoch && states.contains(&upload.state))
    }
}

/// Of each message, its copies as a publish with a name remembers them.
fn placed(routes: &Routes, segments: &[NewSegment], numbers: &[i64]) -> Vec<Vec<Placed>> {
    let mut placed = vec![vec![]; numbers.len()];
    for segment in segments {
        let Some(route) = routes.queues.iter().find(|route| route.queue == segment.queue) else {
            continue;
        };
        for at in offsets(&segment.taken, numbers.len()) {
            if let (Some(copies), Some(number)) = (placed.get_mut(at), numbers.get(at)) {
                copies.push(Placed::new(segment, route.name.as_str(), *number));
            }
        }
    }
    placed
}

fn offsets(taken: &Taken, n: usize) -> Vec<usize> {
    match taken {
        Taken::All => (0..n).collect(),
        Taken::Offsets(offsets) => {
            offsets.iter().filter_map(|at| usize::try_from(*at).ok()).collect()
        }
    }
}

fn rows_of(to: &Publishing, batch: &RowBatch) -> Result<RowsOf, BrokerError> {
    let mut findings = Vec::with_capacity(batch.findings.len());
    for finding in &batch.findings {
        let row = finding.at.row.unwrap_or(batch.first_row);
        let content =
            serde_json::to_string(finding).map_err(|error| BrokerError::Store(Box::new(error)))?;
        findings.push((row, content));
    }
    Ok(RowsOf {
        fence: to.fence,
        sheet: batch.sheet,
        first_row: batch.first_row,
        last_row: batch.last_row,
        turn: batch.turn,
        held: false,
        findings,
        duplicates: batch.duplicates,
    })
}
