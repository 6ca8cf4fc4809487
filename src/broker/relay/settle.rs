//! Ending deliveries: recorded first, then told to the carrier.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::hands::{Claimed, Held};
use super::{Inner, of_another};
use crate::broker::carrier::{Carrier, Failed, Handle};
use crate::broker::error::BrokerError;
use crate::domain::{Receipt, Settled, Settlement, Verdict};
use crate::store::control::QueueRecord;
use crate::store::log::{End, OutcomeKind, QueueId};

/// What the carrier is told of one queue.
#[derive(Default)]
struct Words {
    acks: Vec<Handle>,
    dead: Vec<(Handle, String)>,
    /// With the place of the answer that they belong to.
    again: Vec<(Handle, Duration, (usize, u16))>,
}

impl<C: Carrier> Inner<C> {
    pub(super) async fn settle(
        &self,
        asked: Vec<(Receipt, Vec<Settlement>)>,
    ) -> Result<Vec<Settled>, BrokerError> {
        let mut claimed = Vec::with_capacity(asked.len());
        for (receipt, settlements) in &asked {
            let positions = settlements.iter().map(|settlement| settlement.position);
            match self.hands.claim(*receipt, positions) {
                Ok(one) => claimed.push(one),
                Err(_) => {
                    self.put_back(claimed);
                    return Err(of_another());
                }
            }
        }
        let delays = asked.iter().flat_map(|(_, all)| all).filter_map(|one| match &one.verdict {
            Verdict::Retry { after, .. } => *after,
            _ => None,
        });
        if let Some(delay) = delays.max()
            && let Err(error) = self.check_delay(delay)
        {
            self.put_back(claimed);
            return Err(error);
        }
        let ends = ends(&asked, &claimed);
        let recorded: Vec<End> =
            ends.iter().flatten().filter(|(_, kept)| *kept).map(|(end, _)| end.clone()).collect();
        let new = match self.store.log.record_ends(&recorded).await {
            Ok(new) => new,
            Err(error) => {
                self.put_back(claimed);
                return Err(error.into());
            }
        };
        Ok(self.tell(asked, claimed, &ends, new).await)
    }

    fn put_back(&self, claimed: Vec<Claimed>) {
        claimed.into_iter().for_each(|one| self.hands.put_back(one));
    }

    /// Tells the carrier what is recorded, and answers what was done. What the carrier does not hear
    /// comes again, and is found ended then.
    async fn tell(
        &self,
        asked: Vec<(Receipt, Vec<Settlement>)>,
        claimed: Vec<Claimed>,
        ends: &[Option<(End, bool)>],
        new: Vec<bool>,
    ) -> Vec<Settled> {
        let (mut ends, mut new) = (ends.iter(), new.into_iter());
        let mut answers = vec![Settled::default(); asked.len()];
        let mut words: HashMap<QueueId, (Arc<QueueRecord>, Words)> = HashMap::new();
        for (place, ((_, settlements), claimed)) in asked.into_iter().zip(claimed).enumerate() {
            let Some(answer) = answers.get_mut(place) else { continue };
            let Some(queue) = &claimed.queue else {
                ends.by_ref().take(claimed.messages.len()).for_each(drop);
                answer.stale.extend(claimed.messages.into_iter().map(|(position, _)| position));
                continue;
            };
            let words = &mut words
                .entry(queue.id)
                .or_insert_with(|| (Arc::clone(queue), Words::default()))
                .1;
            for (settlement, (position, held)) in settlements.into_iter().zip(claimed.messages) {
                let end = ends.next().and_then(Option::as_ref);
                let Some(held) = held else {
                    answer.stale.push(position);
                    continue;
                };
                let Some((end, kept)) = end else {
                    let delay = self.delay_of(queue, &held, &settlement.verdict);
                    answer.again += 1;
                    words.again.push((held.handle, delay, (place, position)));
                    continue;
                };
                // What is not recorded cannot have been ended by another.
                if *kept && new.next() != Some(true) {
                    answer.stale.push(position);
                    words.acks.push(held.handle);
                } else if end.kind == OutcomeKind::Done {
                    answer.done += 1;
                    words.acks.push(held.handle);
                } else {
                    answer.dead += 1;
                    let reason = end.item.as_deref().unwrap_or_default();
                    words.dead.push((held.handle, reason.to_owned()));
                }
            }
        }
        for (queue, words) in words.into_values() {
            self.ack(&queue.name, words.acks).await;
            self.bury(&queue, words.dead).await;
            self.again(&queue, words.again, &mut answers).await;
        }
        answers
    }

