//! An upload's coverage and its rows with their outcomes, on SQLite.

use sqlx::Row;

use super::{SqliteLog, from_json};
use crate::log::rows::{BatchRange, MessageColumns, PageOutcome, RangeColumns};
use crate::log::types::{BLOCK, Covered, LogError, PageAfter, QueueId, UploadId};
use rowmill_domain::RowNumber;

impl SqliteLog {
    pub(in crate::log) async fn covered(&self, upload: UploadId) -> Result<Vec<Covered>, LogError> {
        let rows: Vec<(u16, u32, u32, u32, u32)> = sqlx::query_as(
            "select sheet, first_row, last_row, n, unrouted from batch where upload_id=? \
             order by sheet, first_row",
        )
        .bind(upload.0)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(sheet, first_row, last_row, messages, unrouted)| Covered {
                sheet,
                first_row: RowNumber(first_row),
                last_row: RowNumber(last_row),
                messages,
                unrouted,
            })
            .collect())
    }

    pub(in crate::log) async fn findings(
        &self,
        upload: UploadId,
        most: i64,
    ) -> Result<Vec<String>, LogError> {
        Ok(sqlx::query_scalar(
            "select content from finding where upload_id=? order by sheet, \"row\", ordinal limit ?",
        )
        .bind(upload.0)
        .bind(most)
        .fetch_all(&self.readers)
        .await?)
    }

    /// The messages of batches, in any order.
    pub(in crate::log) async fn messages_of(
        &self,
        batches: &[BatchRange],
    ) -> Result<Vec<MessageColumns>, LogError> {
        let mut messages = vec![];
        for batch in batches {
            let part: Vec<MessageColumns> =
                sqlx::query_as("select id, \"row\", data from message where id>=? and id<?")
                    .bind(batch.first_id)
                    .bind(batch.past())
                    .fetch_all(&self.readers)
                    .await?;
            messages.extend(part);
        }
        Ok(messages)
    }

    /// The outcomes that begin in blocks, given by their first numbers.
    pub(in crate::log) async fn outcomes_of_blocks(
        &self,
        queue: QueueId,
        blocks: &[i64],
    ) -> Result<Vec<PageOutcome>, LogError> {
        let mut outcomes = vec![];
        for block in blocks {
            let rows = sqlx::query(
                "select first_id, last_id, kind, mask, ids, attempts, items, settled_at \
                 from outcome where queue_id=? and first_id>=? and first_id<?",
            )
            .bind(queue.0)
            .bind(block)
            .bind(block + BLOCK)
            .fetch_all(&self.readers)
            .await?;
            for row in rows {
                outcomes.push(PageOutcome {
                    first_id: row.try_get(0)?,
                    last_id: row.try_get(1)?,
                    kind: row.try_get(2)?,
                    mask: row.try_get(3)?,
                    ids: from_json(row.try_get(4)?)?,
                    attempts: from_json(row.try_get(5)?)?,
                    items: row.try_get(6)?,
                    settled_at: row.try_get(7)?,
                });
            }
        }
        Ok(outcomes)
    }

    /// The batches that come after a place, in the order of their rows.
    pub(in crate::log) async fn ranges_after(
        &self,
        upload: UploadId,
        after: PageAfter,
        most: i64,
    ) -> Result<Vec<RangeColumns>, LogError> {
        let (sheet, row) = after.0.unzip();
        Ok(sqlx::query_as(
            "select sheet, first_row, last_row, first_id, n from batch \
             where upload_id=?1 and (?2 is null or (sheet,first_row)>(?2,?3)) \
             order by sheet, first_row limit ?4",
        )
        .bind(upload.0)
        .bind(sheet)
        .bind(row)
        .bind(most)
        .fetch_all(&self.readers)
        .await?)
    }

    /// The rows of messages, from a number to before another.
    pub(in crate::log) async fn rows_of(
        &self,
        first: i64,
        past: i64,
    ) -> Result<Vec<(i64, i32)>, LogError> {
        Ok(sqlx::query_as("select id, \"row\" from message where id>=? and id<? order by id")
            .bind(first)
            .bind(past)
            .fetch_all(&self.readers)
            .await?)
    }
}
