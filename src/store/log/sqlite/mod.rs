//! The log on SQLite: each operation is one transaction of a few prepared statements.
//!
//! There is one writer, a pool of a single connection, and every writing transaction begins
//! `IMMEDIATE`: so nothing is ever locked half-way and no statement needs SKIP LOCKED. Readers have
//! connections of their own and see what was last committed. Arrays are JSON text.

mod publish;
mod receive;
mod rows;
mod settle;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{SqlitePool, SqliteTransaction};
use uuid::Uuid;

use super::types::{BLOCK, Counts, Fence, LogError, OutcomeKind, QueueId, UploadId};
use crate::domain::Depth;
use crate::store::Clock;
use crate::store::clock::duration;

/// A segment: queue, first id, size, next, taken, upload.
type Waiting = (i32, i64, i32, i32, Option<String>, Option<i64>);

/// A lease: receipt, first id, size, ids, settled positions.
type Holding = (String, i64, i32, Option<String>, Option<String>);

/// The log on SQLite.
#[derive(Debug, Clone)]
pub(super) struct SqliteLog {
    writer: SqlitePool,
    readers: SqlitePool,
    clock: Clock,
}

impl SqliteLog {
    pub(super) fn new(writer: SqlitePool, readers: SqlitePool, clock: Clock) -> Self {
        Self { writer, readers, clock }
    }