    async fn again(
        &self,
        queue: &QueueRecord,
        again: Vec<(Handle, Duration, (usize, u16))>,
        answers: &mut [Settled],
    ) {
        if again.is_empty() {
            return;
        }
        let (handles, places): (Vec<_>, Vec<_>) =
            again.into_iter().map(|(handle, delay, place)| ((handle, delay), place)).unzip();
        match self.carrier.release(&queue.name, handles).await {
            Ok(each) => {
                for (place, position) in places
                    .into_iter()
                    .zip(each)
                    .filter_map(|(place, each)| matches!(each, Err(Failed::Over)).then_some(place))
                {
                    if let Some(answer) = answers.get_mut(place) {
                        answer.again = answer.again.saturating_sub(1);
                        answer.stale.push(position);
                    }
                }
            }
            Err(error) => {
                self.unheard(&queue.name, error, "messages come again at their deadline");
            }
        }
    }

    /// How long until a message comes again. The back-off is cut where the engine's delays end.
    fn delay_of(&self, queue: &QueueRecord, held: &Held, verdict: &Verdict) -> Duration {
        let Verdict::Retry { after, .. } = verdict else { return Duration::ZERO };
        let most = self.carrier.abilities().delay_most.unwrap_or(Duration::MAX);
        let back_off = || queue.terms.retry.wait(held.attempt, fastrand::f64());
        after.unwrap_or_else(back_off).min(most)
    }

    /// That the engine can delay for so long.
    pub(super) fn check_delay(&self, delay: Duration) -> Result<(), BrokerError> {
        match self.carrier.abilities().delay_most {
            Some(most) if delay > most => Err(BrokerError::Unsupported {
                what: format!("a delay of {} seconds", delay.as_secs_f64()),
                why: format!("the broker delays for {} seconds at most", most.as_secs()),
            }),
            _ => Ok(()),
        }
    }

    pub(super) async fn extend(
        &self,
        receipts: Vec<Receipt>,
        lasting: Option<Duration>,
    ) -> Result<Vec<Option<Duration>>, BrokerError> {
        let mut held = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            held.push((receipt, self.hands.handles(receipt).map_err(|_| of_another())?));
        }
        let mut answers = Vec::with_capacity(held.len());
        for (receipt, held) in held {
            let Some((queue, handles)) = held else {
                answers.push(None);
                continue;
            };
            let lasting = lasting.unwrap_or(queue.terms.deadline);
            let extended = self.carrier.extend(&queue.name, handles, lasting).await;
            let extended = extended.map_err(|error| self.failed(&queue.name, error))?;
            if extended.iter().any(Result::is_ok) {
                self.hands.extended(receipt, lasting);
                answers.push(Some(lasting));
            } else {
                if !extended.is_empty() && extended.iter().all(|each| *each == Err(Failed::Over)) {
                    self.hands.over(receipt);
                }
                answers.push(None);
            }
        }
        Ok(answers)
    }
}

/// The end that each settlement is, if it is one, and whether it is recorded: that of a row always,
/// others as the queue says. Nothing for what comes again, or is over.
fn ends(asked: &[(Receipt, Vec<Settlement>)], claimed: &[Claimed]) -> Vec<Option<(End, bool)>> {
    let mut ends = vec![];
    for ((_, settlements), claimed) in asked.iter().zip(claimed) {
        for (settlement, (_, held)) in settlements.iter().zip(&claimed.messages) {
            let end = held.as_ref().zip(claimed.queue.as_ref()).and_then(|(held, queue)| {
                let end = end(queue, held, &settlement.verdict)?;
                let kept = held.upload.is_some() || queue.terms.record_outcomes;
                Some((end, kept))
            });
            ends.push(end);
        }
    }
    ends
}

fn end(queue: &QueueRecord, held: &Held, verdict: &Verdict) -> Option<End> {
    let last = queue.terms.max_deliveries.is_some_and(|most| held.attempt >= most);
    let (kind, item) = match verdict {
        Verdict::Done { output } => (OutcomeKind::Done, output.clone()),
        Verdict::Reject { reason } => (OutcomeKind::Dead, Some(reason.clone())),
        Verdict::Retry { reason, .. } if last => (OutcomeKind::Dead, Some(reason.clone())),
        Verdict::Retry { .. } | Verdict::Release => return None,
    };
    Some(End {
        queue: queue.id,
        message: held.number,
        upload: held.upload,
        kind,
        attempts: held.attempt,
        item,
    })
}
