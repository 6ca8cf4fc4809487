//! What waits, ended without a delivery, on SQLite: cancelled or expired.

use sqlx::SqliteTransaction;

use super::{SqliteLog, from_json, to_json};
use crate::log::types::{LogError, OutcomeKind, QueueId};

/// A segment: queue, first id, size, next, taken, upload, whether its end is recorded.
type Waiting = (i32, i64, i32, i32, Option<String>, Option<i64>, bool);

macro_rules! waiting {
    () => {
        "select s.queue_id, s.first_id, s.size, s.next, s.taken, s.upload_id, \
           s.upload_id is not null or (select record_outcomes from queue q where q.id=s.queue_id) \
         from segment s "
    };
}

/// A message that comes again: queue, message, upload, attempts, whether its end is recorded.
type Retried = (i32, i64, Option<i64>, i16, bool);

macro_rules! retried {
    () => {
        "select r.queue_id, r.message_id, r.upload_id, r.attempts, \
           r.upload_id is not null or (select record_outcomes from queue q where q.id=r.queue_id) \
         from redelivery r "
    };
}

impl SqliteLog {
    /// The last that waits in a queue.
    pub(in crate::log) async fn last_waiting(
        &self,
        queue: QueueId,
    ) -> Result<Option<i64>, LogError> {
        let (segment, redelivery): (Option<i64>, Option<i64>) = sqlx::query_as(
            "select (select max(first_id) from segment where queue_id=?1), \
               (select max(message_id) from redelivery where queue_id=?1)",
        )
        .bind(queue.0)
        .fetch_one(&self.readers)
        .await?;
        Ok(segment.max(redelivery))
    }

    /// One step; answers how many messages, and whether more waits up to that message.
    pub(in crate::log) async fn purge_step(
        &self,
        queue: QueueId,
        upto: i64,
        step: i64,
    ) -> Result<(u64, bool), LogError> {
        let mut tx = self.write().await?;
        let ending = Ending { now: self.clock.now_ms(), kind: OutcomeKind::Cancelled };
        let segments: Vec<Waiting> = sqlx::query_as(concat!(
            waiting!(),
            "where s.queue_id=? and s.first_id<=? order by s.first_id limit ?"
        ))
        .bind(queue.0)
        .bind(upto)
        .bind(step)
        .fetch_all(&mut *tx)
        .await?;
        let messages: Vec<Retried> = sqlx::query_as(concat!(
            retried!(),
            "where r.queue_id=? and r.message_id<=? order by r.message_id limit ?"
        ))
        .bind(queue.0)
        .bind(upto)
        .bind(step)
        .fetch_all(&mut *tx)
        .await?;
        let full = i64::try_from(segments.len().max(messages.len())).unwrap_or(i64::MAX) >= step;
        let n = ending.segments(&mut tx, segments).await?;
        let n = n + ending.retried(&mut tx, &messages).await?;
        tx.commit().await?;
        Ok((n, full))
    }

    pub(in crate::log) async fn expire(&self, most: i64) -> Result<u64, LogError> {
        let now = self.clock.now_ms();
        // Most of the time there is nothing, and a look keeps nobody from writing.
        let any: bool = sqlx::query_scalar(
            "select exists (select 1 from segment where expires_at<=?1 and held=0) \
               or exists (select 1 from redelivery where expires_at<=?1)",
        )
        .bind(now)
        .fetch_one(&self.readers)
        .await?;
        if !any {
            return Ok(0);
        }
        let mut tx = self.write().await?;
        let ending = Ending { now, kind: OutcomeKind::Expired };
        let segments: Vec<Waiting> = sqlx::query_as(concat!(
            waiting!(),
            "where s.expires_at<=? and s.held=0 order by s.expires_at limit ?"
        ))
        .bind(now)
        .bind(most)
        .fetch_all(&mut *tx)
        .await?;
        let messages: Vec<Retried> = sqlx::query_as(concat!(
            retried!(),
            "where r.expires_at<=? order by r.expires_at limit ?"
        ))
        .bind(now)
        .bind(most)
        .fetch_all(&mut *tx)
        .await?;
        let n = ending.segments(&mut tx, segments).await?;
        let n = n + ending.retried(&mut tx, &messages).await?;
        tx.commit().await?;
        Ok(n)
    }
}

/// How what waits ends without a delivery.
struct Ending {
    now: i64,
    kind: OutcomeKind,
}

impl Ending {
    /// Ends segments, each as one outcome; answers the messages.
    async fn segments(
        &self,
        tx: &mut SqliteTransaction<'_>,
        segments: Vec<Waiting>,
    ) -> Result<u64, LogError> {
        let mut total = 0;
        for (queue, base, size, next, taken, upload, recorded) in segments {
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
            if recorded {
                sqlx::query(
                    "insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,ids,settled_at) \
                     values (?,?,?,?,?,?,?,?)",
                )
                .bind(queue)
                .bind(first)
                .bind(last)
                .bind(upload)
                .bind(self.kind.number())
                .bind(size - next)
                .bind(ids.map(|ids| to_json(&ids)))
                .bind(self.now)
                .execute(&mut **tx)
                .await?;
            }
            sqlx::query("delete from segment where queue_id=? and first_id=?")
                .bind(queue)
                .bind(base)
                .execute(&mut **tx)
                .await?;
            total += u64::try_from(size - next).unwrap_or(0);
        }
        Ok(total)
    }

    /// Ends messages that would have come again, each as one outcome.
    async fn retried(
        &self,
        tx: &mut SqliteTransaction<'_>,
        messages: &[Retried],
    ) -> Result<u64, LogError> {
        for (queue, message, upload, attempts, recorded) in messages {
            if *recorded {
                sqlx::query(
                    "insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,attempts,settled_at) \
                     values (?1,?2,?2,?3,?4,1,?5,?6)",
                )
                .bind(queue)
                .bind(message)
                .bind(upload)
                .bind(self.kind.number())
                .bind(to_json(&[*attempts]))
                .bind(self.now)
                .execute(&mut **tx)
                .await?;
            }
            sqlx::query("delete from redelivery where queue_id=? and message_id=?")
                .bind(queue)
                .bind(message)
                .execute(&mut **tx)
                .await?;
        }
        Ok(messages.len() as u64)
    }
}
