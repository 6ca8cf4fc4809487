//! Pausing and resuming on SQLite: see [`crate::log::steer`].

use super::SqliteLog;
use crate::log::steer::{AWAY, PausedBy, WATCHED, Watched, WatchedColumns, watched};
use crate::log::types::{LogError, UploadId};

/// The upload's ids, by which its messages are found in each queue.
macro_rules! within {
    ($id:literal) => {
        concat!(
            " and ",
            $id,
            ">=(select min(first_id) from batch where upload_id=?1) and ",
            $id,
            "<(select max(first_id+n) from batch where upload_id=?1) "
        )
    };
}

impl SqliteLog {
    pub(in crate::log) async fn pause(
        &self,
        upload: UploadId,
        by: PausedBy<'_>,
    ) -> Result<bool, LogError> {
        let (why, steered) = by.parts();
        let mut tx = self.write().await?;
        let was: Option<(String, bool, bool)> = sqlx::query_as(
            "select state, stream, paused_at is not null from upload \
             where id=?1 and state in ('ingesting','published') and (?2 is null or steered=?2)",
        )
        .bind(upload.0)
        .bind(steered)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((state, stream, before)) = was else { return Ok(false) };
        if before {
            return Ok(true);
        }
        sqlx::query("update upload set paused_at=?2, paused_why=?3, steered=steered+1 where id=?1")
            .bind(upload.0)
            .bind(self.clock.now_ms())
            .bind(why)
            .execute(&mut *tx)
            .await?;
        if state == "published" || stream {
            sqlx::query(concat!(
                "update segment set held=1 where held=0 and upload_id=?1 and queue_id in (select id from queue)",
                within!("first_id")
            ))
            .bind(upload.0)
            .execute(&mut *tx)
            .await?;
            sqlx::query(concat!(
                "update redelivery set available_at=available_at+?2, expires_at=expires_at+?2 \
                 where upload_id=?1 and available_at<?2 and queue_id in (select id from queue where not keeps_dead)",
                within!("message_id")
            ))
            .bind(upload.0)
            .bind(AWAY)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    pub(in crate::log) async fn resume(
        &self,
        upload: UploadId,
        (from_ended, from_dead): (i64, i64),
    ) -> Result<bool, LogError> {
        let mut tx = self.write().await?;
        let was: Option<(String, bool, i64, Option<i64>)> = sqlx::query_as(
            "select state, stream, paused_at, published_at from upload \
             where id=? and paused_at is not null",
        )
        .bind(upload.0)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((state, stream, paused_at, published_at)) = was else { return Ok(false) };
        sqlx::query(
            "update upload set paused_at=null, paused_why=null, steered=steered+1, \
               stop_from_ended=?2, stop_from_dead=?3 where id=?1",
        )
        .bind(upload.0)
        .bind(from_ended)
        .bind(from_dead)
        .execute(&mut *tx)
        .await?;
        // What is held until the file is read to its end stays so.
        if state == "ingesting" && !stream {
            tx.commit().await?;
            return Ok(true);
        }
        let now = self.clock.now_ms();
        let turns: Vec<(i32, i64, Option<i64>)> = sqlx::query_as(
            "select queue_id, min(turn), (select turn from segment s where s.queue_id=o.queue_id and s.held=0 order by turn limit 1) \
             from segment o where upload_id=? and held=1 group by queue_id",
        )
        .bind(upload.0)
        .fetch_all(&mut *tx)
        .await?;
        for (queue, own, base) in turns {
            sqlx::query(
                "update segment set turn=turn+? where upload_id=? and held=1 and queue_id=?",
            )
            .bind(base.unwrap_or(0) - own)
            .bind(upload.0)
            .bind(queue)
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "update segment set held=0, expires_at=expires_at+max(0,?2-max(?3,?4,created_at)) \
             where upload_id=?1 and held=1",
        )
        .bind(upload.0)
        .bind(now)
        .bind(paused_at)
        .bind(published_at.filter(|_| !stream).unwrap_or(0))
        .execute(&mut *tx)
        .await?;
        sqlx::query(concat!(
            "update redelivery set available_at=max(available_at-?2,?3), expires_at=expires_at-?2+max(0,?3-?4) \
             where upload_id=?1 and available_at>=?2 and queue_id in (select id from queue)",
            within!("message_id")
        ))
        .bind(upload.0)
        .bind(AWAY)
        .bind(now)
        .bind(paused_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    pub(in crate::log) async fn watched_uploads(&self) -> Result<Vec<Watched>, LogError> {
        let rows: Vec<WatchedColumns> = sqlx::query_as(WATCHED).fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(watched).collect())
    }

    /// How much later what comes again of these uploads is due: that of a paused one is away.
    pub(super) async fn away(
        tx: &mut sqlx::SqliteTransaction<'_>,
        upload: Option<i64>,
    ) -> Result<i64, LogError> {
        let Some(upload) = upload else { return Ok(0) };
        let paused: bool = sqlx::query_scalar(
            "select exists (select 1 from upload where id=? and paused_at is not null)",
        )
        .bind(upload)
        .fetch_one(&mut **tx)
        .await?;
        Ok(if paused { AWAY } else { 0 })
    }
}
