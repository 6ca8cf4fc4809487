//! A redrive's steps on SQLite: see [`crate::log::redrive`].

use sqlx::SqliteTransaction;

use super::page::places;
use super::{SqliteLog, from_json, to_json};
use crate::log::page::Place;
use crate::log::redrive::{Family, Kin, Moves, Obstacles, Stretch, Waits, Walk, blocks};
use crate::log::types::{LogError, QueueId};

type Segment = (i64, i64, i64, Option<String>, Option<i64>);

impl SqliteLog {
    pub(in crate::log) async fn kin(&self) -> Result<Vec<Kin>, LogError> {
        let sql = "select id, dead_queue_id, keeps_dead from queue";
        Ok(sqlx::query_as(sql).fetch_all(&self.readers).await?)
    }

    /// Answers how many messages went, and where the walk goes on.
    pub(in crate::log) async fn redrive_step(
        &self,
        family: &Family,
        stretch: Stretch,
    ) -> Result<(u64, Option<i64>), LogError> {
        let mut tx = self.write().await?;
        let now = self.clock.now_ms();
        let terms: Option<(i64, Option<i64>)> = sqlx::query_as(
            "select delay_ms, retention_ms from queue where id=? and deleted_at is null",
        )
        .bind(family.to.0)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((delay, retention)) = terms else { return Ok((0, None)) };
        let (waiting, reached) = waiting(&mut tx, family.from, stretch, now).await?;
        let Some(reached) = reached else { return Ok((0, None)) };
        let mut obstacles = Obstacles::default();
        let blocks = blocks(&waiting);
        for queue in family.watched() {
            obstacles.add(family, queue, places(&mut *tx, queue, &blocks).await?)?;
        }
        let moves = Moves::decide(waiting, &obstacles);
        let (due, expires) = (now + delay, retention.map(|ms| now + ms));
        write_moves(&mut tx, family, &moves, due, expires).await?;
        tx.commit().await?;
        Ok((moves.messages.len() as u64, Some(reached)))
    }
}

async fn waiting(
    tx: &mut SqliteTransaction<'_>,
    from: QueueId,
    stretch: Stretch,
    now: i64,
) -> Result<(Vec<Waits>, Option<i64>), LogError> {
    let mut waiting = vec![];
    if stretch.walk == Walk::Retried {
        let rows: Vec<(i64, Option<i64>, Option<String>)> = sqlx::query_as(
            "select message_id, upload_id, last_error from redelivery \
             where queue_id=?1 and message_id>?2 and message_id<=?3 and (expires_at is null or expires_at>?4) \
               and available_at<4503599627370496 \
               and (?6 is null or upload_id=?6) order by message_id limit ?5",
        )
        .bind(from.0)
        .bind(stretch.after)
        .bind(stretch.upto)
        .bind(now)
        .bind(stretch.most)
        .bind(stretch.upload.map(|upload| upload.0))
        .fetch_all(&mut **tx)
        .await?;
        let reached = rows.last().map(|(id, ..)| *id);
        for (id, upload, last_error) in rows {
            waiting.push(Waits { id, upload, last_error, segment: None });
        }
        return Ok((waiting, reached));
    }
    let rows: Vec<Segment> = sqlx::query_as(
        "select first_id, size, next, taken, upload_id from segment \
         where queue_id=?1 and held=0 and first_id>?2 and first_id<=?3 and (expires_at is null or expires_at>?4) \
           and (?6 is null or upload_id=?6) order by first_id limit ?5",
    )
    .bind(from.0)
    .bind(stretch.after)
    .bind(stretch.upto)
    .bind(now)
    .bind(stretch.most)
    .bind(stretch.upload.map(|upload| upload.0))
    .fetch_all(&mut **tx)
    .await?;
    let mut reached = None;
    let most = usize::try_from(stretch.most).unwrap_or(usize::MAX);
    for (first, size, next, taken, upload) in rows {
        let taken = from_json(taken.as_deref())?;
        let ids = Place((Place::SEGMENT, first, size, next, 0, None, taken)).ids();
        if reached.is_some() && waiting.len() + ids.len() > most {
            break;
        }
        let waits = |id| Waits { id, upload, last_error: None, segment: Some(first) };
        waiting.extend(ids.into_iter().map(waits));
        reached = Some(first);
    }
    Ok((waiting, reached))
}

async fn write_moves(
    tx: &mut SqliteTransaction<'_>,
    family: &Family,
    moves: &Moves,
    due: i64,
    expires: Option<i64>,
) -> Result<(), LogError> {
    let ids: Vec<i64> = moves.messages.iter().map(|waits| waits.id).collect();
    let undone: Vec<(i64, i32)> = sqlx::query_as(
        "delete from outcome where kind=2 and queue_id in (select value from json_each(?1)) \
           and first_id in (select value from json_each(?2)) returning first_id, queue_id",
    )
    .bind(to_json(&family.died_in))
    .bind(to_json(&ids))
    .fetch_all(&mut **tx)
    .await?;
    sqlx::query(
        "delete from redelivery where queue_id=? and message_id in (select value from json_each(?))",
    )
    .bind(family.from.0)
    .bind(to_json(&ids))
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "delete from segment where queue_id=? and first_id in (select value from json_each(?))",
    )
    .bind(family.from.0)
    .bind(to_json(&moves.gone))
    .execute(&mut **tx)
    .await?;
    for (first, left) in &moves.shortened {
        sqlx::query("update segment set taken=?, size=?, next=0 where queue_id=? and first_id=?")
            .bind(to_json(left))
            .bind(i64::try_from(left.len()).unwrap_or(i64::MAX))
            .bind(family.from.0)
            .bind(first)
            .execute(&mut **tx)
            .await?;
    }
    let into_dead: bool = sqlx::query_scalar("select keeps_dead from queue where id=?")
        .bind(family.to.0)
        .fetch_one(&mut **tx)
        .await?;
    for waits in &moves.messages {
        let away = if into_dead { 0 } else { SqliteLog::away(tx, waits.upload).await? };
        sqlx::query(
            "insert into redelivery(queue_id,message_id,upload_id,attempts,available_at,last_error,expires_at) \
             values (?,?,?,0,?,?,?)",
        )
        .bind(family.to.0)
        .bind(waits.id)
        .bind(waits.upload)
        .bind(due + away)
        .bind(waits.last_error.as_deref())
        .bind(expires.map(|at| at + away))
        .execute(&mut **tx)
        .await?;
    }
    let (ids, more) = moves.copies(family, &undone);
    count_copies(tx, ids.into_iter().zip(more)).await
}

/// Counts so many copies of messages more, or fewer.
pub(super) async fn count_copies(
    tx: &mut SqliteTransaction<'_>,
    more: impl Iterator<Item = (i64, i32)>,
) -> Result<(), LogError> {
    for (id, more) in more {
        sqlx::query(
            "update batch set copies=copies+?2 \
             where first_id=(select first_id from batch where first_id<=?1 order by first_id desc limit 1)",
        )
        .bind(id)
        .bind(more)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
