//! The log of messages: insert-only batches and messages, leased in ranges.
//!
//! A publish writes a [`NewBatch`]: messages, and for each queue a *segment*, what waits there for
//! its first delivery. A receive moves slices of segments, and due *redeliveries*, into *leases*; a
//! settle moves positions of a lease into *outcomes* or back into redeliveries; a sweep does the
//! same for leases whose deadline passed. Every operation is one statement or one transaction, and
//! after each of them a message of a queue is in exactly one of these places.
//!
//! The two databases share what is decided ([`plan`]) and how pages are put together ([`rows`]);
//! their statements stand side by side in `postgres/` and `sqlite/`.
//!
//! Cancellation safety: every operation is one transaction. A future dropped half-way has done all
//! of it or nothing; which one is not known to the caller.

/// Asks whichever database it is. Above the modules, so that they have it too.
macro_rules! both {
    ($self:ident, $log:ident => $call:expr) => {
        match &$self.0 {
            Dialect::Postgres($log) => $call,
            Dialect::Sqlite($log) => $call,
        }
    };
}

mod carried;
mod ends;
mod gather;
mod keys;
mod look;
mod outcomes;
mod page;
mod plan;
mod postgres;
mod redrive;
mod rows;
mod sqlite;
mod steer;
mod types;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

pub use carried::{CarriedBatch, End, Known};
pub use ends::RowEnd;
pub use keys::{Claim, Holder, KeyedRow, RowKey};
pub use look::{RATE_WINDOW, Seen};
pub use page::{CopyState, FindingAt, RowAt, RowPage, UploadRow};
pub use postgres::sql::Statements as PostgresStatements;
pub use steer::{PausedBy, Watched};
pub use types::{
    BLOCK, Counts, Covered, Emptiness, Ended, Fence, Found, Handed, HandedLease, LogError,
    NewBatch, NewMessage, NewSegment, OutcomeKind, OutcomeQuery, PageAfter, Publication, QueueId,
    Received, RowOutcome, RowsOf, Standing, Taken, TopicId, UploadId, Whereabouts,
};

use super::Clock;
use super::clock::millis;
use redrive::{Family, Stretch, Walk};
use rowmill_domain::{Depth, Settled, Settlement};

/// How long the row of a deleted queue stays after it was deleted, at least: whatever was under way
/// then has come to its end, and what it left is removed too.
const EMPTY_FOR: Duration = Duration::from_secs(10);
/// Messages that one step of a purge ends.
const PURGE_STEP: i64 = 1_000;

/// The log, on the database that was opened. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct Log(Dialect);

#[derive(Debug, Clone)]
enum Dialect {
    Postgres(postgres::PostgresLog),
    Sqlite(sqlite::SqliteLog),
}

/// Every operation fails with [`LogError`]; unless its own words say more, nothing was changed then.
#[allow(clippy::missing_errors_doc)] // said once, above
impl Log {
    pub(super) fn postgres(pool: sqlx::PgPool, clock: Clock) -> Self {
        Self(Dialect::Postgres(postgres::PostgresLog::new(pool, clock)))
    }

    pub(super) fn sqlite(
        writer: sqlx::SqlitePool,
        readers: sqlx::SqlitePool,
        clock: Clock,
    ) -> Self {
        Self(Dialect::Sqlite(sqlite::SqliteLog::new(writer, readers, clock)))
    }

    /// The same log with some of its PostgreSQL statements changed: for tests that show that a
    /// broken statement is noticed. On SQLite it changes nothing.
    #[doc(hidden)]
    #[must_use]
    pub fn with_postgres_statements(
        mut self,
        change: impl FnOnce(&mut PostgresStatements),
    ) -> Self {
        if let Dialect::Postgres(log) = &mut self.0 {
            change(Arc::make_mut(&mut log.sql));
        }
        self
    }

    /// Reserves [`BLOCK`] ids and answers the first. Gaps that a crash leaves are harmless.
    pub async fn reserve_block(&self) -> Result<i64, LogError> {
        both!(self, log => log.reserve_block().await)
    }

