//! The two ends of an upload's ingestion on SQLite: everything is let go, or everything is taken
//! back.

use sqlx::SqliteTransaction;

use super::SqliteLog;
use crate::log::types::{Fence, LogError, UploadId};
use rowmill_domain::RowOfUpload;

impl SqliteLog {
    /// Lets an upload's held segments go; see the same function of PostgreSQL.
    pub(in crate::log) async fn release(&self, fence: Fence, totals: &str) -> Result<(), LogError> {
        let mut tx = self.write().await?;
        let now = self.clock.now_ms();
        let published: Option<(bool, bool)> = sqlx::query_as(
            "update upload set state='published', totals=?3, published_at=?4 \
             where id=?1 and epoch=?2 and state='ingesting' returning paused_at is not null, stream",
        )
        .bind(fence.upload.0)
        .bind(fence.epoch)
        .bind(totals)
        .bind(now)
        .fetch_optional(&mut *tx)
        .await?;
        let (paused, stream) = published.ok_or(LogError::LeaseLost)?;
        if paused && stream {
            tx.commit().await?;
            return Ok(());
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
            "update segment set held=?3, available_at=available_at+max(0, ?2-created_at), \
               expires_at=expires_at+max(0, ?2-created_at) \
             where upload_id=?1 and held=1",
        )
        .bind(fence.upload.0)
        .bind(now)
        .bind(paused)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes back everything that a failed upload wrote, and records the fault.
    pub(in crate::log) async fn discard(
        &self,
        fence: Fence,
        problem: &str,
    ) -> Result<(), LogError> {
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
        take_back(&mut tx, fence.upload).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Removes all that an upload published, with what was recorded of it.
pub(super) async fn take_back(
    tx: &mut SqliteTransaction<'_>,
    upload: UploadId,
) -> Result<(), LogError> {
    let batches: Vec<(i64, i64)> =
        sqlx::query_as("select first_id, first_id+n from batch where upload_id=?")
            .bind(upload.0)
            .fetch_all(&mut **tx)
            .await?;
    for (first, past) in batches {
        for statement in [
            "delete from message where id>=? and id<?",
            // What a purge cancelled.
            "delete from outcome where queue_id in (select id from queue) \
                   and first_id>=? and first_id<?",
        ] {
            sqlx::query(statement).bind(first).bind(past).execute(&mut **tx).await?;
        }
    }
    for statement in [
        "delete from segment where upload_id=?",
        "delete from finding where upload_id=?",
        "delete from row_key where upload_id=?",
        "delete from batch where upload_id=?",
    ] {
        sqlx::query(statement).bind(upload.0).execute(&mut **tx).await?;
    }
    // Of rows that travel in a carrier only their ends are here.
    let Some((first, past)) = RowOfUpload::range(upload.0) else { return Ok(()) };
    for statement in [
        "delete from outcome where queue_id in (select id from queue) and first_id>=? and first_id<?",
        "delete from carried_end where queue_id in (select id from queue) and message_id>=? and message_id<?",
    ] {
        sqlx::query(statement).bind(first).bind(past).execute(&mut **tx).await?;
    }
    Ok(())
}
