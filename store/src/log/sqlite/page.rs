//! Pages of an upload's rows and findings on SQLite.

use futures::TryStreamExt;
use sqlx::SqliteExecutor;

use super::{SqliteLog, from_json, to_json};
use crate::log::page::{
    BATCHES_A_STEP, Filling, FindingAt, NextBatch, Place, RowAt, RowPage, columns,
};
use crate::log::types::{BLOCK, LogError, QueueId, UploadId};

type Columns = (i64, i64, i64, i64, i64, Option<String>, Option<String>);

impl SqliteLog {
    pub(in crate::log) async fn upload_rows(
        &self,
        upload: UploadId,
        after: Option<RowAt>,
        mut filling: Filling,
    ) -> Result<RowPage, LogError> {
        let (sheet, row) = columns(after);
        let begin: Option<(i16, i32)> = sqlx::query_as(
            "select sheet, first_row-1 from batch where upload_id=? and (sheet,first_row)<=(?,?) \
             order by sheet desc, first_row desc limit 1",
        )
        .bind(upload.0)
        .bind(sheet)
        .bind(row)
        .fetch_optional(&self.readers)
        .await?;
        let mut from = begin.unwrap_or((sheet, row));
        loop {
            let batches: Vec<NextBatch> = sqlx::query_as(
                "select sheet, first_row, first_id, n from batch \
                 where upload_id=? and (sheet,first_row)>(?,?) order by sheet, first_row limit ?",
            )
            .bind(upload.0)
            .bind(from.0)
            .bind(from.1)
            .bind(BATCHES_A_STEP)
            .fetch_all(&self.readers)
            .await?;
            let batches = filling.enough(&batches);
            let Some(last) = batches.last() else { return Ok(filling.done()) };
            from = (last.0, last.1);
            for (_, _, first, n) in batches {
                let mut rows = sqlx::query_as(
                    "select id, sheet, \"row\", data from message \
                     where id>=? and id<? and (sheet,\"row\")>(?,?) order by id limit ?",
                )
                .bind(first)
                .bind(first + i64::from(*n))
                .bind(sheet)
                .bind(row)
                .bind(filling.room())
                .fetch(&self.readers);
                while let Some(row) = rows.try_next().await? {
                    if !filling.push(row) {
                        return Ok(filling.done());
                    }
                }
            }
        }
    }

    pub(in crate::log) async fn findings_after(
        &self,
        upload: UploadId,
        after: Option<FindingAt>,
        limit: i64,
    ) -> Result<Vec<(i16, i32, i32, String)>, LogError> {
        let (sheet, row) = columns(after.map(|after| after.at));
        Ok(sqlx::query_as(
            "select sheet, \"row\", ordinal, content from finding \
             where upload_id=? and (sheet,\"row\",ordinal)>(?,?,?) \
             order by sheet, \"row\", ordinal limit ?",
        )
        .bind(upload.0)
        .bind(sheet)
        .bind(row)
        .bind(after.map_or(-1, |after| after.ordinal.cast_signed()))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?)
    }
}

pub(in crate::log) async fn places(
    executor: impl SqliteExecutor<'_>,
    queue: QueueId,
    blocks: &[i64],
) -> Result<Vec<Place>, LogError> {
    // One statement, so that a message that moves from one place to another is seen in one.
    let rows: Vec<Columns> = sqlx::query_as(
        "select ?4, s.first_id, s.size, s.next, 0, null, s.taken \
         from json_each(?1) b cross join segment s \
         where s.queue_id=?2 and s.first_id>=b.value and s.first_id<b.value+?3 \
         union all \
         select ?5, first_id, n, 0, 0, settled, ids from lease \
         where queue_id=?2 and first_id/?3*?3 in (select value from json_each(?1)) \
         union all \
         select ?6, r.message_id, 1, 0, 0, null, null \
         from json_each(?1) b cross join redelivery r \
         where r.queue_id=?2 and r.message_id>=b.value and r.message_id<b.value+?3 \
         union all \
         select ?7, o.first_id, o.last_id-o.first_id+1, 0, o.kind, o.mask, o.ids \
         from json_each(?1) b cross join outcome o \
         where o.queue_id=?2 and o.first_id>=b.value and o.first_id<b.value+?3",
    )
    .bind(to_json(blocks))
    .bind(queue.0)
    .bind(BLOCK)
    .bind(Place::SEGMENT)
    .bind(Place::LEASE)
    .bind(Place::REDELIVERY)
    .bind(Place::OUTCOME)
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|(what, first, size, next, kind, mask, ids)| {
            let ids = from_json(ids.as_deref())?;
            Ok(Place((what, first, size, next, kind, mask, ids)))
        })
        .collect()
}