    /// The transaction that alone writes.
    async fn write(&self) -> Result<SqliteTransaction<'static>, LogError> {
        Ok(self.writer.begin_with("begin immediate").await?)
    }

    pub(super) async fn reserve_block(&self) -> Result<i64, LogError> {
        let sql = "update message_block set next=next+? returning next-?";
        Ok(sqlx::query_scalar(sql).bind(BLOCK).bind(BLOCK).fetch_one(&self.writer).await?)
    }

    pub(super) async fn extend(
        &self,
        receipts: &[Uuid],
    ) -> Result<Vec<(Uuid, Duration)>, LogError> {
        let now = self.clock.now_ms();
        let mut tx = self.write().await?;
        let mut extended = vec![];
        for receipt in receipts {
            let deadline: Option<i64> = sqlx::query_scalar(
                "update lease set expires_at=?1+(select deadline_ms from queue where id=queue_id) \
                 where id=?2 returning expires_at-?1",
            )
            .bind(now)
            .bind(receipt.to_string())
            .fetch_optional(&mut *tx)
            .await?;
            extended.extend(deadline.map(|millis| (*receipt, duration(millis))));
        }
        tx.commit().await?;
        Ok(extended)
    }

    pub(super) async fn purge(&self, queue: QueueId) -> Result<u64, LogError> {
        let mut tx = self.write().await?;
        let now = self.clock.now_ms();
        let mut n = self
            .end_segments(
                &mut tx,
                "where queue_id=?1 limit ?2",
                i64::from(queue.0),
                -1,
                now,
                OutcomeKind::Cancelled,
            )
            .await?;
        n += sqlx::query(
            "insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,attempts,settled_at) \
             select queue_id, message_id, message_id, upload_id, ?2, 1, json_array(attempts), ?3 \
             from redelivery where queue_id=?1",
        )
        .bind(queue.0)
        .bind(OutcomeKind::Cancelled.number())
        .bind(now)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        sqlx::query("delete from redelivery where queue_id=?")
            .bind(queue.0)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(n)
    }

    pub(super) async fn expire(&self, segments: i64) -> Result<u64, LogError> {
        let mut tx = self.write().await?;
        let now = self.clock.now_ms();
        let n = self
            .end_segments(
                &mut tx,
                "where expires_at<=?1 and held=0 limit ?2",
                now,
                segments,
                now,
                OutcomeKind::Expired,
            )
            .await?;
        tx.commit().await?;
        Ok(n)
    }

    /// Ends the segments that a condition picks, each as one outcome; answers the messages.
    async fn end_segments(
        &self,
        tx: &mut SqliteTransaction<'_>,
        condition: &'static str,
        parameter: i64,
        most: i64,
        now: i64,
        kind: OutcomeKind,
    ) -> Result<u64, LogError> {
        let select = format!(
            "select queue_id, first_id, size, next, taken, upload_id from segment {condition}"
        );
        let segments: Vec<Waiting> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(parameter)
            .bind(most)
            .fetch_all(&mut **tx)
            .await?;
        let mut total = 0;
        for (queue, base, size, next, taken, upload) in segments {
            let (first, last, ids) = match from_json::<Vec<i64>>(taken.as_deref())? {
                Some(offsets) => {
                    let from = usize::try_from(next).unwrap_or(0);
                    let ids: Vec<i64> =
                        offsets.iter().skip(from).map(|offset| base + offset).collect();
                    let ends = ids.first().copied().zip(ids.last().copied());
                    let (first, last) = ends.ok_or(LogError::Damaged("an empty segment"))?;
                    (first, last, Some(ids))
                }
                None => (base + i64::from(next), base + i64::from(size) - 1, None),
            };
            sqlx::query(
                "insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,ids,settled_at) \
                 values (?,?,?,?,?,?,?,?)",
            )
            .bind(queue)
            .bind(first)
            .bind(last)
            .bind(upload)
            .bind(kind.number())
            .bind(size - next)
            .bind(ids.map(|ids| to_json(&ids)))
            .bind(now)
            .execute(&mut **tx)
            .await?;
            sqlx::query("delete from segment where queue_id=? and first_id=?")
                .bind(queue)
                .bind(base)
                .execute(&mut **tx)
                .await?;
            total += u64::try_from(size - next).unwrap_or(0);
        }
        Ok(total)
    }

    pub(super) async fn redrive(
        &self,
        dead: QueueId,
        queue: QueueId,
        limit: i64,
    ) -> Result<u64, LogError> {
        let mut tx = self.write().await?;
        let messages: Vec<(i64, Option<i64>, Option<String>)> = sqlx::query_as(
            "delete from redelivery where queue_id=?1 and message_id in \
               (select message_id from redelivery where queue_id=?1 order by available_at limit ?2) \
             returning message_id, upload_id, last_error",
        )
        .bind(dead.0)
        .bind(limit)
        .fetch_all(&mut *tx)
        .await?;
        for (message, upload, error) in &messages {
            // The dead outcome goes with it: a message's next life may not find its last one's end.
            sqlx::query("delete from outcome where queue_id=? and first_id=? and kind=?")
                .bind(queue.0)
                .bind(message)
                .bind(OutcomeKind::Dead.number())
                .execute(&mut *tx)
                .await?;
            sqlx::query(
                "insert into redelivery(queue_id,message_id,upload_id,attempts,available_at,last_error) \
                 values (?,?,?,0,?,?)",
            )
            .bind(queue.0)
            .bind(message)
            .bind(upload)
            .bind(self.clock.now_ms())
            .bind(error)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(messages.len() as u64)
    }

    pub(super) async fn holder(
        &self,
        queue: QueueId,
        message: i64,
    ) -> Result<Option<(Uuid, u16)>, LogError> {
        let rows: Vec<Holding> = sqlx::query_as(
            "select id, first_id, n, ids, settled from lease \
             where queue_id=? and first_id<=? and first_id>?-?",
        )
        .bind(queue.0)
        .bind(message)
        .bind(message)
        .bind(BLOCK)
        .fetch_all(&self.readers)
        .await?;
        for (id, first, n, ids, settled) in rows {
            let position = match from_json::<Vec<i64>>(ids.as_deref())? {
                Some(ids) => ids.iter().position(|id| *id == message),
                None => usize::try_from(message - first)
                    .ok()
                    .filter(|at| *at < usize::try_from(n).unwrap_or(0)),
            };
            if let Some(at) = position
                && settled.as_ref().is_none_or(|bits| bits.as_bytes().get(at) == Some(&b'0'))
            {
                return Ok(Some((receipt(&id)?, u16::try_from(at).unwrap_or(u16::MAX))));
            }
        }
        Ok(None)
    }

    pub(super) async fn depth(&self, queue: QueueId) -> Result<Depth, LogError> {
        let row: (i64, i64, i64, i64) = sqlx::query_as(
            "select \
               coalesce(sum(n) filter (where not held and available_at<=?2),0), \
               coalesce(sum(n) filter (where not held and available_at>?2),0), \
               coalesce(sum(n) filter (where held),0), \
               (select coalesce(sum(unsettled),0) from lease where queue_id=?1) \
             from (select size-next as n, held, available_at from segment where queue_id=?1 \
               union all select 1, 0, available_at from redelivery where queue_id=?1)",
        )
        .bind(queue.0)
        .bind(self.clock.now_ms())
        .fetch_one(&self.readers)
        .await?;
        Ok(super::depth_of(row))
    }

    pub(super) async fn counts(
        &self,
        upload: UploadId,
        queue: QueueId,
    ) -> Result<Counts, LogError> {
        let rows: Vec<(i16, i64)> = sqlx::query_as(
            "select o.kind, sum(o.n) from outcome o where o.queue_id=?2 and o.upload_id=?1 \
               and o.first_id>=(select min(first_id) from batch where upload_id=?1) \
               and o.first_id<(select max(first_id+n) from batch where upload_id=?1) \
             group by o.kind",
        )
        .bind(upload.0)
        .bind(queue.0)
        .fetch_all(&self.readers)
        .await?;
        let mut counts = Counts::default();
        rows.into_iter().for_each(|(kind, n)| counts.add(kind, n));
        Ok(counts)
    }

    /// Lets an upload's held segments go; see the same function of PostgreSQL.
    pub(super) async fn release(&self, fence: Fence, totals: &str) -> Result<(), LogError> {
        let mut tx = self.write().await?;
        let now = self.clock.now_ms();
        let published = sqlx::query(
            "update upload set state='published', totals=?3, published_at=?4 \
             where id=?1 and epoch=?2 and state='ingesting'",
        )
        .bind(fence.upload.0)
        .bind(fence.epoch)
        .bind(totals)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        if published.rows_affected() == 0 {
            return Err(LogError::LeaseLost);
        }
        let bases: Vec<(i32, i64)> = sqlx::query_as(
            "select queue_id, min(turn) from segment where not held and queue_id in \
               (select queue_id from segment where upload_id=? and held=1) group by queue_id",
        )
        .bind(fence.upload.0)
        .fetch_all(&mut *tx)
        .await?;
        for (queue, base) in bases {
            sqlx::query(
                "update segment set turn=turn+? where upload_id=? and held=1 and queue_id=?",
            )
            .bind(base)
            .bind(fence.upload.0)
            .bind(queue)
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "update segment set held=0, available_at=available_at+max(0, ?2-created_at), \
               expires_at=expires_at+max(0, ?2-created_at) \
             where upload_id=?1 and held=1",
        )
        .bind(fence.upload.0)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes back everything that a failed upload wrote, and records the fault.
    pub(super) async fn discard(&self, fence: Fence, problem: &str) -> Result<(), LogError> {
        let mut tx = self.write().await?;
        let failed = sqlx::query(
            "update upload set state='failed', problem=?3, run_key=null, ended_at=?4 \
             where id=?1 and epoch=?2 and state='ingesting'",
        )
        .bind(fence.upload.0)
        .bind(fence.epoch)
        .bind(problem)
        .bind(self.clock.now_ms())
        .execute(&mut *tx)
        .await?;
        if failed.rows_affected() == 0 {
            return Err(LogError::LeaseLost);
        }
        let batches: Vec<(i64, i64)> =
            sqlx::query_as("select first_id, first_id+n from batch where upload_id=?")
                .bind(fence.upload.0)
                .fetch_all(&mut *tx)
                .await?;
        for (first, past) in batches {
            for statement in [
                "delete from message where id>=? and id<?",
                // What a purge cancelled.
                "delete from outcome where queue_id in (select id from queue) \
                   and first_id>=? and first_id<?",
            ] {
                sqlx::query(statement).bind(first).bind(past).execute(&mut *tx).await?;
            }
        }
        for statement in [
            "delete from segment where upload_id=? and held=1",
            "delete from finding where upload_id=?",
            "delete from batch where upload_id=?",
        ] {
            sqlx::query(statement).bind(fence.upload.0).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// A receipt as its column holds it.
fn receipt(text: &str) -> Result<Uuid, LogError> {
    Uuid::parse_str(text).map_err(|_| LogError::Damaged("a receipt that is not a UUID"))
}

/// An array as its column holds it.
fn to_json<T: Serialize>(values: &[T]) -> String {
    // Arrays of whole numbers always serialize.
    serde_json::to_string(values).unwrap_or_default()
}

/// An array read from its column.
fn from_json<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, LogError> {
    text.map(serde_json::from_str)
        .transpose()
        .map_err(|_| LogError::Damaged("an array that is not JSON"))
}
