//! Publishing on SQLite: messages by inserts of many rows, and their bookkeeping, in one
//! transaction.

use std::time::Duration;

use sqlx::SqliteTransaction;

use super::{SqliteLog, to_json};
use crate::clock::millis;
use crate::log::types::{
    LogError, NewBatch, NewMessage, NewSegment, Publication, RowsOf, Taken, TopicId,
};

/// Messages in one insert statement: few enough that the statement stays small, many enough that
/// its cost is shared. Batches of 500, the usual size, are whole multiples.
const ROWS_A_STATEMENT: usize = 100;

impl SqliteLog {
    pub(in crate::log) async fn publish(&self, batch: &NewBatch) -> Result<(), LogError> {
        let now = self.clock.now_ms();
        let mut tx = self.write().await?;
        self.check(&mut tx, batch.topic, batch.routes_version, batch.rows.as_ref()).await?;
        if let Some(once) = &batch.once {
            self.name(&mut tx, batch.topic, once).await?;
        }
        let there: bool =
            sqlx::query_scalar("select exists (select 1 from batch where first_id=?)")
                .bind(batch.first_id)
                .fetch_one(&mut *tx)
                .await?;
        if there {
            return Err(LogError::AlreadyThere);
        }
        let rows = batch.rows.as_ref();
        let upload = rows.map(|rows| rows.fence.upload.0);
        let n = i32::try_from(batch.messages.len()).unwrap_or(i32::MAX);
        let queues: Vec<i32> = batch.segments.iter().map(|segment| segment.queue.0).collect();
        let sizes: Vec<i32> = batch.segments.iter().map(|segment| size_of(segment, n)).collect();
        sqlx::query(
            "insert into batch(first_id,n,topic_id,upload_id,sheet,first_row,last_row,unrouted,copies,queues,sizes,created_at,duplicates) \
             values (?,?,?,?,?,?,?,?,?,?,?,?,?)",
        )
        .bind(batch.first_id)
        .bind(n)
        .bind(batch.topic.0)
        .bind(upload)
        .bind(rows.map_or(0, |rows| rows.sheet))
        .bind(rows.map_or(0, |rows| rows.first_row.0))
        .bind(rows.map_or(0, |rows| rows.last_row.0))
        .bind(batch.unrouted)
        .bind(sizes.iter().sum::<i32>())
        .bind(to_json(&queues))
        .bind(to_json(&sizes))
        .bind(now)
        .bind(rows.map_or(0, |rows| rows.duplicates))
        .execute(&mut *tx)
        .await?;
        let sheet = rows.map(|rows| rows.sheet);
        let mut first = batch.first_id;
        for chunk in batch.messages.chunks(ROWS_A_STATEMENT) {
            insert_messages(&mut tx, first, upload, sheet, chunk).await?;
            first += i64::try_from(chunk.len()).unwrap_or(0);
        }
        // What is published for a paused upload is held, whether or not others of it were.
        let held = rows.is_some_and(|rows| rows.held) || Self::away(&mut tx, upload).await? > 0;
        for segment in &batch.segments {
            let taken = match &segment.taken {
                Taken::All => None,
                Taken::Offsets(offsets) => Some(to_json(offsets)),
            };
            sqlx::query(
                "insert into segment(queue_id,first_id,size,taken,upload_id,turn,held,available_at,expires_at,created_at) \
                 values (?1,?2,?3,?4,?5,coalesce(?6,(select turn+1 from segment where queue_id=?1 and held=0 order by turn limit 1),0),?7,?8,?9,?10)",
            )
            .bind(segment.queue.0)
            .bind(batch.first_id)
            .bind(size_of(segment, n))
            .bind(taken)
            .bind(upload)
            .bind(rows.filter(|rows| rows.held).map(|rows| rows.turn))
            .bind(held)
            .bind(now + millis(segment.delay))
            .bind(segment.retention.map(|retention| now + millis(retention)))
            .bind(now)
            .execute(&mut *tx)
            .await?;
        }
        for (ordinal, (row, content)) in
            rows.map_or(&[][..], |rows| rows.findings.as_slice()).iter().enumerate()
        {
            sqlx::query(
                "insert into finding(upload_id,sheet,\"row\",ordinal,first_id,content) \
                 values (?,?,?,?,?,?) on conflict do nothing",
            )
            .bind(upload)
            .bind(sheet)
            .bind(row.0)
            .bind(i64::try_from(ordinal).unwrap_or(i64::MAX))
            .bind(batch.first_id)
            .bind(content)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn name(
        &self,
        tx: &mut SqliteTransaction<'_>,
        topic: TopicId,
        once: &Publication,
    ) -> Result<(), LogError> {
        let before: Option<(String, String)> = sqlx::query_as(
            "select fingerprint, answer from publication where topic_id=? and key=?",
        )
        .bind(topic.0)
        .bind(&once.key)
        .fetch_optional(&mut **tx)
        .await?;
        if let Some((fingerprint, answer)) = before {
            let key = once.key.clone();
            return Err(LogError::PublishedBefore(Publication { key, fingerprint, answer }));
        }
        sqlx::query(
            "insert into publication(topic_id,key,fingerprint,answer,created_at) values (?,?,?,?,?)",
        )
        .bind(topic.0)
        .bind(&once.key)
        .bind(&once.fingerprint)
        .bind(&once.answer)
        .bind(self.clock.now_ms())
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    pub(in crate::log) async fn forget_publications(&self, age: Duration) -> Result<u64, LogError> {
        let mut tx = self.write().await?;
        let gone = sqlx::query("delete from publication where created_at<?")
            .bind(self.clock.now_ms() - millis(age))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(gone.rows_affected())
    }

    /// That the batch was routed by today's routes, and that its upload is still its publisher's.
    /// The transaction already is the only one that writes, so neither can change before it ends.
    pub(super) async fn check(
        &self,
        tx: &mut SqliteTransaction<'_>,
        topic: TopicId,
        routes_version: i32,
        rows: Option<&RowsOf>,
    ) -> Result<(), LogError> {
        let routed: bool =
            sqlx::query_scalar("select exists (select 1 from topic where id=? and version=?)")
                .bind(topic.0)
                .bind(routes_version)
                .fetch_one(&mut **tx)
                .await?;
        if !routed {
            return Err(LogError::RoutesChanged);
        }
        let Some(rows) = rows else { return Ok(()) };
        let ours: bool = sqlx::query_scalar(
            "select exists (select 1 from upload where id=? and epoch=? and state='ingesting')",
        )
        .bind(rows.fence.upload.0)
        .bind(rows.fence.epoch)
        .fetch_one(&mut **tx)
        .await?;
        if ours { Ok(()) } else { Err(LogError::LeaseLost) }
    }
}

/// How many of a batch's `n` messages a segment holds.
fn size_of(segment: &NewSegment, n: i32) -> i32 {
    match &segment.taken {
        Taken::All => n,
        Taken::Offsets(offsets) => i32::try_from(offsets.len()).unwrap_or(i32::MAX),
    }
}

async fn insert_messages(
    tx: &mut SqliteTransaction<'_>,
    first: i64,
    upload: Option<i64>,
    sheet: Option<u16>,
    messages: &[NewMessage],
) -> Result<(), LogError> {
    let mut sql = String::with_capacity(64 + 14 * messages.len());
    sql.push_str("insert into message(id,upload_id,sheet,\"row\",data,attributes) values ");
    for at in 0..messages.len() {
        sql.push_str(if at == 0 { "(?,?,?,?,?,?)" } else { ",(?,?,?,?,?,?)" });
    }
    let mut insert =
        sqlx::query(sqlx::AssertSqlSafe(sql)).persistent(messages.len() == ROWS_A_STATEMENT);
    for (id, message) in (first..).zip(messages) {
        insert = insert
            .bind(id)
            .bind(upload)
            .bind(sheet)
            .bind(message.row.map(|row| row.0))
            .bind(std::str::from_utf8(&message.data)?)
            .bind(message.attributes.as_deref());
    }
    insert.execute(&mut **tx).await?;
    Ok(())
}
