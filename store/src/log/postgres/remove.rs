//! Removing what nobody needs any more, on PostgreSQL: what deleted queues hold, and messages that
//! are over. One process at a time does either; the others leave it to it.

use std::time::Duration;

use super::PostgresLog;
use crate::clock::millis;
use crate::log::carried::DERIVED;
use crate::log::types::{BLOCK, LogError};
use crate::log::{EMPTY_FOR, RATE_WINDOW};

/// The advisory lock's class; the second number says what is removed.
const ALONE: &str = "select pg_try_advisory_xact_lock(1920102774, $1)";
const DELETED: i32 = 1;
const ENDED: i32 = 2;
/// Deleted queues looked at in one step.
const QUEUES_A_STEP: i64 = 100;

/// Leases first: what their holders settle meanwhile becomes a row of one of the tables after it.
/// Each answers first id, messages, upload.
pub(super) const REMOVE: [&str; 4] = [
    "with x as materialized (select id from lease where queue_id=$1 limit $2 for update skip locked)
delete from lease l where l.id=any(array(select id from x)) returning l.first_id, l.unsettled, l.upload_id",
    "with x as materialized (select first_id from segment where queue_id=$1 order by first_id limit $2 for update skip locked)
delete from segment s where s.queue_id=$1 and s.first_id=any(array(select first_id from x)) returning s.first_id, s.size-s.next, s.upload_id",
    "with x as materialized (select message_id from redelivery where queue_id=$1 order by message_id limit $2 for update skip locked)
delete from redelivery r where r.queue_id=$1 and r.message_id=any(array(select message_id from x)) returning r.message_id, 1, r.upload_id",
    "with x as materialized (select first_id from outcome where queue_id=$1 order by first_id limit $2 for update skip locked)
delete from outcome o where o.queue_id=$1 and o.first_id=any(array(select first_id from x)) returning o.first_id, o.n, o.upload_id",
];

/// What a carrier had of a deleted queue is gone with it, delivered or not: no batch counts it any
/// more. Done when none of its outcomes is left, so that no upload ends too early by it.
const FORGET_CARRIED: [&str; 2] = [
    "update batch b set copies=copies-sizes[array_position(queues,$1)], sizes[array_position(queues,$1)]=0
where first_id>=$4 and $1=any(queues) and sizes[array_position(queues,$1)]>0
  and exists (select 1 from queue where id=$1 and not keeps_dead
    and deleted_at<=(extract(epoch from clock_timestamp())*1000)::int8+$2::int8-$3::int8)",
    "delete from carried_end where queue_id=$1 and $4::int8>0 and exists (select 1 from queue where id=$1
    and deleted_at<=(extract(epoch from clock_timestamp())*1000)::int8+$2::int8-$3::int8)",
];

const REMOVE_QUEUE: &str = "
delete from queue q where id=$1 and deleted_at<=(extract(epoch from clock_timestamp())*1000)::int8+$2::int8-$3::int8
  and not exists (select 1 from lease where queue_id=$1) and not exists (select 1 from segment where queue_id=$1)
  and not exists (select 1 from redelivery where queue_id=$1) and not exists (select 1 from outcome where queue_id=$1)";

/// Batches from `$2` on of messages that are no rows, of which nothing waits, is leased or ended a
/// short while ago; and where the next look begins. Blocks are looked at whole, because leases and
/// outcomes of retried messages span the batches of a block. `offset 0` and `+0` hold the planner to
/// what a queue has in this range of ids.
pub(super) const ENDED_BATCHES: &str = "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$1::int8 as now),
x as materialized (select first_id from batch where first_id>=$2 order by first_id limit $3),
r as materialized (select $2::int8 as low, max(first_id)/$6*$6+$6 as high from x),
busy as materialized (
  select w.block from queue q cross join lateral (
    (select s.first_id/$6 as block from segment s where s.upload_id is null
       and s.queue_id=q.id and s.first_id>=(select low from r) and s.first_id<(select high from r) offset 0)
    union all
    (select d.message_id/$6 from redelivery d where d.upload_id is null
       and d.queue_id=q.id and d.message_id>=(select low from r) and d.message_id<(select high from r) offset 0)
    union all
    (select o.first_id/$6 from outcome o where o.upload_id is null and o.settled_at+0>(select now from clock)-$4::int8
       and o.queue_id=q.id and o.first_id>=(select low from r) and o.first_id<(select high from r) offset 0)) w
  union
  select l.first_id/$6 from lease l where l.upload_id is null
    and l.first_id>=(select low from r) and l.first_id<(select high from r))
