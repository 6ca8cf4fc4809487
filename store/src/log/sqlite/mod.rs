//! The log on SQLite: each operation is one transaction of a few prepared statements.
//!
//! There is one writer, a pool of a single connection, and every writing transaction begins
//! `IMMEDIATE`: so nothing is ever locked half-way and no statement needs SKIP LOCKED. Readers have
//! connections of their own and see what was last committed. Arrays are JSON text.

mod carried;
mod end;
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
mod steer;
mod upload;
mod waiting;

pub(super) use page::places;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{SqlitePool, SqliteTransaction};
use uuid::Uuid;

use super::types::{BLOCK, Counts, LogError, QueueId, UploadId};
use crate::Clock;
use crate::clock::duration;
use rowmill_domain::Depth;

/// A lease: receipt, first id, size, ids, settled positions.
type Holding = (String, i64, i32, Option<String>, Option<String>);

/// The log on SQLite.
#[derive(Debug, Clone)]
pub(super) struct SqliteLog {
    writer: SqlitePool,
    pub(super) readers: SqlitePool,
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
        lasting_ms: Option<i64>,
    ) -> Result<Vec<(Uuid, Duration)>, LogError> {
        let now = self.clock.now_ms();
        let mut tx = self.write().await?;
        let mut extended = vec![];
        for receipt in receipts {
            let deadline: Option<i64> = sqlx::query_scalar(
                "update lease set expires_at=?1+coalesce(?3,(select deadline_ms from queue where id=queue_id)) \
                 where id=?2 returning expires_at-?1",
            )
            .bind(now)
            .bind(receipt.to_string())
            .bind(lasting_ms)
            .fetch_optional(&mut *tx)
            .await?;
            extended.extend(deadline.map(|millis| (*receipt, duration(millis))));
        }
        tx.commit().await?;
        Ok(extended)
    }

    pub(super) async fn foreign_lease(
        &self,
        queue: QueueId,
        leases: &[Uuid],
    ) -> Result<Option<Uuid>, LogError> {
        let leases: Vec<String> = leases.iter().map(Uuid::to_string).collect();
        let found: Option<String> = sqlx::query_scalar(
            "select id from lease where id in (select value from json_each(?)) and queue_id<>? limit 1",
        )
        .bind(to_json(&leases))
        .bind(queue.0)
        .fetch_optional(&self.readers)
        .await?;
        found.as_deref().map(receipt).transpose()
    }

    pub(super) async fn holder(
        &self,
        queue: QueueId,
        message: i64,
    ) -> Result<Option<(Uuid, u16)>, LogError> {
        let rows: Vec<Holding> = sqlx::query_as(
            "select id, first_id, n, ids, settled from lease \
             where queue_id=?1 and first_id<=?2 and first_id>?2-?3 \
               and exists (select 1 from queue where id=?1 and deleted_at is null)",
        )
        .bind(queue.0)
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
               union all select 1, available_at>=4503599627370496, available_at from redelivery where queue_id=?1)",
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
               and o.first_id<(select max(max(first_id+n),iif(max(first_id)>=576460752303423488,(max(first_id)/2147483648+1)*2147483648,0)) from batch where upload_id=?1) \
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
