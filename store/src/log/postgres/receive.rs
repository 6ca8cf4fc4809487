//! Receiving on PostgreSQL: one statement moves slices of a queue into leases and reads their
//! messages.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresLog;
use super::floor::Floor;
use crate::clock::duration;
use crate::log::gather::in_order;
use crate::log::types::{
    Emptiness, Expiries, Handed, HandedLease, LogError, QueueId, Received, UploadId,
};
use rowmill_domain::RowNumber;

impl PostgresLog {
    pub(in crate::log) async fn receive(
        &self,
        queue: QueueId,
        max: i32,
        consumers: i32,
    ) -> Result<Received, LogError> {
        let floor = self.floor(queue).await?;
        let mut rows = self.lease_from(floor, queue, max, consumers).await?;
        if rows.is_empty() {
            let emptiness = self.next_due(queue).await?;
            if emptiness != Emptiness::Contended {
                return Ok(Received::Empty(emptiness));
            }
            // Something is due: others have it locked, or it lies below the floor.
            let floor = self.look_for_floor(queue).await?;
            rows = self.lease_from(floor, queue, max, consumers).await?;
            if rows.is_empty() {
                return Ok(Received::Empty(Emptiness::Contended));
            }
        }
        rows.iter().map(lease).collect::<Result<_, _>>().map(Received::Leases)
    }

    async fn lease_from(
        &self,
        floor: Floor,
        queue: QueueId,
        max: i32,
        consumers: i32,
    ) -> Result<Vec<PgRow>, LogError> {
        let (turn, first_id) = floor.from();
        let rows = sqlx::query(self.sql.receive.clone())
            .bind(queue.0)
            .bind(max)
            .bind(self.clock.offset_ms())
            .bind(consumers)
            .bind(turn)
            .bind(first_id)
            .bind(floor.due)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows)
    }

    async fn next_due(&self, queue: QueueId) -> Result<Emptiness, LogError> {
        let in_ms = sqlx::query_scalar::<_, Option<i64>>(self.sql.next_due.clone())
            .bind(queue.0)
            .bind(self.clock.offset_ms())
            .fetch_optional(&self.pool)
            .await?
            .flatten();
        Ok(match in_ms {
            Some(in_ms) if in_ms <= 0 => Emptiness::Contended,
            in_ms => Emptiness::Until(in_ms.map(duration)),
        })
    }
}

/// A lease with its messages: arrays, one element a message, in the same but any order.
fn lease(row: &PgRow) -> Result<HandedLease, LogError> {
    let size = usize::try_from(row.try_get::<i32, _>(2)?).unwrap_or(0);
    let first_id: i64 = row.try_get(5)?;
    let ids: Option<Vec<i64>> = row.try_get(6)?;
    let attempts: Option<Vec<i16>> = row.try_get(7)?;
    let expiries = Expiries(row.try_get(8)?);
    let created: Option<i64> = row.try_get(9)?;
    let created_each: Option<Vec<Option<i64>>> = row.try_get(10)?;
    let positions: Vec<i32> = row.try_get::<Option<_>, _>(11)?.unwrap_or_default();
    let sheets: Vec<Option<i16>> = row.try_get::<Option<_>, _>(12)?.unwrap_or_default();
    let numbers: Vec<Option<i32>> = row.try_get::<Option<_>, _>(13)?.unwrap_or_default();
    let data_lengths: Vec<Option<i32>> = row.try_get::<Option<_>, _>(14)?.unwrap_or_default();
    let mut data = Texts(row.try_get::<Option<&str>, _>(15)?.unwrap_or_default());
    let lengths: Vec<Option<i32>> = row.try_get::<Option<_>, _>(16)?.unwrap_or_default();
    let mut attributes = Texts(row.try_get::<Option<&str>, _>(17)?.unwrap_or_default());
    let mut messages = Vec::with_capacity(positions.len());
    for (at, position) in positions.into_iter().enumerate() {
        let position = u16::try_from(position).unwrap_or(u16::MAX);
        let id = match &ids {
            None => Some(first_id + i64::from(position)),
            Some(ids) => ids.get(usize::from(position)).copied(),
        };
        let attempt =
            attempts.as_ref().and_then(|all| all.get(usize::from(position)).copied()).unwrap_or(1);
        let created_here =
            || created_each.as_ref().and_then(|all| all.get(usize::from(position)).copied()?);
        messages.push(Handed {
            position,
            id: id.ok_or(LogError::Damaged("a message beyond the end of its lease"))?,
            attempt: attempt.cast_unsigned(),
            place: element(&sheets, at)?
                .zip(element(&numbers, at)?)
                .map(|(sheet, row)| (sheet.cast_unsigned(), RowNumber(row.cast_unsigned()))),
            data: data.next(element(&data_lengths, at)?)?.unwrap_or_default(),
            attributes: attributes.next(element(&lengths, at)?)?,
            created_ms: created.or_else(created_here).unwrap_or(0),
            expires_ms: expiries.at(usize::from(position)),
        });
    }
    Ok(HandedLease {
        receipt: row.try_get(0)?,
        upload: row.try_get::<Option<i64>, _>(1)?.map(UploadId),
        deadline: duration(row.try_get(3)?),
        consumer: usize::try_from(row.try_get::<i32, _>(4)?).unwrap_or(0),
        messages: in_order(messages, size)?,
    })
}

const UNEVEN: LogError = LogError::Damaged("a lease whose columns differ in length");

fn element<T: Copy>(array: &[T], at: usize) -> Result<T, LogError> {
    array.get(at).copied().ok_or(UNEVEN)
}

/// Texts that stand end to end.
struct Texts<'a>(&'a str);

impl Texts<'_> {
    /// The next, of this many bytes.
    fn next(&mut self, length: Option<i32>) -> Result<Option<Box<str>>, LogError> {
        let Some(length) = length else { return Ok(None) };
        let length = usize::try_from(length).map_err(|_| UNEVEN)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(UNEVEN)?;
        self.0 = rest;
        Ok(Some(text.into()))
    }
}
