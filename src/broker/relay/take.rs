//! Taking messages out of a carrier: what is not to be worked on is dealt with on the way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::hands::Held;
use super::parcels::{Came, Sender, came};
use super::{Inner, died};
use crate::broker::carrier::{Carrier, Handle, Taken};
use crate::broker::error::BrokerError;
use crate::domain::{Attempt, Delivery, Lease, QueueName};
use crate::store::control::QueueRecord;
use crate::store::log::{BLOCK, End, Known, OutcomeKind, QueueId, UploadId};

/// The pause before a carrier is asked again that answered nothing before the time was over.
const PAUSE: Duration = Duration::from_millis(20);
/// Why a message died that was delivered as often as it may be, and never settled.
const LAPSED: &str = "its ack deadline passed";
/// Why one died that the engine moved by itself, when it does not say.
const GIVEN_UP: &str = "the broker gave it up";
const NO_OBJECT: &str = "its body is no JSON object";

/// Receives in a task of its own: what was taken when the caller goes away is given back.
pub(super) async fn receive<C: Carrier>(
    inner: &Arc<Inner<C>>,
    queue: &QueueName,
    max: usize,
    wait: Duration,
) -> Result<Vec<Lease>, BrokerError> {
    let (mut answer, answered) = oneshot::channel();
    let (inner, name) = (Arc::clone(inner), queue.clone());
    tokio::spawn(async move {
        let until = Instant::now() + wait;
        loop {
            let taken = tokio::select! {
                taken = inner.take(&name, max, until) => taken,
                () = answer.closed() => return,
            };
            let sorted = match taken {
                Ok((_, taken)) if taken.is_empty() => {
                    if Instant::now() < until {
                        continue;
                    }
                    Ok(None)
                }
                Ok((queue, taken)) => inner.sort_out(queue, taken).await,
                Err(error) => Err(error),
            };
            let lease = match sorted {
                // All that came was dealt with.
                Ok(None) if Instant::now() < until => continue,
                Ok(lease) => lease,
                Err(error) => {
                    // Nobody waits for it any more.
                    let _ = answer.send(Err(error));
                    return;
                }
            };
            if let Err(Ok(Some(unread))) = answer.send(Ok(lease)) {
                inner.hand_back(&name, &unread).await;
            }
            return;
        }
    });
    let lease = answered.await.map_err(|_| died())??;
    Ok(lease.into_iter().collect())
}

impl<C: Carrier> Inner<C> {
    /// One take. Dropped half-way, what it took comes again.
    async fn take(
        &self,
        name: &QueueName,
        max: usize,
        until: Instant,
    ) -> Result<(Arc<QueueRecord>, Vec<Taken>), BrokerError> {
        let asked = Instant::now();
        let queue = self.queue(name).await?;
        let most = usize::try_from(BLOCK).unwrap_or(1);
        let max = max.clamp(1, most).min(self.hands.room());
        let wait = until.saturating_duration_since(Instant::now()).min(self.limits.look);
        let taken = match max {
            0 => vec![],
            _ => {
                let taken = self.carrier.take(&queue.name, max, wait).await;
                taken.map_err(|error| self.failed(name, error))?
            }
        };
        if taken.is_empty() {
            sleep_until((asked + PAUSE).min(until)).await;
        }
        Ok((queue, taken))
    }

    async fn hand_back(&self, queue: &QueueName, lease: &Lease) {
        let positions = lease.deliveries.iter().map(|delivery| delivery.position);
        let Ok(claimed) = self.hands.claim(lease.receipt, positions) else { return };
        let held = claimed.messages.into_iter().filter_map(|(_, held)| held);
        self.give_back(queue, held.map(|held| held.handle).collect()).await;
    }

    /// Looks at what was taken, and answers what is to be worked on, in hands now.
    async fn sort_out(
        &self,
        queue: Arc<QueueRecord>,
        taken: Vec<Taken>,
    ) -> Result<Option<Lease>, BrokerError> {
        let now_ms = self.store.clock.now_ms();
        let mut all = Vec::with_capacity(taken.len());
        for taken in taken {
            all.push(came(&self.key, queue.id, now_ms, taken));
        }
        let looked_at = match self.look_up(&queue, &mut all).await {
            Ok(known) => self.part(&queue, &known, now_ms, all).await,
            Err(error) => Err((error, all.into_iter().map(|came| came.handle).collect())),
        };
        let good = match looked_at {
            Ok(good) => good,
            Err((error, handles)) => {
                self.give_back(&queue.name, handles).await;
                return Err(error);
            }
        };
        if good.is_empty() {
            return Ok(None);
        }
        let (mut held, mut told) = (Vec::with_capacity(good.len()), Vec::with_capacity(good.len()));
        for (mut came, data) in good {
            let id = came.id.unwrap_or_else(|| self.id_of(queue.id, came.number));
            let origin = came.origin();
            told.push((
                id,
                origin,
                data,
                came.attributes_json()?,
                came.created_ms,
                came.expires_ms,
            ));
            held.push(Held {
                number: came.number,
                upload: came.upload(),
                attempt: came.attempt,
                handle: came.handle,
            });
        }
        let attempts: Vec<Attempt> = held.iter().map(|held| held.attempt).collect();
        let receipt = self.hands.add(Arc::clone(&queue), held);
        let deliveries = (0..).zip(told).zip(attempts).map(|((position, told), attempt)| {
            let (id, origin, data, attributes, created_ms, expires_ms) = told;
            Delivery {
                receipt,
                position,
                id,
                attempt,
                origin,
                data,
                attributes,
                created_ms,
                expires_ms,
            }
        });
        let deliveries = deliveries.collect();
        Ok(Some(Lease { receipt, deadline: queue.terms.deadline, deliveries }))
    }