    /// Commits a batch: messages, segments, coverage, findings, all or nothing.
    ///
    /// # Errors
    /// [`LogError::RoutesChanged`] when the topic's queues are not those the batch was routed by;
    /// [`LogError::PublishedBefore`] when it has a name that was used before;
    /// [`LogError::LeaseLost`] when the upload is no longer this publisher's.
    pub async fn publish(&self, batch: &NewBatch) -> Result<(), LogError> {
        both!(self, log => log.publish(batch).await)
    }

    /// Forgets the names of publishes that were made longer ago than that. Answers how many.
    pub async fn forget_publications(&self, age: Duration) -> Result<u64, LogError> {
        both!(self, log => log.forget_publications(age).await)
    }

    /// Lets the held segments of an upload go, all in one step, and records that it is published.
    ///
    /// # Errors
    /// [`LogError::LeaseLost`] when the upload is no longer this publisher's.
    pub async fn release(&self, fence: Fence, totals: &str) -> Result<(), LogError> {
        both!(self, log => log.release(fence, totals).await)
    }

    /// Takes back all that an upload published so far, and records why (`problem`, as JSON). Only
    /// for an upload that was held: what was not may be in consumers' hands by now.
    ///
    /// # Errors
    /// [`LogError::LeaseLost`] when the upload is no longer this publisher's.
    pub async fn discard(&self, fence: Fence, problem: &str) -> Result<(), LogError> {
        both!(self, log => log.discard(fence, problem).await)
    }

    /// Leases up to `max` messages (at most [`BLOCK`]) of a queue to each of `consumers` (at most
    /// 100) in one step. When there are too few, the last consumers get fewer, or none.
    pub async fn receive(
        &self,
        queue: QueueId,
        max: usize,
        consumers: usize,
    ) -> Result<Received, LogError> {
        let max = i32::try_from(max.clamp(1, 1000)).unwrap_or(1000);
        let consumers = i32::try_from(consumers.clamp(1, 100)).unwrap_or(100);
        both!(self, log => log.receive(queue, max, consumers).await)
    }

    /// Settles positions of leases; answers in the order asked. What is asked of one lease is one
    /// step; a failure or a crash may find some of the leases settled and others not. `dice` draws
    /// the jitter of back-offs, in 0..1.
    pub async fn settle(
        &self,
        settlements: &[(Uuid, Vec<Settlement>)],
        dice: &mut (dyn FnMut() -> f64 + Send),
    ) -> Result<Vec<Settled>, LogError> {
        both!(self, log => log.settle(settlements, dice).await)
    }

    /// Gives leases their queue's deadline anew. Answers those that still exist, with how long
    /// they last from now, in any order; `lasting` is that, instead of the queue's own deadline.
    pub async fn extend(
        &self,
        receipts: &[Uuid],
        lasting: Option<Duration>,
    ) -> Result<Vec<(Uuid, Duration)>, LogError> {
        both!(self, log => log.extend(receipts, lasting.map(millis)).await)
    }

    /// Ends up to `most` leases whose deadline passed: what they held comes again, or is dead.
    /// Any number of sweepers may run; they skip what others have locked. Answers one [`Settled`]
    /// a lease.
    pub async fn sweep(&self, most: u32) -> Result<Vec<Settled>, LogError> {
        both!(self, log => log.sweep(i64::from(most)).await)
    }

    /// Hands back every lease of a queue whose consumers are known to be gone. Deliveries stay
    /// counted, but none of the messages dies of it.
    pub async fn reclaim(&self, queue: QueueId) -> Result<Vec<Settled>, LogError> {
        both!(self, log => log.reclaim(queue).await)
    }

    /// Ends messages that waited longer than their retention, which begins when they are published,
    /// or let go: those of up to `most` segments, and up to `most` that come again. Answers how many
    /// messages. What is in consumers' hands does not expire.
    pub async fn expire(&self, most: u32) -> Result<u64, LogError> {
        both!(self, log => log.expire(i64::from(most)).await)
    }

    /// Cancels what waits in a queue, held or not, and answers how many messages that were. What is
    /// leased stays with its consumers. It is done in steps; after a failure some may be done.
    pub async fn purge(&self, queue: QueueId) -> Result<u64, LogError> {
        // What comes into the queue from now on has greater ids, or was delivered before.
        let last = both!(self, log => log.last_waiting(queue).await)?;
        let Some(last) = last else { return Ok(0) };
        let mut purged = 0;
        loop {
            let (n, more) = both!(self, log => log.purge_step(queue, last, PURGE_STEP).await)?;
            purged += n;
            if !more {
                return Ok(purged);
            }
        }
    }

