//! An upload's coverage and its rows with their outcomes, on PostgreSQL.

use super::PostgresLog;
use crate::log::rows::{BatchRange, MessageColumns, PageOutcome, RangeColumns};
use crate::log::types::{BLOCK, Covered, LogError, PageAfter, QueueId, UploadId};
use rowmill_domain::RowNumber;

type OutcomeColumns =
    (i64, i64, i16, Option<String>, Option<Vec<i64>>, Option<Vec<i16>>, Option<String>, i64);

impl PostgresLog {
    pub(in crate::log) async fn covered(&self, upload: UploadId) -> Result<Vec<Covered>, LogError> {
        let rows: Vec<(i16, i32, i32, i32, i32)> = sqlx::query_as(
            "select sheet, first_row, last_row, n, unrouted from batch where upload_id=$1 \
             order by sheet, first_row",
        )
        .bind(upload.0)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(sheet, first_row, last_row, n, unrouted)| Covered {
                sheet: sheet.cast_unsigned(),
                first_row: RowNumber(first_row.cast_unsigned()),
                last_row: RowNumber(last_row.cast_unsigned()),
                messages: n.cast_unsigned(),
                unrouted: unrouted.cast_unsigned(),
            })
            .collect())
    }

    pub(in crate::log) async fn findings(
        &self,
        upload: UploadId,
        most: i64,
    ) -> Result<Vec<String>, LogError> {
        Ok(sqlx::query_scalar(
            "select content from finding where upload_id=$1 order by sheet, \"row\", ordinal limit $2",
        )
        .bind(upload.0)
        .bind(most)
        .fetch_all(&self.pool)
        .await?)
    }

    /// The messages of batches, in any order.
    pub(in crate::log) async fn messages_of(
        &self,
        batches: &[BatchRange],
    ) -> Result<Vec<MessageColumns>, LogError> {
        let firsts: Vec<i64> = batches.iter().map(|batch| batch.first_id).collect();
        let pasts: Vec<i64> = batches.iter().map(BatchRange::past).collect();
        Ok(sqlx::query_as(
            "select m.id, m.\"row\", m.data from unnest($1::int8[],$2::int8[]) b(first,past) \
             join message m on m.id>=b.first and m.id<b.past",
        )
        .bind(&firsts)
        .bind(&pasts)
        .fetch_all(&self.pool)
        .await?)
    }

    /// The outcomes that begin in blocks, given by their first numbers.
    pub(in crate::log) async fn outcomes_of_blocks(
        &self,
        queue: QueueId,
        blocks: &[i64],
    ) -> Result<Vec<PageOutcome>, LogError> {
        let outcomes = sqlx::query_as::<_, OutcomeColumns>(
            "select o.first_id, o.last_id, o.kind, o.mask, o.ids, o.attempts, o.items, o.settled_at \
             from unnest($1::int8[]) b(first) \
             join outcome o on o.queue_id=$2 and o.first_id>=b.first and o.first_id<b.first+$3",
        )
        .bind(blocks)
        .bind(queue.0)
        .bind(BLOCK)
        .fetch_all(&self.pool)
        .await?;
        let outcome = |(first_id, last_id, kind, mask, ids, attempts, items, settled_at)| {
            PageOutcome { first_id, last_id, kind, mask, ids, attempts, items, settled_at }
        };
        Ok(outcomes.into_iter().map(outcome).collect())
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
             where upload_id=$1 and ($2::smallint is null or (sheet,first_row)>($2,$3)) \
             order by sheet, first_row limit $4",
        )
        .bind(upload.0)
        .bind(sheet)
        .bind(row)
        .bind(most)
        .fetch_all(&self.pool)
        .await?)
    }

    /// The rows of messages, from a number to before another.
    pub(in crate::log) async fn rows_of(
        &self,
        first: i64,
        past: i64,
    ) -> Result<Vec<(i64, i32)>, LogError> {
        Ok(sqlx::query_as("select id, \"row\" from message where id>=$1 and id<$2 order by id")
            .bind(first)
            .bind(past)
            .fetch_all(&self.pool)
            .await?)
    }
}
