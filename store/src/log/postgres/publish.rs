//! Publishing on PostgreSQL: messages by COPY and their bookkeeping in one transaction.
//!
//! The binary format of COPY needs no escaping and no parsing of numbers. Locks are taken in the
//! order topic, upload: first the shared advisory lock on the topic's routes, at the end the
//! upload's row (see [`super::sql`]).

use bytes::BufMut;

use std::time::Duration;

use super::PostgresLog;
use crate::clock::millis;
use crate::log::types::{LogError, NewBatch, NewMessage, Publication, Taken, TopicId};

/// Messages from which on they are copied. Fewer go by one statement: the driver's connections wait
/// for an acknowledgement between the data and the end of a COPY (Nagle's algorithm), some 40 ms
/// when there is nothing else to send.
const COPY_FROM: usize = 64;

impl PostgresLog {
    pub(in crate::log) async fn publish(&self, batch: &NewBatch) -> Result<(), LogError> {
        let turns = self.turns(batch).await?;
        let mut tx = self.pool.begin().await?;
        sqlx::query(self.sql.share_routes.clone()).bind(batch.topic.0).execute(&mut *tx).await?;
        if let Some(once) = &batch.once {
            self.name(&mut tx, batch.topic, once).await?;
        }
        if batch.messages.len() < COPY_FROM {
            self.insert_messages(&mut tx, batch).await?;
        } else {
            let mut copy = tx.copy_in_raw(self.sql.copy_messages.as_str()).await?;
            copy.send(copy_rows(batch)?).await?;
            copy.finish().await.map_err(already_there)?;
        }
        if !self.commit_batch(&mut tx, batch, turns).await? {
            let routed: bool = sqlx::query_scalar(self.sql.why_refused.clone())
                .bind(batch.topic.0)
                .bind(batch.routes_version)
                .fetch_one(&mut *tx)
                .await?;
            return Err(if routed { LogError::LeaseLost } else { LogError::RoutesChanged });
        }
        tx.commit().await?;
        Ok(())
    }

    /// The turn of each of the batch's segments. One that is held takes its upload's; any other
    /// comes after what its queue serves first, by a floor that may be a moment old: the turn makes
    /// for fairness, nothing else hangs on it.
    async fn turns(&self, batch: &NewBatch) -> Result<Vec<i32>, LogError> {
        let mut turns = Vec::with_capacity(batch.segments.len());
        for segment in &batch.segments {
            turns.push(match &batch.rows {
                Some(rows) if rows.held => rows.turn,
                _ => match self.floor(segment.queue).await?.segment {
                    Some((turn, _)) => turn.saturating_add(1),
                    None => 0,
                },
            });
        }
        Ok(turns)
    }

    /// Waits for another transaction that uses the same name just now.
    pub(super) async fn name(
        &self,
        tx: &mut sqlx::PgTransaction<'_>,
        topic: TopicId,
        once: &Publication,
    ) -> Result<(), LogError> {
        let named = sqlx::query(
            "insert into publication(topic_id,key,fingerprint,answer,created_at) \
             values ($1,$2,$3,$4,(extract(epoch from clock_timestamp())*1000)::int8+$5::int8) \
             on conflict do nothing",
        )
        .bind(topic.0)
        .bind(&once.key)
        .bind(&once.fingerprint)
        .bind(&once.answer)
        .bind(self.clock.offset_ms())
        .execute(&mut **tx)
        .await?;
        if named.rows_affected() == 1 {
            return Ok(());
        }
        let (fingerprint, answer) = sqlx::query_as(
            "select fingerprint, answer from publication where topic_id=$1 and key=$2",
        )
        .bind(topic.0)
        .bind(&once.key)
        .fetch_one(&mut **tx)
        .await?;
        Err(LogError::PublishedBefore(Publication { key: once.key.clone(), fingerprint, answer }))
    }

    pub(in crate::log) async fn forget_publications(&self, age: Duration) -> Result<u64, LogError> {
        let gone = sqlx::query(
            "delete from publication where created_at<(extract(epoch from clock_timestamp())*1000)::int8+$1::int8-$2",
        )
        .bind(self.clock.offset_ms())
        .bind(millis(age))
        .execute(&self.pool)
        .await?;
        Ok(gone.rows_affected())
    }

    async fn insert_messages(
        &self,
        tx: &mut sqlx::PgTransaction<'_>,
        batch: &NewBatch,
    ) -> Result<(), LogError> {
        if batch.messages.is_empty() {
            return Ok(());
        }
        let row = |message: &NewMessage| message.row.map(|row| row.0.cast_signed());
        let mut data = Vec::with_capacity(batch.messages.len());
        for message in &batch.messages {
            data.push(std::str::from_utf8(&message.data)?);
        }
        sqlx::query(self.sql.insert_messages.clone())
            .bind(batch.first_id)
            .bind(batch.rows.as_ref().map(|rows| rows.fence.upload.0))
            .bind(batch.rows.as_ref().map(|rows| rows.sheet.cast_signed()))
            .bind(batch.messages.iter().map(row).collect::<Vec<_>>())
            .bind(data)
            .bind(batch.messages.iter().map(|m| m.attributes.as_deref()).collect::<Vec<_>>())
            .execute(&mut **tx)
            .await
            .map_err(already_there)?;
        Ok(())
    }

