//! What waits, moved without a delivery, on SQLite: cancelled, expired, or brought back from the
//! dead.

use sqlx::SqliteTransaction;

use super::{SqliteLog, from_json, to_json};
use crate::store::log::types::{LogError, OutcomeKind, QueueId};

/// A segment: queue, first id, size, next, taken, upload.
type Waiting = (i32, i64, i32, i32, Option<String>, Option<i64>);

impl SqliteLog {
    pub(in crate::store::log) async fn purge(&self, queue: QueueId) -> Result<u64, LogError> {
        let mut tx = self.write().await?;
        let now = self.clock.now_ms();
        let mut n = self
            .end_segments(
                &mut tx,
                "where queue_id=?1 limit ?2",
                i64::from(queue.0),
                -1,
                now,
                OutcomeKind::Cancelled,
            )
            .await?;
        n += sqlx::query(
            "insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,attempts,settled_at) \
             select queue_id, message_id, message_id, upload_id, ?2, 1, json_array(attempts), ?3 \
             from redelivery where queue_id=?1",
        )
        .bind(queue.0)
        .bind(OutcomeKind::Cancelled.number())
        .bind(now)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        sqlx::query("delete from redelivery where queue_id=?")
            .bind(queue.0)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(n)
    }

    pub(in crate::store::log) async fn expire(&self, segments: i64) -> Result<u64, LogError> {
        let mut tx = self.write().await?;
        let now = self.clock.now_ms();
        let n = self
            .end_segments(
                &mut tx,
                "where expires_at<=?1 and held=0 limit ?2",
                now,
                segments,
                now,
                OutcomeKind::Expired,
            )
            .await?;
        tx.commit().await?;
        Ok(n)
    }

    /// Ends the segments that a condition picks, each as one outcome; answers the messages.
    async fn end_segments(
        &self,
        tx: &mut SqliteTransaction<'_>,
        condition: &'static str,
        parameter: i64,
        most: i64,
        now: i64,
        kind: OutcomeKind,
    ) -> Result<u64, LogError> {
        let select = format!(
            "select queue_id, first_id, size, next, taken, upload_id from segment {condition}"
        );
        let segments: Vec<Waiting> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(parameter)
            .bind(most)
            .fetch_all(&mut **tx)
            .await?;
        let mut total = 0;
        for (queue, base, size, next, taken, upload) in segments {
            let (first, last, ids) = match from_json::<Vec<i64>>(taken.as_deref())? {
                Some(offsets) => {
                    let from = usize::try_from(next).unwrap_or(0);
                    let ids: Vec<i64> =
                        offsets.iter().skip(from).map(|offset| base + offset).collect();
                    let ends = ids.first().copied().zip(ids.last().copied());
                    let (first, last) = ends.ok_or(LogError::Damaged("an empty segment"))?;
                    (first, last, Some(ids))
                }
                None => (base + i64::from(next), base + i64::from(size) - 1, None),
            };
            sqlx::query(
                "insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,ids,settled_at) \
                 values (?,?,?,?,?,?,?,?)",
            )
            .bind(queue)
            .bind(first)
            .bind(last)
            .bind(upload)
            .bind(kind.number())
            .bind(size - next)
            .bind(ids.map(|ids| to_json(&ids)))
            .bind(now)
            .execute(&mut **tx)
            .await?;
            sqlx::query("delete from segment where queue_id=? and first_id=?")
                .bind(queue)
                .bind(base)
                .execute(&mut **tx)
                .await?;
            total += u64::try_from(size - next).unwrap_or(0);
        }
        Ok(total)
    }

    pub(in crate::store::log) async fn redrive(
        &self,
        dead: QueueId,
        queue: QueueId,
        limit: i64,
    ) -> Result<u64, LogError> {
        let mut tx = self.write().await?;
        let messages: Vec<(i64, Option<i64>, Option<String>)> = sqlx::query_as(
            "delete from redelivery where queue_id=?1 and message_id in \
               (select message_id from redelivery where queue_id=?1 order by available_at limit ?2) \
             returning message_id, upload_id, last_error",
        )
        .bind(dead.0)
        .bind(limit)
        .fetch_all(&mut *tx)
        .await?;
        for (message, upload, error) in &messages {
            // The dead outcome goes with it: a message's next life may not find its last one's end.
            sqlx::query("delete from outcome where queue_id=? and first_id=? and kind=?")
                .bind(queue.0)
                .bind(message)
                .bind(OutcomeKind::Dead.number())
                .execute(&mut *tx)
                .await?;
            sqlx::query(
                "insert into redelivery(queue_id,message_id,upload_id,attempts,available_at,last_error) \
                 values (?,?,?,0,?,?)",
            )
            .bind(queue.0)
            .bind(message)
            .bind(upload)
            .bind(self.clock.now_ms())
            .bind(error)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(messages.len() as u64)
    }
}