    /// Gives numbers to those without one, and asks the ledger about all.
    async fn look_up(&self, queue: &QueueRecord, all: &mut [Came]) -> Result<Known, BrokerError> {
        let nameless = all.iter().filter(|came| came.number == 0).count();
        if nameless > 0 {
            let first = self.routing.reserve_whole(nameless).await?.first_id;
            let without = all.iter_mut().filter(|came| came.number == 0);
            without.zip(first..).for_each(|(came, number)| came.number = number);
        }
        self.known(queue, all).await
    }

    /// Parts what is to be worked on from what is not, which is dealt with.
    ///
    /// # Errors
    /// [`BrokerError`], with what is to be given back.
    async fn part(
        &self,
        queue: &QueueRecord,
        known: &Known,
        now_ms: i64,
        all: Vec<Came>,
    ) -> Result<Vec<(Came, Box<str>)>, (BrokerError, Vec<Handle>)> {
        let mut ends = self.deaths_elsewhere(queue.id, &all);
        let (mut acks, mut dead, mut good) = (vec![], vec![], Vec::with_capacity(all.len()));
        let mut here = HashSet::with_capacity(all.len());
        for came in all {
            let fate = match fate(queue, known, &came, now_ms) {
                // The same twice in one take: the other stays in the carrier until it has ended.
                Fate::Good(_) if !here.insert(came.number) => Fate::Over,
                fate => fate,
            };
            let end = |kind, item: Option<&str>| End {
                queue: queue.id,
                message: came.number,
                upload: came.upload(),
                kind,
                attempts: came.attempt,
                item: item.map(Into::into),
            };
            match fate {
                Fate::Good(data) => good.push((came, data)),
                Fate::Over => acks.push(came.handle),
                Fate::Dead(reason) => {
                    ends.push(end(OutcomeKind::Dead, Some(reason)));
                    dead.push((came.handle, reason.to_owned()));
                }
                Fate::Buried => dead.push((came.handle, LAPSED.to_owned())),
                Fate::Ended(kind) => {
                    let undelivered = came.attempt - 1;
                    ends.push(End { attempts: undelivered, ..end(kind, None) });
                    acks.push(came.handle);
                }
            }
        }
        ends.retain(|end| end.upload.is_some() || queue.terms.record_outcomes);
        if let Err(error) = self.store.log.record_ends(&ends).await {
            let dead = dead.into_iter().map(|(handle, _)| handle);
            let good = good.into_iter().map(|(came, _): (Came, _)| came.handle);
            return Err((error.into(), acks.into_iter().chain(dead).chain(good).collect()));
        }
        self.ack(&queue.name, acks).await;
        self.bury(queue, dead).await;
        Ok(good)
    }

    /// What the ledger knows of these; nothing is asked where nothing is recorded.
    async fn known(&self, queue: &QueueRecord, all: &[Came]) -> Result<Known, BrokerError> {
        let recorded = |came: &&Came| came.row.is_some() || queue.terms.record_outcomes;
        let numbers: Vec<i64> = all.iter().filter(recorded).map(|came| came.number).collect();
        if numbers.is_empty() {
            return Ok(Known::default());
        }
        let uploads: HashSet<UploadId> = all.iter().filter_map(Came::upload).collect();
        let uploads: Vec<UploadId> = uploads.into_iter().collect();
        Ok(self.store.log.known(queue.id, &numbers, &uploads).await?)
    }

    /// The deaths of rows that the engine moved here by itself: recorded where they died, unless
    /// they are.
    pub(super) fn deaths_elsewhere(&self, here: QueueId, all: &[Came]) -> Vec<End> {
        let death = |came: &Came| match came.sender {
            Sender::Ours(queue) if queue != here => Some(End {
                queue,
                message: came.number,
                upload: Some(came.upload()?),
                kind: OutcomeKind::Dead,
                attempts: came.attempt,
                item: Some(came.reason.as_deref().unwrap_or(GIVEN_UP).into()),
            }),
            _ => None,
        };
        let deaths = all.iter().filter_map(death);
        deaths
            .map(|end| ((end.queue, end.message), end))
            .collect::<HashMap<_, _>>()
            .into_values()
            .collect()
    }
}

/// What becomes of a message that was taken.
enum Fate {
    /// It is handed out, with this data.
    Good(Box<str>),
    /// It has ended already, to be acked at last.
    Over,
    /// It died before and was left behind.
    Buried,
    /// It is dead, for that reason.
    Dead(&'static str),
    /// It ended so without being delivered.
    Ended(OutcomeKind),
}

fn fate(queue: &QueueRecord, known: &Known, came: &Came, now_ms: i64) -> Fate {
    match known.ended.get(&came.number) {
        Some(OutcomeKind::Dead) => return Fate::Buried,
        Some(_) => return Fate::Over,
        None => {}
    }
    if came.upload().is_some_and(|upload| !known.open.contains(&upload)) {
        return Fate::Ended(OutcomeKind::Cancelled);
    }
    if came.expires_ms.is_some_and(|expires| expires <= now_ms) {
        return Fate::Ended(OutcomeKind::Expired);
    }
    if queue.terms.max_deliveries.is_some_and(|most| came.attempt > most) {
        return Fate::Dead(LAPSED);
    }
    came.text().map_or(Fate::Dead(NO_OBJECT), Fate::Good)
}