    async fn commit_batch(
        &self,
        tx: &mut sqlx::PgTransaction<'_>,
        batch: &NewBatch,
        turns: Vec<i32>,
    ) -> Result<bool, LogError> {
        let n = i32::try_from(batch.messages.len()).unwrap_or(i32::MAX);
        let rows = batch.rows.as_ref();
        let segments = &batch.segments;
        let sizes: Vec<i32> = segments
            .iter()
            .map(|segment| match &segment.taken {
                Taken::All => n,
                Taken::Offsets(offsets) => i32::try_from(offsets.len()).unwrap_or(i32::MAX),
            })
            .collect();
        let taken: Vec<Option<String>> = segments
            .iter()
            .map(|segment| match &segment.taken {
                Taken::All => None,
                Taken::Offsets(offsets) => Some(array_text(offsets)),
            })
            .collect();
        let findings = rows.map_or(&[][..], |rows| rows.findings.as_slice());
        let allowed: i64 = sqlx::query_scalar(self.sql.commit_batch.clone())
            .bind(self.clock.offset_ms())
            .bind(batch.topic.0)
            .bind(batch.routes_version)
            .bind(rows.map(|rows| rows.fence.upload.0))
            .bind(rows.map(|rows| rows.fence.epoch))
            .bind(batch.first_id)
            .bind(n)
            .bind(rows.map_or(0, |rows| rows.sheet.cast_signed()))
            .bind(rows.map_or(0, |rows| rows.first_row.0.cast_signed()))
            .bind(rows.map_or(0, |rows| rows.last_row.0.cast_signed()))
            .bind(batch.unrouted.cast_signed())
            .bind(rows.is_some_and(|rows| rows.held))
            .bind(segments.iter().map(|segment| segment.queue.0).collect::<Vec<_>>())
            .bind(sizes)
            .bind(taken)
            .bind(segments.iter().map(|segment| millis(segment.delay)).collect::<Vec<_>>())
            .bind(segments.iter().map(|segment| segment.retention.map(millis)).collect::<Vec<_>>())
            .bind(findings.iter().map(|(row, _)| row.0.cast_signed()).collect::<Vec<_>>())
            .bind(findings.iter().map(|(_, content)| content.as_str()).collect::<Vec<_>>())
            .bind(turns)
            .bind(rows.map_or(0, |rows| rows.duplicates.cast_signed()))
            .fetch_one(&mut **tx)
            .await
            .map_err(already_there)?;
        Ok(allowed == 1)
    }
}

/// Ids come from a sequence: only this batch can have used them.
pub(super) fn already_there(error: sqlx::Error) -> LogError {
    match error.as_database_error() {
        Some(database) if database.is_unique_violation() => LogError::AlreadyThere,
        _ => error.into(),
    }
}

/// `{1,2,3}`: how an array is said in a parameter of type text.
pub(super) fn array_text<T: std::fmt::Display>(values: &[T]) -> String {
    let mut text = String::with_capacity(2 + values.len() * 4);
    text.push('{');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        // Writing to a string cannot fail.
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{value}"));
    }
    text.push('}');
    text
}

/// The messages in COPY's binary format: a header, then for each row the number of its fields and
/// each field's length and bytes, -1 standing for null; at the end a -1.
/// <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4>
fn copy_rows(batch: &NewBatch) -> Result<Vec<u8>, LogError> {
    let size: usize = batch.messages.iter().map(|message| message.data.len() + 64).sum();
    let mut out = Vec::with_capacity(size + 32);
    out.put_slice(b"PGCOPY\n\xff\r\n\0");
    out.put_i32(0);
    out.put_i32(0);
    let upload = batch.rows.as_ref().map(|rows| rows.fence.upload.0);
    let sheet = batch.rows.as_ref().map(|rows| rows.sheet.cast_signed());
    for (id, message) in (batch.first_id..).zip(&batch.messages) {
        out.put_i16(6);
        out.put_i32(8);
        out.put_i64(id);
        match upload {
            Some(upload) => {
                out.put_i32(8);
                out.put_i64(upload);
            }
            None => out.put_i32(-1),
        }
        match sheet {
            Some(sheet) => {
                out.put_i32(2);
                out.put_i16(sheet);
            }
            None => out.put_i32(-1),
        }
        match message.row {
            Some(row) => {
                out.put_i32(4);
                out.put_u32(row.0);
            }
            None => out.put_i32(-1),
        }
        put_text(&mut out, &message.data)?;
        match &message.attributes {
            Some(attributes) => put_text(&mut out, attributes.as_bytes())?,
            None => out.put_i32(-1),
        }
    }
    out.put_i16(-1);
    Ok(out)
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), LogError> {
    let length =
        i32::try_from(text.len()).map_err(|_| LogError::Damaged("a message of over 2 GiB"))?;
    out.put_i32(length);
    out.put_slice(text);
    Ok(())
}
