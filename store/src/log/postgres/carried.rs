//! The ledger of carried messages on PostgreSQL.

use std::time::Duration;

use super::PostgresLog;
use super::publish::already_there;
use crate::clock::millis;
use crate::log::carried::{CarriedBatch, End, KnownColumns, new_of, outcome_rows};
use crate::log::plan::Plan;
use crate::log::types::{LogError, Publication, QueueId, TopicId};

/// As `COMMIT_BATCH`, without what would be in segments.
const COMMIT: &str = "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$1::int8 as now),
fence as materialized (select 1 from upload where id=$4 and epoch=$5 and state='ingesting' for share),
allowed as materialized (
  select now from clock
  where exists (select 1 from topic where id=$2 and version=$3) and exists (select 1 from fence)),
b as (insert into batch(first_id,n,topic_id,upload_id,sheet,first_row,last_row,unrouted,copies,queues,sizes,created_at,duplicates)
  select $6,$7,$2,$4,$8,$9,$10,$11,(select coalesce(sum(size),0) from unnest($13::int[]) size),$12,$13,now,$16 from allowed),
f as (insert into finding(upload_id,sheet,\"row\",ordinal,first_id,content)
  select $4,$8,x.at,x.ordinal,$6,x.content from allowed cross join unnest($14::int[],$15::text[]) with ordinality x(at,content,ordinal)
  on conflict do nothing)
select count(*) from allowed";

/// In the order of the key, so that two who end the same messages do not wait for each other.
const ADD_ENDS: &str = "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$1::int8 as now)
insert into carried_end(queue_id,message_id,upload_id,kind,ended_at)
select x.queue, x.id, x.upload, x.kind, (select now from clock)
from unnest($2::int[],$3::int8[],$4::int8[],$5::smallint[]) x(queue,id,upload,kind)
where exists (select 1 from queue q where q.id=x.queue and q.deleted_at is null)
  and (x.upload is null or exists (select 1 from upload u where u.id=x.upload))
order by x.queue, x.id
on conflict do nothing returning queue_id, message_id, ended_at";

const KNOWN: &str = "
select 0::int8, message_id, kind from carried_end where queue_id=$1 and message_id=any($2)
union all
select 1::int8, id, (case when state in ('failed','cancelled') then 0 else 1 end)::smallint from upload where id=any($3)";

const REMOVE_CARRIED: &str = "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$1::int8 as now),
x as materialized (select queue_id, message_id from carried_end
  where upload_id is null and ended_at<=(select now from clock)-$2::int8 order by ended_at limit $3 for update skip locked),
gone as (delete from carried_end c using x where c.queue_id=x.queue_id and c.message_id=x.message_id),
o as (delete from outcome o using x where o.queue_id=x.queue_id and o.first_id=x.message_id and o.upload_id is null)
select count(*) from x";

impl PostgresLog {
    pub(in crate::log) async fn commit_carried(
        &self,
        batch: &CarriedBatch,
    ) -> Result<(), LogError> {
        let rows = &batch.rows;
        let mut tx = self.pool.begin().await?;
        sqlx::query(self.sql.share_routes.clone()).bind(batch.topic.0).execute(&mut *tx).await?;
        let allowed: i64 = sqlx::query_scalar(COMMIT)
            .bind(self.clock.offset_ms())
            .bind(batch.topic.0)
            .bind(batch.routes_version)
            .bind(rows.fence.upload.0)
            .bind(rows.fence.epoch)
            .bind(batch.first_id)
            .bind(batch.messages.cast_signed())
            .bind(rows.sheet.cast_signed())
            .bind(rows.first_row.0.cast_signed())
            .bind(rows.last_row.0.cast_signed())
            .bind(batch.unrouted.cast_signed())
            .bind(batch.copies.iter().map(|(queue, _)| queue.0).collect::<Vec<_>>())
            .bind(batch.copies.iter().map(|(_, size)| size.cast_signed()).collect::<Vec<_>>())
            .bind(rows.findings.iter().map(|(row, _)| row.0.cast_signed()).collect::<Vec<_>>())
            .bind(rows.findings.iter().map(|(_, content)| content.as_str()).collect::<Vec<_>>())
            .bind(rows.duplicates.cast_signed())
            .fetch_one(&mut *tx)
            .await
            .map_err(already_there)?;
        if allowed != 1 {
            let routed: bool = sqlx::query_scalar(self.sql.why_refused.clone())
                .bind(batch.topic.0)
                .bind(batch.routes_version)
                .fetch_one(&mut *tx)
                .await?;
            return Err(if routed { LogError::LeaseLost } else { LogError::RoutesChanged });
        }
        self.add_ends(&mut tx, &batch.refused).await?;
        tx.commit().await?;
        Ok(())
    }

    pub(in crate::log) async fn record_ends(&self, ends: &[End]) -> Result<Vec<bool>, LogError> {
        let mut tx = self.pool.begin().await?;
        let new = self.add_ends(&mut tx, ends).await?;
        tx.commit().await?;
        Ok(new)
    }

    async fn add_ends(
        &self,
        tx: &mut sqlx::PgTransaction<'_>,
        ends: &[End],
    ) -> Result<Vec<bool>, LogError> {
        if ends.is_empty() {
            return Ok(vec![]);
        }
        let added: Vec<(i32, i64, i64)> = sqlx::query_as(ADD_ENDS)
            .bind(self.clock.offset_ms())
            .bind(ends.iter().map(|end| end.queue.0).collect::<Vec<_>>())
            .bind(ends.iter().map(|end| end.message).collect::<Vec<_>>())
            .bind(ends.iter().map(|end| end.upload.map(|upload| upload.0)).collect::<Vec<_>>())
            .bind(ends.iter().map(|end| end.kind.number()).collect::<Vec<_>>())
            .fetch_all(&mut **tx)
            .await?;
        let now_ms = added.first().map_or(0, |(_, _, at)| *at);
        let new = new_of(ends, added.iter().map(|(queue, message, _)| (*queue, *message)));
        let outcomes = outcome_rows(ends, &new);
        self.write_plan(tx, &Plan { outcomes, now_ms, ..Plan::default() }).await?;
        Ok(new)
    }

    pub(in crate::log) async fn known(
        &self,
        queue: QueueId,
        messages: &[i64],
        uploads: &[i64],
    ) -> Result<Vec<KnownColumns>, LogError> {
        Ok(sqlx::query_as(KNOWN)
            .bind(queue.0)
            .bind(messages)
            .bind(uploads)
            .fetch_all(&self.pool)
            .await?)
    }

    pub(in crate::log) async fn forget_deaths(
        &self,
        queue: QueueId,
        messages: &[i64],
    ) -> Result<(), LogError> {
        sqlx::query(
            "with gone as (delete from carried_end where queue_id=$1 and message_id=any($2) and kind=2 returning message_id) \
             delete from outcome o using gone where o.queue_id=$1 and o.first_id=gone.message_id and o.kind=2",
        )
        .bind(queue.0)
        .bind(messages)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(in crate::log) async fn publication(
        &self,
        topic: TopicId,
        key: &str,
    ) -> Result<Option<(String, String)>, LogError> {
        let sql = "select fingerprint, answer from publication where topic_id=$1 and key=$2";
        Ok(sqlx::query_as(sql).bind(topic.0).bind(key).fetch_optional(&self.pool).await?)
    }

    pub(in crate::log) async fn remember_publication(
        &self,
        topic: TopicId,
        once: &Publication,
    ) -> Result<(), LogError> {
        let mut tx = self.pool.begin().await?;
        match self.name(&mut tx, topic, once).await {
            Ok(()) | Err(LogError::PublishedBefore(_)) => {}
            Err(error) => return Err(error),
        }
        tx.commit().await?;
        Ok(())
    }

    pub(in crate::log) async fn remove_carried(
        &self,
        age: Duration,
        most: i64,
    ) -> Result<u64, LogError> {
        let removed: i64 = sqlx::query_scalar(REMOVE_CARRIED)
            .bind(self.clock.offset_ms())
            .bind(millis(age))
            .bind(most)
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(removed).unwrap_or(0))
    }
}
