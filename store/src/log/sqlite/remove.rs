//! Removing what nobody needs any more, on SQLite: what deleted queues hold, and messages that are
//! over.

use std::time::Duration;

use super::redrive::count_copies;
use super::{SqliteLog, to_json};
use crate::clock::millis;
use crate::log::carried::DERIVED;
use crate::log::types::{BLOCK, LogError};
use crate::log::{EMPTY_FOR, RATE_WINDOW};

/// Each answers first id, messages, upload.
const REMOVE: [&str; 4] = [
    "delete from lease where id in (select id from lease where queue_id=?1 limit ?2) \
     returning first_id, unsettled, upload_id",
    "delete from segment where queue_id=?1 and first_id in \
       (select first_id from segment where queue_id=?1 order by first_id limit ?2) \
     returning first_id, size-next, upload_id",
    "delete from redelivery where queue_id=?1 and message_id in \
       (select message_id from redelivery where queue_id=?1 order by message_id limit ?2) \
     returning message_id, 1, upload_id",
    "delete from outcome where queue_id=?1 and first_id in \
       (select first_id from outcome where queue_id=?1 order by first_id limit ?2) \
     returning first_id, n, upload_id",
];

/// See the same statements of PostgreSQL.
const FORGET_CARRIED: [&str; 2] = [
    "update batch set
  copies=copies-(select s.value from json_each(queues) q join json_each(sizes) s on s.key=q.key where q.value=?1),
  sizes=(select json_group_array(iif(q.value=?1,0,s.value)) from json_each(queues) q join json_each(sizes) s on s.key=q.key)
where first_id>=?3 and exists (select 1 from json_each(queues) where value=?1)
  and exists (select 1 from queue where id=?1 and not keeps_dead and deleted_at<=?2)",
    "delete from carried_end where queue_id=?1 and ?3>0 and exists (select 1 from queue where id=?1 and deleted_at<=?2)",
];

/// See the same statement of PostgreSQL. Reading first costs those who write nothing: what is over
/// stays over.
const ENDED_BATCHES: &str = "
with r as materialized (
  select ?1 as low, max(first_id)/?5*?5+?5 as high from (select first_id from batch where first_id>=?1 order by first_id limit ?2)),
busy as materialized (
  select s.first_id/?5 as block from r cross join queue q cross join segment s
  where s.queue_id=q.id and s.first_id>=r.low and s.first_id<r.high and s.upload_id is null
  union select d.message_id/?5 from r cross join queue q cross join redelivery d
  where d.queue_id=q.id and d.message_id>=r.low and d.message_id<r.high and d.upload_id is null
  union select l.first_id/?5 from r cross join lease l
  where l.first_id>=r.low and l.first_id<r.high and l.upload_id is null
  union select o.first_id/?5 from r cross join queue q cross join outcome o
  where o.queue_id=q.id and o.first_id>=r.low and o.first_id<r.high and o.upload_id is null and o.settled_at>?3)
select r.high, b.first_id, b.n from r left join batch b on b.first_id>=r.low and b.first_id<r.high and b.upload_id is null
  and b.created_at<=?4 and b.first_id/?5 not in (select block from busy)";

impl SqliteLog {
    /// One step; answers how many messages it removed.
    pub(in crate::log) async fn remove_deleted(&self, most: i64) -> Result<u64, LogError> {
        let queues: Vec<(i32, bool)> = sqlx::query_as(
            "select id, keeps_dead from queue where deleted_at is not null order by id",
        )
        .fetch_all(&self.readers)
        .await?;
        if queues.is_empty() {
            return Ok(0);
        }
        let mut tx = self.write().await?;
        let mut removed = 0;
        'queues: for (queue, keeps_dead) in queues {
            for remove in REMOVE {
                let rows: Vec<(i64, i32, Option<i64>)> =
                    sqlx::query_as(remove).bind(queue).bind(most).fetch_all(&mut *tx).await?;
                removed = rows.iter().map(|(_, n, _)| u64::from(n.cast_unsigned())).sum();
                let counted =
                    rows.iter().filter(|row| row.2.is_some() && !keeps_dead && row.0 < DERIVED);
                count_copies(&mut tx, counted.map(|(id, n, _)| (*id, -n))).await?;
                if !rows.is_empty() {
                    break 'queues;
                }
            }
            for forget in FORGET_CARRIED {
                sqlx::query(forget)
                    .bind(queue)
                    .bind(self.clock.now_ms() - millis(EMPTY_FOR))
                    .bind(DERIVED)
                    .execute(&mut *tx)
                    .await?;
            }
            sqlx::query("delete from queue where id=? and deleted_at<=?")
                .bind(queue)
                .bind(self.clock.now_ms() - millis(EMPTY_FOR))
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
        let now = self.clock.now_ms();
        let before = now - millis(age);
        let rows: Vec<(Option<i64>, Option<i64>, Option<i64>)> = sqlx::query_as(ENDED_BATCHES)
            .bind(from)
            .bind(most)
            .bind(before)
            .bind(now - millis(age.min(RATE_WINDOW)))
            .bind(BLOCK)
            .fetch_all(&self.readers)
            .await?;
        let next = rows.first().and_then(|row| row.0);
        let batches: Vec<(i64, i64)> =
            rows.iter().filter_map(|(_, first, n)| Some(((*first)?, (*first)? + (*n)?))).collect();
        if batches.is_empty() {
            return Ok((0, next));
        }
        let mut tx = self.write().await?;
        let mut blocks: Vec<i64> = batches.iter().map(|(first, _)| first / BLOCK * BLOCK).collect();
        blocks.dedup();
        for block in blocks {
            sqlx::query(
                "delete from outcome where queue_id in (select id from queue) and first_id>=?1 \
                   and first_id<?2 and upload_id is null and settled_at<=?3",
            )
            .bind(block)
            .bind(block + BLOCK)
            .bind(before)
            .execute(&mut *tx)
            .await?;
        }
        let mut removed = 0;
        for (first, past) in &batches {
            removed += sqlx::query("delete from message where id>=? and id<?")
                .bind(first)
                .bind(past)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        }
        let firsts: Vec<i64> = batches.iter().map(|(first, _)| *first).collect();
        sqlx::query("delete from batch where first_id in (select value from json_each(?))")
            .bind(to_json(&firsts))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok((removed, next))
    }
}
