//! The log on PostgreSQL: each operation is one statement, or one transaction of a few.

mod carried;
mod end;
mod floor;
mod keys;
mod look;
mod outcomes;
mod page;
mod publish;
mod receive;
mod redrive;
mod remove;
mod rows;
mod settle;
pub(super) mod sql;
mod steer;
mod upload;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

use super::types::{Counts, LogError, QueueId, UploadId};
use crate::Clock;
use crate::clock::duration;
use rowmill_domain::Depth;

/// The log on PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct PostgresLog {
    pub(super) pool: PgPool,
    pub(super) clock: Clock,
    pub(super) sql: Arc<sql::Statements>,
    floors: floor::Floors,
}

impl PostgresLog {
    pub(super) fn new(pool: PgPool, clock: Clock) -> Self {
        let sql = Arc::new(sql::Statements::default());
        Self { pool, clock, sql, floors: floor::Floors::default() }
    }

    pub(super) async fn reserve_block(&self) -> Result<i64, LogError> {
        let sql = "select nextval('message_block')";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    pub(super) async fn extend(
        &self,
        receipts: &[Uuid],
        lasting_ms: Option<i64>,
    ) -> Result<Vec<(Uuid, Duration)>, LogError> {
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(self.sql.extend.clone())
            .bind(self.clock.offset_ms())
            .bind(receipts)
            .bind(lasting_ms)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(|(id, millis)| (id, duration(millis))).collect())
    }

    pub(super) async fn foreign_lease(
        &self,
        queue: QueueId,
        leases: &[Uuid],
    ) -> Result<Option<Uuid>, LogError> {
        let sql = "select id from lease where id=any($1) and queue_id<>$2 limit 1";
        Ok(sqlx::query_scalar(sql).bind(leases).bind(queue.0).fetch_optional(&self.pool).await?)
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
}
