//! What pages of outcomes and look-ups read, on SQLite.

use super::{SqliteLog, from_json, to_json};
use crate::log::outcomes::MessageOrigin;
use crate::log::rows::PageOutcome;
use crate::log::types::{BLOCK, LogError, QueueId, UploadId};

type OutcomeColumns =
    (i64, i64, i16, Option<String>, Option<String>, Option<String>, Option<String>, i64);

impl SqliteLog {
    pub(in crate::log) async fn queues_from(
        &self,
        first: QueueId,
    ) -> Result<Vec<QueueId>, LogError> {
        let ids: Vec<i32> = sqlx::query_scalar(
            "select id from queue where id>=?1 and deleted_at is null order by id",
        )
        .bind(first.0)
        .fetch_all(&self.readers)
        .await?;
        Ok(ids.into_iter().map(QueueId).collect())
    }

    /// The first outcome that may end a message from `from` on. One that begins before it may too,
    /// but not in an earlier block.
    pub(in crate::log) async fn first_outcome(
        &self,
        queue: QueueId,
        from: i64,
        of: Option<UploadId>,
    ) -> Result<Option<i64>, LogError> {
        Ok(sqlx::query_scalar(
            "select first_id from outcome where queue_id=?1 and first_id>=?2-?2%?5 and last_id>=?2 \
               and (?3 is null or upload_id=?3 and first_id>=(select min(first_id) from batch where upload_id=?3)) \
               and first_id<=coalesce((select max(max(first_id+n), iif(max(first_id)>=576460752303423488,(max(first_id)/2147483648+1)*2147483648,0)) from batch where upload_id=?3),?4) \
             order by first_id limit 1",
        )
        .bind(queue.0)
        .bind(from)
        .bind(of.map(|upload| upload.0))
        .bind(i64::MAX)
        .bind(BLOCK)
        .fetch_optional(&self.readers)
        .await?)
    }

    pub(in crate::log) async fn outcomes_of_block(
        &self,
        queue: QueueId,
        block: i64,
        of: Option<UploadId>,
    ) -> Result<Vec<PageOutcome>, LogError> {
        let rows: Vec<OutcomeColumns> = sqlx::query_as(
            "select first_id, last_id, kind, mask, ids, attempts, items, settled_at from outcome \
             where queue_id=?1 and first_id>=?2 and first_id<?2+?3 and (?4 is null or upload_id=?4)",
        )
        .bind(queue.0)
        .bind(block)
        .bind(BLOCK)
        .bind(of.map(|upload| upload.0))
        .fetch_all(&self.readers)
        .await?;
        let mut page = Vec::with_capacity(rows.len());
        for (first_id, last_id, kind, mask, ids, attempts, items, settled_at) in rows {
            page.push(PageOutcome {
                first_id,
                last_id,
                kind,
                mask,
                ids: from_json(ids.as_deref())?,
                attempts: from_json(attempts.as_deref())?,
                items,
                settled_at,
            });
        }
        Ok(page)
    }

    pub(in crate::log) async fn origins(
        &self,
        ids: &[i64],
    ) -> Result<Vec<MessageOrigin>, LogError> {
        Ok(sqlx::query_as(
            "select id, upload_id, \"row\" from message where id in (select value from json_each(?1)) order by id",
        )
        .bind(to_json(ids))
        .fetch_all(&self.readers)
        .await?)
    }
}
