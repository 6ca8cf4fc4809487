//! What must be done now and then for a database's messages, by every server, by workers on the
//! database, and by `rowmill maintain`: leases whose deadline passed are ended, and messages that
//! waited too long; the end of uploads whose messages have all ended is recorded; what deleted
//! queues hold is removed, and what ended long ago.
//!
//! Any number of keepers may be at it: they skip what others have locked, and of those who remove,
//! one does it at a time.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{MissedTickBehavior, interval};

use super::error::BrokerError;
use super::sql::SqlBroker;
use crate::domain::FailureLimit;
use crate::store::log::PausedBy;

/// How often a keeper does its rounds.
const EVERY: Duration = Duration::from_secs(1);
/// Leases, and segments, that one step of a sweep takes.
const SWEEP: u32 = 100;
/// Rows of deleted queues, or batches of ended messages, that one step looks at.
const STEP: u32 = 500;
/// Steps of either in one round, so that sweeps need not wait long for their turn.
const STEPS: u32 = 20;
/// Rounds from one look for ended messages to the next.
const TIDY_EVERY: u32 = 10;

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// Leases ended because their deadline passed.
    pub leases: u64,
    /// Messages that waited longer than their retention.
    pub expired: u64,
    /// Uploads whose end was recorded.
    pub uploads: u64,
    /// Uploads that were paused because too much of them failed.
    pub stopped: u64,
    /// Names of publishes that were forgotten.
    pub publications: u64,
    /// Messages removed with the queues that held them.
    pub deleted: u64,
    /// Messages removed because they ended long ago.
    pub ended: u64,
}

/// What else is to be done in each round: what carries the messages may need it.
pub trait Chore: Send + Sync + std::fmt::Debug {
    /// One round of it.
    fn round(&mut self) -> BoxFuture<'_, Result<(), BrokerError>>;
}

/// One who keeps a database's messages in order.
#[derive(Debug)]
pub struct Keeper {
    broker: SqlBroker,
    chore: Option<Box<dyn Chore>>,
    /// Where the next look for ended messages begins: it goes round and round.
    at: i64,
    rounds: u32,
}

impl Keeper {
    /// A keeper of the broker's database.
    pub fn new(broker: SqlBroker) -> Self {
        Self { broker, chore: None, at: 0, rounds: 0 }
    }

    /// The same with something more to do.
    #[must_use]
    pub fn and(mut self, chore: Option<Box<dyn Chore>>) -> Self {
        self.chore = chore;
        self
    }

    /// Does rounds until it is dropped. A failure is logged, and the next round tries again.
    pub async fn run(mut self) {
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "a round of upkeep failed; the next will try again");
            }
        }
    }

    /// One round. What it leaves, the next one finds.
    ///
    /// # Errors
    /// [`BrokerError`]: the first failure; what does not depend on it was tried all the same.
    pub async fn round(&mut self) -> Result<Kept, BrokerError> {
        let mut kept = Kept::default();
        let chore = self.chore().await;
        let swept = self.sweep(&mut kept).await;
        let stopped = self.stop_failing(&mut kept).await;
        let ended = self.end_uploads(&mut kept).await;
        let deleted = self.remove_deleted(&mut kept, STEPS).await;
        let tidied = if self.rounds.is_multiple_of(TIDY_EVERY) {
            self.remove_ended(&mut kept, STEPS).await.map(drop)
        } else {
            Ok(())
        };
        self.rounds = self.rounds.wrapping_add(1);
        chore.and(swept).and(stopped).and(ended).and(deleted).and(tidied).map(|()| kept)
    }

    /// Does all that there is to be done now.
    ///
    /// # Errors
    /// [`BrokerError`]; what was done before stays so.
    pub async fn all(&mut self) -> Result<Kept, BrokerError> {
        let mut kept = Kept::default();
        self.chore().await?;
        self.sweep(&mut kept).await?;
        self.stop_failing(&mut kept).await?;
        self.remove_deleted(&mut kept, u32::MAX).await?;
        self.end_uploads(&mut kept).await?;
        self.at = 0;
        self.remove_ended(&mut kept, u32::MAX).await?;
        Ok(kept)
    }

    async fn chore(&mut self) -> Result<(), BrokerError> {
        match &mut self.chore {
            Some(chore) => chore.round().await,
            None => Ok(()),
        }
    }

    async fn sweep(&self, kept: &mut Kept) -> Result<(), BrokerError> {
        let swept = self.broker.sweep_leases(SWEEP).await?;
        kept.leases += swept.len() as u64;
        kept.expired += self.broker.expire(SWEEP).await?;
        let age = self.broker.limits().names_kept;
        kept.publications += self.broker.store().log.forget_publications(age).await?;
        Ok(())
    }

    /// Pauses uploads of which too much has failed since they were last resumed. Of several keepers that
    /// see it one does it, and none after somebody has resumed the upload meanwhile.
    async fn stop_failing(&self, kept: &mut Kept) -> Result<(), BrokerError> {
        let log = &self.broker.store().log;
        for watched in log.watched_uploads().await? {
            let Ok(limit) = watched.limit.parse::<FailureLimit>() else { continue };
            let ended = log.standing(watched.upload).await?.ended;
            // A retry of the dead takes some away.
            let dead = ended.dead.saturating_sub(watched.from_dead);
            let all = (ended.done + ended.dead).saturating_sub(watched.from_ended);
            if !limit.is_passed(dead, all, self.broker.limits().failures_from) {
                continue;
            }
            let why = format!("{dead} of {all} messages failed; it stops after {limit}");
            let steered = watched.steered;
            let by = PausedBy::Failures { why: &why, steered };
            if log.pause(watched.upload, by).await? {
                kept.stopped += 1;
                tracing::warn!(
                    upload = watched.upload.0,
                    why,
                    "an upload is paused by its failures"
                );
            }
        }
        Ok(())
    }

    async fn end_uploads(&self, kept: &mut Kept) -> Result<(), BrokerError> {
        let ended = self.broker.store().log.end_uploads().await?;
        kept.uploads += ended.len() as u64;
        for id in ended {
            // The last step of their life, told once; it may have been deleted since.
            let Ok(upload) = self.broker.store().control.upload(id).await else { continue };
            let (upload, filename) = (upload.public_id, upload.filename);
            tracing::info!(%upload, filename, step = "ended", "every message of an upload has ended");
        }
        Ok(())
    }

    async fn remove_deleted(&self, kept: &mut Kept, steps: u32) -> Result<(), BrokerError> {
        for _ in 0..steps {
            let removed = self.broker.store().log.remove_deleted(STEP).await?;
            kept.deleted += removed;
            if removed == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Goes on with the look for ended messages until it has come round.
    async fn remove_ended(&mut self, kept: &mut Kept, steps: u32) -> Result<(), BrokerError> {
        let age = self.broker.limits().ended_kept;
        for _ in 0..steps {
            let log = &self.broker.store().log;
            let (removed, next) = log.remove_ended(self.at, age, STEP).await?;
            kept.ended += removed;
            self.at = next.unwrap_or(0);
            if next.is_none() {
                break;
            }
        }
        for _ in 0..steps {
            let removed = self.broker.store().log.remove_carried(age, STEP).await?;
            kept.ended += removed;
            if removed == 0 {
                break;
            }
        }
        Ok(())
    }
}
