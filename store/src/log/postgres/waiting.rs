//! What waits, ended without a delivery, on PostgreSQL: cancelled or expired.

use super::PostgresLog;
use crate::log::types::{LogError, QueueId};

/// Whether the end of a row of `$from` is recorded.
macro_rules! recorded {
    ($from:literal) => {
        concat!(
            " where ",
            $from,
            ".upload_id is not null or (select record_outcomes from queue q where q.id=",
            $from,
            ".queue_id)"
        )
    };
}

/// Segments are taken away whole and become one outcome each; redeliveries one each. Both are
/// locked in the order of their ids: two purges, or a purge and the release of an upload, would
/// otherwise wait for each other. Arrays of them, as a join might be planned as a scan.
pub(super) const PURGE: &str = concat!(
    "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now),
ls as materialized (select first_id from segment where queue_id=$1 and first_id<=$3 order by first_id limit $4 for update),
lr as materialized (select message_id from redelivery where queue_id=$1 and message_id<=$3 order by message_id limit $4 for update),
s as (delete from segment g where g.queue_id=$1 and g.first_id=any(array(select first_id from ls)) returning g.*),
r as (delete from redelivery g where g.queue_id=$1 and g.message_id=any(array(select message_id from lr)) returning g.*),
o as (insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,ids,attempts,settled_at)
  select $1, first_id+coalesce(taken[next+1],next), first_id+coalesce(taken[size],size-1), upload_id, 4, size-next,
    (select array_agg(first_id+x order by x) from unnest(taken[next+1:size]) x), null, (select now from clock) from s",
    recorded!("s"),
    "
  union all
  select $1, message_id, message_id, upload_id, 4, 1, null, array[attempts], (select now from clock) from r",
    recorded!("r"),
    ")
select coalesce((select sum(size-next) from s),0)::int8+(select count(*) from r)"
);

/// Each kind by the index over its times, so that what waits for ever costs nothing. What was locked
/// is deleted where it lies: a join might be planned, on an empty table, as a scan of all that waits.
/// A row that another statement moved a moment ago is left to the next look.
pub(super) const EXPIRE: &str = concat!(
    "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$1::int8 as now),
xs as materialized (select ctid as at from segment
  where expires_at<=(select now from clock) and not held order by expires_at limit $2 for update skip locked),
xr as materialized (select ctid as at from redelivery
  where expires_at<=(select now from clock) order by expires_at limit $2 for update skip locked),
s as (delete from segment g where g.ctid=any(array(select at from xs)) returning g.*),
r as (delete from redelivery g where g.ctid=any(array(select at from xr)) returning g.*),
o as (insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,ids,attempts,settled_at)
  select queue_id, first_id+coalesce(taken[next+1],next), first_id+coalesce(taken[size],size-1), upload_id, 3, size-next,
    (select array_agg(first_id+y order by y) from unnest(taken[next+1:size]) y), null, (select now from clock) from s",
    recorded!("s"),
    "
  union all
  select queue_id, message_id, message_id, upload_id, 3, 1, null, array[attempts], (select now from clock) from r",
    recorded!("r"),
    ")
select coalesce((select sum(size-next) from s),0)::int8+(select count(*) from r)"
);

impl PostgresLog {
    /// The last that waits in a queue, and what of it is held or not.
    pub(in crate::log) async fn last_waiting(
        &self,
        queue: QueueId,
    ) -> Result<Option<i64>, LogError> {
        Ok(sqlx::query_scalar(
            "select greatest((select first_id from segment where queue_id=$1 order by first_id desc limit 1), \
               (select message_id from redelivery where queue_id=$1 order by message_id desc limit 1))",
        )
        .bind(queue.0)
        .fetch_one(&self.pool)
        .await?)
    }

    /// One step; answers how many messages, and whether more waits up to that message.
    pub(in crate::log) async fn purge_step(
        &self,
        queue: QueueId,
        upto: i64,
        step: i64,
    ) -> Result<(u64, bool), LogError> {
        let n: i64 = sqlx::query_scalar(self.sql.purge.clone())
            .bind(queue.0)
            .bind(self.clock.offset_ms())
            .bind(upto)
            .bind(step)
            .fetch_one(&self.pool)
            .await?;
        let more = sqlx::query_scalar(
            "select exists (select 1 from segment where queue_id=$1 and first_id<=$2) \
               or exists (select 1 from redelivery where queue_id=$1 and message_id<=$2)",
        )
        .bind(queue.0)
        .bind(upto)
        .fetch_one(&self.pool)
        .await?;
        Ok((u64::try_from(n).unwrap_or(0), more))
    }

    pub(in crate::log) async fn expire(&self, most: i64) -> Result<u64, LogError> {
        let n: i64 = sqlx::query_scalar(self.sql.expire.clone())
            .bind(self.clock.offset_ms())
            .bind(most)
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(n).unwrap_or(0))
    }
}
