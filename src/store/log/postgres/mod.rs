//! The log on PostgreSQL: each operation is one statement, or one transaction of a few.

mod publish;
mod receive;
mod rows;
mod settle;
pub(super) mod sql;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

use super::types::{Counts, Fence, LogError, QueueId, UploadId};
use crate::domain::Depth;
use crate::store::Clock;
use crate::store::clock::duration;

/// The log on PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct PostgresLog {
    pub(super) pool: PgPool,
    pub(super) clock: Clock,
    pub(super) sql: Arc<sql::Statements>,
}

impl PostgresLog {
    pub(super) async fn reserve_block(&self) -> Result<i64, LogError> {
        let sql = "select nextval('message_block')";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    pub(super) async fn extend(
        &self,
        receipts: &[Uuid],
    ) -> Result<Vec<(Uuid, Duration)>, LogError> {
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(self.sql.extend.clone())
            .bind(self.clock.offset_ms())
            .bind(receipts)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(|(id, millis)| (id, duration(millis))).collect())
    }

    pub(super) async fn purge(&self, queue: QueueId) -> Result<u64, LogError> {
        let n: i64 = sqlx::query_scalar(self.sql.purge.clone())
            .bind(queue.0)
            .bind(self.clock.offset_ms())
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(n).unwrap_or(0))
    }

    pub(super) async fn expire(&self, segments: i64) -> Result<u64, LogError> {
        let n: i64 = sqlx::query_scalar(self.sql.expire.clone())
            .bind(self.clock.offset_ms())
            .bind(segments)
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(n).unwrap_or(0))
    }

    pub(super) async fn redrive(
        &self,
        dead: QueueId,
        queue: QueueId,
        limit: i64,
    ) -> Result<u64, LogError> {
        let n: i64 = sqlx::query_scalar(self.sql.redrive.clone())
            .bind(dead.0)
            .bind(queue.0)
            .bind(limit)
            .bind(self.clock.offset_ms())
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(n).unwrap_or(0))
    }

    pub(super) async fn holder(
        &self,
        queue: QueueId,
        message: i64,
    ) -> Result<Option<(Uuid, u16)>, LogError> {
        let row: Option<(Uuid, i32)> = sqlx::query_as(self.sql.holder.clone())
            .bind(queue.0)
            .bind(message)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(id, position)| (id, u16::try_from(position).unwrap_or(u16::MAX))))
    }

    pub(super) async fn depth(&self, queue: QueueId) -> Result<Depth, LogError> {
        let row: (i64, i64, i64, i64) = sqlx::query_as(self.sql.depth.clone())
            .bind(queue.0)
            .bind(self.clock.offset_ms())
            .fetch_one(&self.pool)
            .await?;
        Ok(super::depth_of(row))
    }

    pub(super) async fn counts(
        &self,
        upload: UploadId,
        queue: QueueId,
    ) -> Result<Counts, LogError> {
        let rows: Vec<(i16, i64)> = sqlx::query_as(self.sql.counts.clone())
            .bind(upload.0)
            .bind(queue.0)
            .fetch_all(&self.pool)
            .await?;
        let mut counts = Counts::default();
        rows.into_iter().for_each(|(kind, n)| counts.add(kind, n));
        Ok(counts)
    }

    /// Lets an upload's held segments go, all in one step, and records that it is published.
    /// They take their turn from where the queue is now, so that a new upload neither waits for a
    /// long one that began before it nor holds it up.
    pub(super) async fn release(&self, fence: Fence, totals: &str) -> Result<(), LogError> {
        let mut tx = self.pool.begin().await?;
        let published = sqlx::query(
            "update upload set state='published', totals=$3, \
             published_at=(extract(epoch from clock_timestamp())*1000)::int8+$4::int8 \
             where id=$1 and epoch=$2 and state='ingesting'",
        )
        .bind(fence.upload.0)
        .bind(fence.epoch)
        .bind(totals)
        .bind(self.clock.offset_ms())
        .execute(&mut *tx)
        .await?;
        if published.rows_affected() == 0 {
            return Err(LogError::LeaseLost);
        }
        sqlx::query(
            "with base as materialized (select queue_id, min(turn) as turn from segment \
               where not held and queue_id=any(array(select distinct queue_id from segment where upload_id=$1 and held)) \
               group by queue_id), \
             clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now), \
             l as materialized (select queue_id, first_id, greatest(0,(select now from clock)-created_at) as passed from segment \
               where upload_id=$1 and held order by queue_id, first_id for update) \
             update segment s set held=false, \
               turn=s.turn+coalesce((select b.turn from base b where b.queue_id=s.queue_id),0), \
               available_at=s.available_at+l.passed, expires_at=s.expires_at+l.passed \
             from l where s.queue_id=l.queue_id and s.first_id=l.first_id",
        )
        .bind(fence.upload.0)
        .bind(self.clock.offset_ms())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes back everything that a failed upload wrote, and records the fault.
    pub(super) async fn discard(&self, fence: Fence, problem: &str) -> Result<(), LogError> {
        let mut tx = self.pool.begin().await?;
        let failed = sqlx::query(
            "update upload set state='failed', problem=$3, run_key=null, \
             ended_at=(extract(epoch from clock_timestamp())*1000)::int8+$4::int8 \
             where id=$1 and epoch=$2 and state='ingesting'",
        )
        .bind(fence.upload.0)
        .bind(fence.epoch)
        .bind(problem)
        .bind(self.clock.offset_ms())
        .execute(&mut *tx)
        .await?;
        if failed.rows_affected() == 0 {
            return Err(LogError::LeaseLost);
        }
        for statement in [
            "with l as materialized (select queue_id, first_id from segment \
               where upload_id=$1 and held order by queue_id, first_id for update) \
             delete from segment s using l where s.queue_id=l.queue_id and s.first_id=l.first_id",
            // What a purge cancelled.
            "delete from outcome o using batch b, queue q where b.upload_id=$1 \
             and o.queue_id=q.id and o.first_id>=b.first_id and o.first_id<b.first_id+b.n",
            "delete from message m using batch b \
             where b.upload_id=$1 and m.id>=b.first_id and m.id<b.first_id+b.n",
            "delete from finding where upload_id=$1",
            "delete from batch where upload_id=$1",
        ] {
            sqlx::query(statement).bind(fence.upload.0).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