    /// Moves what waits in `from`, and is not held, to `to`, for a new life: no attempts, that
    /// queue's delay and retention. The deaths that led it to `from` are forgotten. A message stays
    /// where it is if `to` has it or had it, unless it died there; and if it would meet itself by
    /// dying, in a dead queue of `to`, or in `to` as another's dead queue. Answers how many went.
    ///
    /// It is done in steps of about `step` messages; after a failure some may be done. Nothing
    /// happens when the two are one queue, or `to` is deleted.
    pub async fn redrive(&self, from: QueueId, to: QueueId, step: u32) -> Result<u64, LogError> {
        let kin = both!(self, log => log.kin().await)?;
        self.walk(&Family::new(from, to, &kin), None, step).await
    }

    /// Moves what is left of an upload in dead queues back to the queues that it died in, as a redrive
    /// of these messages alone. Answers how many went.
    pub async fn retry_dead(&self, upload: UploadId, step: u32) -> Result<u64, LogError> {
        let kin = both!(self, log => log.kin().await)?;
        let mut moved = 0;
        for (queue, dead, _) in &kin {
            let Some(dead) = dead else { continue };
            let family = Family::new(QueueId(*dead), QueueId(*queue), &kin);
            moved += self.walk(&family, Some(upload), step).await?;
        }
        Ok(moved)
    }

    async fn walk(
        &self,
        family: &Family,
        upload: Option<UploadId>,
        step: u32,
    ) -> Result<u64, LogError> {
        let last = both!(self, log => log.last_waiting(family.from).await)?;
        let Some(upto) = last.filter(|_| family.from != family.to) else { return Ok(0) };
        let most = i64::from(step.max(1));
        let mut moved = 0;
        for walk in [Walk::Retried, Walk::Fresh] {
            let mut after = Some(-1);
            while let Some(reached) = after {
                let stretch = Stretch { walk, after: reached, upto, most, upload };
                let step = both!(self, log => log.redrive_step(family, stretch).await)?;
                moved += step.0;
                after = step.1;
            }
        }
        Ok(moved)
    }

    /// Removes what deleted queues hold, in leases, segments, redeliveries or outcomes: `most` rows
    /// at most, of one queue. Uploads whose rows these are count them no more. A queue that has been
    /// empty for a while goes. Answers how many messages; none when nothing is left to do, or when
    /// another process does it.
    pub async fn remove_deleted(&self, most: u32) -> Result<u64, LogError> {
        both!(self, log => log.remove_deleted(i64::from(most)).await)
    }

    /// Removes messages that are no rows of uploads, of which nothing waits or is leased in any
    /// queue, and that ended longer than `age` ago, with their outcomes. One step looks at about
    /// `most` batches, from the message `from` on; answers how many messages it removed, and where
    /// the next step begins, `None` after the last batch.
    pub async fn remove_ended(
        &self,
        from: i64,
        age: Duration,
        most: u32,
    ) -> Result<(u64, Option<i64>), LogError> {
        both!(self, log => log.remove_ended(from, age, i64::from(most)).await)
    }

    /// One of these leases that is on another queue, if any is.
    pub async fn foreign_lease(
        &self,
        queue: QueueId,
        leases: &[Uuid],
    ) -> Result<Option<Uuid>, LogError> {
        both!(self, log => log.foreign_lease(queue, leases).await)
    }

    /// The lease that has a message in hands, and its position there.
    pub async fn holder(
        &self,
        queue: QueueId,
        message: i64,
    ) -> Result<Option<(Uuid, u16)>, LogError> {
        both!(self, log => log.holder(queue, message).await)
    }

    /// What a queue holds now.
    pub async fn depth(&self, queue: QueueId) -> Result<Depth, LogError> {
        both!(self, log => log.depth(queue).await)
    }

