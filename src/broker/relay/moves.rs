//! Purge and redrive: both take what waits, so that the ledger says of each message what became of it.

use std::collections::HashSet;
use std::time::Duration;

use super::Inner;
use super::parcels::{Came, Times, came, parcel};
use super::send::WhenFull;
use crate::broker::carrier::{Carrier, Handle};
use crate::broker::error::BrokerError;
use crate::domain::QueueName;
use crate::store::control::{QueueRecord, UploadState};
use crate::store::log::{End, OutcomeKind};

impl<C: Carrier> Inner<C> {
    /// Takes up to a step of what waits now, and no more than `most`.
    async fn step(&self, queue: &QueueRecord, most: u64) -> Result<Vec<Came>, BrokerError> {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.limits.step.max(1));
        if most == 0 {
            return Ok(vec![]);
        }
        let now_ms = self.store.clock.now_ms();
        let taken = self.carrier.take(&queue.name, most, Duration::ZERO).await;
        let taken = taken.map_err(|error| self.failed(&queue.name, error))?;
        Ok(taken.into_iter().map(|taken| came(&self.key, queue.id, now_ms, taken)).collect())
    }

    /// Whether any upload may have rows in a carrier.
    async fn any_rows(&self) -> Result<bool, BrokerError> {
        let states = self.store.control.uploads_by_state().await?;
        let live = [UploadState::Ingesting, UploadState::Published];
        Ok(states.iter().any(|(state, n)| live.contains(state) && *n > 0))
    }

    /// Cancels what can be taken now. What is delayed stays, unless nothing of it is recorded: then
    /// the carrier does it all.
    pub(super) async fn purge(&self, name: &QueueName) -> Result<u64, BrokerError> {
        let queue = self.queue(name).await?;
        let depth = self.carrier.depth(name).await.map_err(|error| self.failed(name, error))?;
        if !queue.terms.record_outcomes && !self.any_rows().await? {
            let purged = self.carrier.purge(name).await;
            let purged = purged.map_err(|error| self.failed(name, error))?;
            return Ok(purged.unwrap_or(depth.waiting + depth.delayed.unwrap_or(0)));
        }
        let mut purged = 0;
        while purged < depth.waiting {
            let step = self.step(&queue, depth.waiting - purged).await?;
            if step.is_empty() {
                break;
            }
            purged += step.len() as u64;
            let end = |came: &Came| End {
                queue: queue.id,
                message: came.number,
                upload: came.upload(),
                kind: OutcomeKind::Cancelled,
                attempts: came.attempt - 1,
                item: None,
            };
            let recorded = |came: &&Came| {
                came.row.is_some() || queue.terms.record_outcomes && came.number != 0
            };
            let ends: Vec<End> = step.iter().filter(recorded).map(end).collect();
            let handles: Vec<Handle> = step.into_iter().map(|came| came.handle).collect();
            if let Err(error) = self.store.log.record_ends(&ends).await {
                self.give_back(name, handles).await;
                return Err(error.into());
            }
            self.ack(name, handles).await;
        }
        Ok(purged)
    }

    /// Moves what waits in one queue to another. A row goes back to the queue where it died, and to
    /// no other: the sums of its upload count it there.
    pub(super) async fn redrive(
        &self,
        from: &QueueName,
        to: &QueueName,
    ) -> Result<u64, BrokerError> {
        let (from, to) = (self.queue(from).await?, self.queue(to).await?);
        let depth = self.carrier.depth(&from.name).await;
        let depth = depth.map_err(|error| self.failed(&from.name, error))?;
        let (mut seen, mut moved) = (0, 0);
        let mut stay: Vec<Handle> = vec![];
        let mut outcome = Ok(());
        while outcome.is_ok() && seen < depth.waiting {
            let step = match self.step(&from, depth.waiting - seen).await {
                Ok(step) if step.is_empty() => break,
                Ok(step) => step,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            seen += step.len() as u64;
            let handles: Vec<Handle> = step.iter().map(|came| came.handle.clone()).collect();
            match self.redrive_step(&from, &to, step).await {
                Ok((went, left)) => {
                    moved += went;
                    stay.extend(left);
                }
                Err(error) => {
                    stay.extend(handles);
                    outcome = Err(error);
                }
            }
        }
        self.give_back(&from.name, stay).await;
        outcome.map(|()| moved)
    }

    /// Answers how many went, and what stays.
    async fn redrive_step(
        &self,
        from: &QueueRecord,
        to: &QueueRecord,
        step: Vec<Came>,
    ) -> Result<(u64, Vec<Handle>), BrokerError> {
        let numbers: Vec<i64> = step.iter().map(|came| came.number).collect();
        // One that an engine moved by itself has its death recorded before it is forgotten.
        self.store.log.record_ends(&self.deaths_elsewhere(from.id, &step)).await?;
        let known = self.store.log.known(to.id, &numbers, &[]).await?;
        let goes = |came: &Came| match known.ended.get(&came.number) {
            Some(OutcomeKind::Dead) => true,
            Some(_) => false,
            None => came.row.is_none(),
        };
        let mut here = HashSet::new();
        let (going, staying): (Vec<Came>, Vec<Came>) = step
            .into_iter()
            .partition(|came| goes(came) && (came.number == 0 || here.insert(came.number)));
        let numbers: Vec<i64> = going.iter().map(|came| came.number).collect();
        self.store.log.forget_deaths(to.id, &numbers).await?;
        let now_ms = self.store.clock.now_ms();
        let (delay, retention) = (to.terms.delay, to.terms.retention);
        let make = |at: usize| {
            let came = going.get(at)?;
            let id = match came.number {
                0 => String::new(),
                number => self.id_of(to.id, number).to_string(),
            };
            let times = Times { now_ms, delay, retention };
            Some(parcel(id, came.data.clone(), came.attributes.clone(), times))
        };
        let places: Vec<usize> = (0..going.len()).collect();
        if places.is_empty() {
            return Ok((0, staying.into_iter().map(|came| came.handle).collect()));
        }
        let refused = self.send(&to.name, places, WhenFull::GoOn, make).await?;
        let refused: HashSet<usize> = refused.into_iter().map(|(at, _)| at).collect();
        let mut stay: Vec<Handle> = staying.into_iter().map(|came| came.handle).collect();
        let mut gone = vec![];
        for (at, came) in going.into_iter().enumerate() {
            if refused.contains(&at) { stay.push(came.handle) } else { gone.push(came.handle) }
        }
        let went = gone.len() as u64;
        self.ack(&from.name, gone).await;
        Ok((went, stay))
    }
}