select r.high, b.first_id, b.n from r left join batch b on b.first_id>=r.low and b.first_id<r.high and b.upload_id is null
  and b.created_at<=(select now from clock)-$5::int8 and b.first_id/$6 not in (select block from busy)";

impl PostgresLog {
    /// One step; answers how many messages it removed.
    pub(in crate::log) async fn remove_deleted(&self, most: i64) -> Result<u64, LogError> {
        let mut tx = self.pool.begin().await?;
        let alone: bool = sqlx::query_scalar(ALONE).bind(DELETED).fetch_one(&mut *tx).await?;
        if !alone {
            return Ok(0);
        }
        let queues: Vec<(i32, bool)> = sqlx::query_as(
            "select id, keeps_dead from queue where deleted_at is not null order by id limit $1",
        )
        .bind(QUEUES_A_STEP)
        .fetch_all(&mut *tx)
        .await?;
        let mut removed = 0;
        'queues: for (queue, keeps_dead) in queues {
            for remove in &self.sql.remove {
                let rows: Vec<(i64, i32, Option<i64>)> = sqlx::query_as(remove.clone())
                    .bind(queue)
                    .bind(most)
                    .fetch_all(&mut *tx)
                    .await?;
                removed = rows.iter().map(|(_, n, _)| u64::from(n.cast_unsigned())).sum();
                let (ids, fewer): (Vec<i64>, Vec<i32>) = rows
                    .iter()
                    .filter(|(id, _, upload)| upload.is_some() && !keeps_dead && *id < DERIVED)
                    .map(|(id, n, _)| (*id, -n))
                    .unzip();
                self.count_copies(&mut tx, &ids, &fewer).await?;
                if !rows.is_empty() {
                    break 'queues;
                }
            }
            for forget in FORGET_CARRIED {
                sqlx::query(forget)
                    .bind(queue)
                    .bind(self.clock.offset_ms())
                    .bind(millis(EMPTY_FOR))
                    .bind(DERIVED)
                    .execute(&mut *tx)
                    .await?;
            }
            sqlx::query(REMOVE_QUEUE)
                .bind(queue)
                .bind(self.clock.offset_ms())
                .bind(millis(EMPTY_FOR))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(removed)
    }

    /// One step; answers how many messages it removed, and where the next begins.
    pub(in crate::log) async fn remove_ended(
        &self,
        from: i64,
        age: Duration,
        most: i64,
    ) -> Result<(u64, Option<i64>), LogError> {
        let mut tx = self.pool.begin().await?;
        let alone: bool = sqlx::query_scalar(ALONE).bind(ENDED).fetch_one(&mut *tx).await?;
        if !alone {
            return Ok((0, None));
        }
        let rows: Vec<(Option<i64>, Option<i64>, Option<i32>)> =
            sqlx::query_as(self.sql.ended_batches.clone())
                .bind(self.clock.offset_ms())
                .bind(from)
                .bind(most)
                .bind(millis(age))
                .bind(millis(age.min(RATE_WINDOW)))
                .bind(BLOCK)
                .fetch_all(&mut *tx)
                .await?;
        let next = rows.first().and_then(|row| row.0);
        let batches: Vec<(i64, i64)> = rows
            .iter()
            .filter_map(|(_, first, n)| Some(((*first)?, (*first)? + i64::from((*n)?))))
            .collect();
        if batches.is_empty() {
            // At once: a transaction that is only dropped holds its lock for a while longer.
            tx.commit().await?;
            return Ok((0, next));
        }
        let (firsts, pasts): (Vec<i64>, Vec<i64>) = batches.into_iter().unzip();
        let mut blocks: Vec<i64> = firsts.iter().map(|first| first / BLOCK * BLOCK).collect();
        blocks.dedup();
        sqlx::query(
            "delete from outcome where ctid=any(array(select x.at from unnest($1::int8[]) b(first) cross join queue q \
               cross join lateral (select o.ctid as at from outcome o where o.queue_id=q.id \
                 and o.first_id>=b.first and o.first_id<b.first+$2 and o.upload_id is null \
                 and o.settled_at+0<=(extract(epoch from clock_timestamp())*1000)::int8+$3::int8-$4::int8 offset 0) x))",
        )
        .bind(blocks)
        .bind(BLOCK)
        .bind(self.clock.offset_ms())
        .bind(millis(age))
        .execute(&mut *tx)
        .await?;
        let removed = sqlx::query(
            "delete from message m using unnest($1::int8[],$2::int8[]) b(first,past) where m.id>=b.first and m.id<b.past",
        )
        .bind(&firsts)
        .bind(pasts)
        .execute(&mut *tx)
        .await?;
        sqlx::query("delete from batch where first_id=any($1)")
            .bind(firsts)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok((removed.rows_affected(), next))
    }
}