    /// How many messages of an upload have ended in a queue, and how.
    pub async fn counts(&self, upload: UploadId, queue: QueueId) -> Result<Counts, LogError> {
        both!(self, log => log.counts(upload, queue).await)
    }

    /// The ranges of rows that an upload has committed, in row order.
    pub async fn covered(&self, upload: UploadId) -> Result<Vec<Covered>, LogError> {
        both!(self, log => log.covered(upload).await)
    }

    /// The first `most` findings of an upload, in row order, as JSON.
    pub async fn findings(&self, upload: UploadId, most: u32) -> Result<Vec<String>, LogError> {
        both!(self, log => log.findings(upload, i64::from(most)).await)
    }

    /// How an upload stands.
    pub async fn standing(&self, upload: UploadId) -> Result<Standing, LogError> {
        both!(self, log => log.standing(upload).await)
    }

    /// Records the end of every published upload whose messages have all ended. Answers which it
    /// was that recorded them: of several that look at once, one.
    pub async fn end_uploads(&self) -> Result<Vec<UploadId>, LogError> {
        let mut ended = vec![];
        for upload in both!(self, log => log.working_uploads().await)? {
            let standing = self.standing(upload).await?;
            if standing.ended.ended() >= standing.copies
                && both!(self, log => log.end_upload(upload).await)?
            {
                ended.push(upload);
            }
        }
        Ok(ended)
    }

    /// Withdraws an upload: what was published and has not been delivered is cancelled (all of it is
    /// taken back if it was held still), what is in consumers' hands stays there. Whoever ingests it
    /// can commit nothing from now on. Answers whether there was anything to withdraw: `false` for
    /// an upload that had ended, failed or been cancelled before.
    pub async fn cancel(&self, upload: UploadId) -> Result<bool, LogError> {
        both!(self, log => log.cancel(upload, None).await)
    }

    /// Records the fault of an upload whose messages were let go as they came: what has not been
    /// delivered is cancelled.
    ///
    /// # Errors
    /// [`LogError::LeaseLost`] when it is not being ingested any more.
    pub async fn fail_streaming(&self, fence: Fence, problem: &str) -> Result<(), LogError> {
        match both!(self, log => log.cancel(fence.upload, Some((fence.epoch, problem))).await)? {
            true => Ok(()),
            false => Err(LogError::LeaseLost),
        }
    }

    /// Deletes an upload that is over, with its messages, outcomes and findings. `false` when it is
    /// not over, or when messages of it are still in consumers' hands.
    pub async fn delete_upload(&self, upload: UploadId) -> Result<bool, LogError> {
        both!(self, log => log.delete_upload(upload).await)
    }

    /// Outcomes, by queue and message number; `limit` of them at most. Answers where the next page
    /// begins; a page may hold fewer than asked, or none, and not be the last.
    pub async fn outcomes(
        &self,
        query: OutcomeQuery,
        limit: usize,
    ) -> Result<(Vec<Found>, Option<(QueueId, i64)>), LogError> {
        self.page_of_outcomes(query, limit.max(1)).await
    }

    /// Where a message of a queue is; `None` when there is no such message, or it is gone.
    pub async fn find(&self, queue: QueueId, message: i64) -> Result<Option<Found>, LogError> {
        self.look_up(queue, message).await
    }
}

fn depth_of((ready, delayed, held, in_flight): (i64, i64, i64, i64)) -> Depth {
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Depth {
        ready: count(ready),
        delayed: count(delayed),
        held: count(held),
        in_flight: count(in_flight),
    }
}

/// The columns of a standing: messages, unrouted, copies, rejected, duplicates, in flight, each kind of
/// end, and what ended lately.
type StandingColumns = (i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);

fn standing_of(
    (
        messages,
        unrouted,
        copies,
        rejected,
        duplicates,
        in_flight,
        done,
        dead,
        expired,
        cancelled,
        lately,
    ): StandingColumns,
) -> Standing {
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Standing {
        messages: count(messages),
        unrouted: count(unrouted),
        copies: count(copies),
        rejected: count(rejected),
        duplicates: count(duplicates),
        in_flight: count(in_flight),
        ended: Counts {
            done: count(done),
            dead: count(dead),
            expired: count(expired),
            cancelled: count(cancelled),
        },
        lately: count(lately),
    }
}
