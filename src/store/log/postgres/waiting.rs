//! What waits, moved without a delivery, on PostgreSQL: cancelled, expired, or brought back from
//! the dead.

use super::PostgresLog;
use crate::store::log::types::{LogError, QueueId};

impl PostgresLog {
    pub(in crate::store::log) async fn purge(&self, queue: QueueId) -> Result<u64, LogError> {
        let n: i64 = sqlx::query_scalar(self.sql.purge.clone())
            .bind(queue.0)
            .bind(self.clock.offset_ms())
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(n).unwrap_or(0))
    }

    pub(in crate::store::log) async fn expire(&self, segments: i64) -> Result<u64, LogError> {
        let n: i64 = sqlx::query_scalar(self.sql.expire.clone())
            .bind(self.clock.offset_ms())
            .bind(segments)
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(n).unwrap_or(0))
    }

    pub(in crate::store::log) async fn redrive(
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
}
