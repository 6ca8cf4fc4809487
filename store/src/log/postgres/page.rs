//! Pages of an upload's rows and findings on PostgreSQL.

use futures::TryStreamExt;

use super::PostgresLog;
use crate::log::page::{
    BATCHES_A_STEP, Filling, FindingAt, NextBatch, Place, PlaceColumns, RowAt, RowPage, columns,
};
use crate::log::types::{BLOCK, LogError, QueueId, UploadId};

/// One statement, so that a message that moves from one place to another is seen in one.
pub(super) const PLACES: &str = "
select $4::int8, s.first_id, s.size::int8, s.next::int8, 0::int8, null::text, s.taken::int8[]
from unnest($1::int8[]) b(first)
join segment s on s.queue_id=$2 and s.first_id>=b.first and s.first_id<b.first+$3
union all
select $5::int8, l.first_id, l.n::int8, 0::int8, 0::int8, l.settled, l.ids
from lease l where l.queue_id=$2 and l.first_id/$3*$3=any($1::int8[])
union all
select $6::int8, r.message_id, 1::int8, 0::int8, 0::int8, null::text, null::int8[]
from unnest($1::int8[]) b(first)
join redelivery r on r.queue_id=$2 and r.message_id>=b.first and r.message_id<b.first+$3
union all
select $7::int8, o.first_id, o.last_id-o.first_id+1, 0::int8, o.kind::int8, o.mask, o.ids
from unnest($1::int8[]) b(first)
join outcome o on o.queue_id=$2 and o.first_id>=b.first and o.first_id<b.first+$3";

impl PostgresLog {
    pub(in crate::log) async fn upload_rows(
        &self,
        upload: UploadId,
        after: Option<RowAt>,
        mut filling: Filling,
    ) -> Result<RowPage, LogError> {
        let (sheet, row) = columns(after);
        let begin: Option<(i16, i32)> = sqlx::query_as(
            "select sheet, first_row-1 from batch where upload_id=$1 and (sheet,first_row)<=($2,$3) \
             order by sheet desc, first_row desc limit 1",
        )
        .bind(upload.0)
        .bind(sheet)
        .bind(row)
        .fetch_optional(&self.pool)
        .await?;
        let mut from = begin.unwrap_or((sheet, row));
        loop {
            let batches: Vec<NextBatch> = sqlx::query_as(
                "select sheet, first_row, first_id, n from batch \
                 where upload_id=$1 and (sheet,first_row)>($2,$3) \
                 order by sheet, first_row limit $4",
            )
            .bind(upload.0)
            .bind(from.0)
            .bind(from.1)
            .bind(BATCHES_A_STEP)
            .fetch_all(&self.pool)
            .await?;
            let batches = filling.enough(&batches);
            let Some(last) = batches.last() else { return Ok(filling.done()) };
            from = (last.0, last.1);
            let firsts: Vec<i64> = batches.iter().map(|batch| batch.2).collect();
            let pasts: Vec<i64> =
                batches.iter().map(|batch| batch.2 + i64::from(batch.3)).collect();
            let mut rows = sqlx::query_as(
                "select m.id, m.sheet, m.\"row\", m.data from unnest($1::int8[],$2::int8[]) b(first,past) \
                 join message m on m.id>=b.first and m.id<b.past \
                 where (m.sheet,m.\"row\")>($3,$4) order by m.sheet, m.\"row\" limit $5",
            )
            .bind(&firsts)
            .bind(&pasts)
            .bind(sheet)
            .bind(row)
            .bind(filling.room())
            .fetch(&self.pool);
            while let Some(row) = rows.try_next().await? {
                if !filling.push(row) {
                    return Ok(filling.done());
                }
            }
        }
    }

    pub(in crate::log) async fn places(
        &self,
        executor: impl sqlx::PgExecutor<'_>,
        queue: QueueId,
        blocks: &[i64],
    ) -> Result<Vec<Place>, LogError> {
        let rows: Vec<PlaceColumns> = sqlx::query_as(self.sql.places.clone())
            .bind(blocks)
            .bind(queue.0)
            .bind(BLOCK)
            .bind(Place::SEGMENT)
            .bind(Place::LEASE)
            .bind(Place::REDELIVERY)
            .bind(Place::OUTCOME)
            .fetch_all(executor)
            .await?;
        Ok(rows.into_iter().map(Place).collect())
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
             where upload_id=$1 and (sheet,\"row\",ordinal)>($2,$3,$4) \
             order by sheet, \"row\", ordinal limit $5",
        )
        .bind(upload.0)
        .bind(sheet)
        .bind(row)
        .bind(after.map_or(-1, |after| after.ordinal.cast_signed()))
        .bind(limit)
        .fetch_all(&self.pool)
        .await?)
    }
}
