//! The ledger of carried messages on SQLite.

use std::time::Duration;

use sqlx::SqliteTransaction;

use super::settle::write_plan;
use super::{SqliteLog, to_json};
use crate::clock::millis;
use crate::log::carried::{CarriedBatch, End, KnownColumns, new_of, outcome_rows};
use crate::log::plan::Plan;
use crate::log::types::{LogError, Publication, QueueId, TopicId};

impl SqliteLog {
    pub(in crate::log) async fn commit_carried(
        &self,
        batch: &CarriedBatch,
    ) -> Result<(), LogError> {
        let rows = &batch.rows;
        let now = self.clock.now_ms();
        let mut tx = self.write().await?;
        self.check(&mut tx, batch.topic, batch.routes_version, Some(rows)).await?;
        let queues: Vec<i32> = batch.copies.iter().map(|(queue, _)| queue.0).collect();
        let sizes: Vec<u32> = batch.copies.iter().map(|(_, size)| *size).collect();
        let added = sqlx::query(
            "insert into batch(first_id,n,topic_id,upload_id,sheet,first_row,last_row,unrouted,copies,queues,sizes,created_at,duplicates) \
             values (?,?,?,?,?,?,?,?,?,?,?,?,?) on conflict do nothing",
        )
        .bind(batch.first_id)
        .bind(batch.messages)
        .bind(batch.topic.0)
        .bind(rows.fence.upload.0)
        .bind(rows.sheet)
        .bind(rows.first_row.0)
        .bind(rows.last_row.0)
        .bind(batch.unrouted)
        .bind(sizes.iter().sum::<u32>())
        .bind(to_json(&queues))
        .bind(to_json(&sizes))
        .bind(now)
        .bind(rows.duplicates)
        .execute(&mut *tx)
        .await?;
        if added.rows_affected() == 0 {
            return Err(LogError::AlreadyThere);
        }
        for (ordinal, (row, content)) in rows.findings.iter().enumerate() {
            sqlx::query(
                "insert into finding(upload_id,sheet,\"row\",ordinal,first_id,content) \
                 values (?,?,?,?,?,?) on conflict do nothing",
            )
            .bind(rows.fence.upload.0)
            .bind(rows.sheet)
            .bind(row.0)
            .bind(i64::try_from(ordinal).unwrap_or(i64::MAX))
            .bind(batch.first_id)
            .bind(content)
            .execute(&mut *tx)
            .await?;
        }
        add_ends(&mut tx, &batch.refused, now).await?;
        tx.commit().await?;
        Ok(())
    }

    pub(in crate::log) async fn record_ends(&self, ends: &[End]) -> Result<Vec<bool>, LogError> {
        let now = self.clock.now_ms();
        let mut tx = self.write().await?;
        let new = add_ends(&mut tx, ends, now).await?;
        tx.commit().await?;
        Ok(new)
    }

    pub(in crate::log) async fn known(
        &self,
        queue: QueueId,
        messages: &[i64],
        uploads: &[i64],
    ) -> Result<Vec<KnownColumns>, LogError> {
        Ok(sqlx::query_as(
            "select 0, message_id, kind from carried_end \
               where queue_id=?1 and message_id in (select value from json_each(?2)) \
             union all \
             select 1, id, state not in ('failed','cancelled') from upload \
               where id in (select value from json_each(?3))",
        )
        .bind(queue.0)
        .bind(to_json(messages))
        .bind(to_json(uploads))
        .fetch_all(&self.readers)
        .await?)
    }

    pub(in crate::log) async fn forget_deaths(
        &self,
        queue: QueueId,
        messages: &[i64],
    ) -> Result<(), LogError> {
        let mut tx = self.write().await?;
        for message in messages {
            for statement in [
                "delete from outcome where queue_id=?1 and first_id=?2 and kind=2 and exists \
                   (select 1 from carried_end where queue_id=?1 and message_id=?2 and kind=2)",
                "delete from carried_end where queue_id=?1 and message_id=?2 and kind=2",
            ] {
                sqlx::query(statement).bind(queue.0).bind(message).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    pub(in crate::log) async fn publication(
        &self,
        topic: TopicId,
        key: &str,
    ) -> Result<Option<(String, String)>, LogError> {
        let sql = "select fingerprint, answer from publication where topic_id=? and key=?";
        Ok(sqlx::query_as(sql).bind(topic.0).bind(key).fetch_optional(&self.readers).await?)
    }

    pub(in crate::log) async fn remember_publication(
        &self,
        topic: TopicId,
        once: &Publication,
    ) -> Result<(), LogError> {
        let mut tx = self.write().await?;
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
        let old: Vec<(i32, i64)> = sqlx::query_as(
            "select queue_id, message_id from carried_end \
             where upload_id is null and ended_at<=? order by ended_at limit ?",
        )
        .bind(self.clock.now_ms() - millis(age))
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        if old.is_empty() {
            return Ok(0);
        }
        let mut tx = self.write().await?;
        let mut removed = 0;
        for (queue, message) in &old {
            sqlx::query(
                "delete from outcome where queue_id=? and first_id=? and upload_id is null",
            )
            .bind(queue)
            .bind(message)
            .execute(&mut *tx)
            .await?;
            removed += sqlx::query("delete from carried_end where queue_id=? and message_id=?")
                .bind(queue)
                .bind(message)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        }
        tx.commit().await?;
        Ok(removed)
    }
}

async fn add_ends(
    tx: &mut SqliteTransaction<'_>,
    ends: &[End],
    now_ms: i64,
) -> Result<Vec<bool>, LogError> {
    let mut added = vec![];
    for end in ends {
        let upload = end.upload.map(|upload| upload.0);
        let row = sqlx::query(
            "insert into carried_end(queue_id,message_id,upload_id,kind,ended_at) select ?1,?2,?3,?4,?5 \
             where exists (select 1 from queue where id=?1 and deleted_at is null) \
               and (?3 is null or exists (select 1 from upload where id=?3)) \
             on conflict do nothing",
        )
        .bind(end.queue.0)
        .bind(end.message)
        .bind(upload)
        .bind(end.kind.number())
        .bind(now_ms)
        .execute(&mut **tx)
        .await?;
        if row.rows_affected() == 1 {
            added.push((end.queue.0, end.message));
        }
    }
    let new = new_of(ends, added);
    let outcomes = outcome_rows(ends, &new);
    write_plan(tx, &Plan { outcomes, now_ms, ..Plan::default() }).await?;
    Ok(new)
}
