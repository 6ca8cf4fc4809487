//! How an upload stands, and its early or final end, on PostgreSQL.

use super::PostgresLog;
use super::steer::STEERING;
use crate::clock::millis;
use crate::log::types::{LogError, Standing, UploadId};
use crate::log::{RATE_WINDOW, standing_of};

/// The queues that an upload's messages are worked off in: not those of the dead.
const STANDING: &str = "
with b as materialized (
  select coalesce(sum(n),0)::int8 as n, coalesce(sum(unrouted),0)::int8 as unrouted, coalesce(sum(copies),0)::int8 as copies, coalesce(sum(duplicates),0)::int8 as duplicates,
    min(first_id) as low, greatest(max(first_id+n), case when max(first_id)>=576460752303423488 then (max(first_id)/2147483648+1)*2147483648 end) as high from batch where upload_id=$1),
live as materialized (select id from queue where not keeps_dead),
o as materialized (
  select o.kind, sum(o.n)::int8 as n, sum(o.n) filter (where o.settled_at>(extract(epoch from clock_timestamp())*1000)::int8+$2::int8-$3::int8)::int8 as lately from live join outcome o on o.queue_id=live.id
    and o.first_id>=(select low from b) and o.first_id<(select high from b)
  where o.upload_id=$1 group by o.kind)
select b.n, b.unrouted, b.copies,
  (select count(distinct sheet::int8*4294967296+\"row\") from finding where upload_id=$1 and content like '{\"kind\":\"rejected\"%'), b.duplicates,
  (select coalesce(sum(unsettled),0)::int8 from lease where upload_id=$1 and queue_id in (select id from live)),
  coalesce((select n from o where kind=1),0), coalesce((select n from o where kind=2),0),
  coalesce((select n from o where kind=3),0), coalesce((select n from o where kind=4),0),
  coalesce((select sum(lately) from o where kind<=2),0)::int8
from b";

/// What waits in the queues of the living becomes outcomes; locked in the order of ids, as by a purge.
const CANCEL_WAITING: &str = "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now),
ls as materialized (select queue_id, first_id from segment where upload_id=$1 order by queue_id, first_id for update),
lr as materialized (select queue_id, message_id from redelivery r where upload_id=$1
  and exists (select 1 from queue q where q.id=r.queue_id and not q.keeps_dead) order by queue_id, message_id for update),
s as (delete from segment g using ls where g.queue_id=ls.queue_id and g.first_id=ls.first_id returning g.*),
r as (delete from redelivery g using lr where g.queue_id=lr.queue_id and g.message_id=lr.message_id returning g.*)
insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,ids,attempts,settled_at)
  select queue_id, first_id+coalesce(taken[next+1],next), first_id+coalesce(taken[size],size-1), upload_id, 4, size-next,
    (select array_agg(first_id+x order by x) from unnest(taken[next+1:size]) x), null, (select now from clock) from s
  union all
  select queue_id, message_id, message_id, upload_id, 4, 1, null, array[attempts], (select now from clock) from r";

impl PostgresLog {
    pub(in crate::log) async fn standing(&self, upload: UploadId) -> Result<Standing, LogError> {
        let row = sqlx::query_as(STANDING)
            .bind(upload.0)
            .bind(self.clock.offset_ms())
            .bind(millis(RATE_WINDOW))
            .fetch_one(&self.pool)
            .await?;
        Ok(standing_of(row))
    }

    pub(in crate::log) async fn working_uploads(&self) -> Result<Vec<UploadId>, LogError> {
        let ids: Vec<i64> = sqlx::query_scalar(
            "select id from upload where state='published' and spool is not null order by id",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids.into_iter().map(UploadId).collect())
    }

    pub(in crate::log) async fn end_upload(&self, upload: UploadId) -> Result<bool, LogError> {
        let done = sqlx::query(
            "update upload set state='ended', \
             ended_at=(extract(epoch from clock_timestamp())*1000)::int8+$2::int8 \
             where id=$1 and state='published'",
        )
        .bind(upload.0)
        .bind(self.clock.offset_ms())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A fault makes it a failure instead of a cancellation, if the epoch still is the finder's.
    pub(in crate::log) async fn cancel(
        &self,
        upload: UploadId,
        fault: Option<(i32, &str)>,
    ) -> Result<bool, LogError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query(STEERING).execute(&mut *tx).await?;
        let was: Option<(String, bool)> = sqlx::query_as(
            "update upload u set paused_at=null, paused_why=null, state=case when $3::text is null then 'cancelled' else 'failed' end, problem=$3, \
               epoch=epoch+case when $3::text is null then 1 else 0 end, run_key=null, lease_until=null, \
               ended_at=(extract(epoch from clock_timestamp())*1000)::int8+$2::int8 \
             from (select id, state, stream from upload where id=$1 for update) was \
             where u.id=was.id and case when $4::int is null then was.state in ('ingesting','published') \
               else was.state='ingesting' and u.epoch=$4 end returning was.state, was.stream",
        )
        .bind(upload.0)
        .bind(self.clock.offset_ms())
        .bind(fault.map(|(_, problem)| problem))
        .bind(fault.map(|(epoch, _)| epoch))
        .fetch_optional(&mut *tx)
        .await?;
        match was {
            None => return Ok(false),
            Some((state, false)) if state == "ingesting" => {
                self.take_back(&mut tx, upload).await?;
            }
            Some(_) => {
                sqlx::query(CANCEL_WAITING)
                    .bind(upload.0)
                    .bind(self.clock.offset_ms())
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(true)
    }

    pub(in crate::log) async fn delete_upload(&self, upload: UploadId) -> Result<bool, LogError> {
        let mut tx = self.pool.begin().await?;
        let over: Option<bool> = sqlx::query_scalar(
            "select state in ('ended','failed','cancelled') from upload where id=$1 for update",
        )
        .bind(upload.0)
        .fetch_optional(&mut *tx)
        .await?;
        let held: bool =
            sqlx::query_scalar("select exists (select 1 from lease where upload_id=$1)")
                .bind(upload.0)
                .fetch_one(&mut *tx)
                .await?;
        if over != Some(true) || held {
            return Ok(false);
        }
        self.take_back(&mut tx, upload).await?;
        for statement in [
            "delete from segment where upload_id=$1",
            "delete from redelivery where upload_id=$1",
            "delete from webhook where upload_id=$1",
            "delete from upload where id=$1",
        ] {
            sqlx::query(statement).bind(upload.0).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}
