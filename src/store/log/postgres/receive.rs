//! Receiving on PostgreSQL: one statement moves a slice of a queue into leases and reads its
//! messages.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresLog;
use crate::domain::RowNumber;
use crate::store::clock::duration;
use crate::store::log::gather::Gather;
use crate::store::log::types::{Emptiness, Handed, LogError, QueueId, Received, UploadId};

impl PostgresLog {
    pub(in crate::store::log) async fn receive(
        &self,
        queue: QueueId,
        max: i32,
    ) -> Result<Received, LogError> {
        let rows = sqlx::query(self.sql.receive.clone())
            .bind(queue.0)
            .bind(max)
            .bind(self.clock.offset_ms())
            .fetch_all(&self.pool)
            .await?;
        if rows.is_empty() {
            return Ok(Received::Empty(self.next_due(queue).await?));
        }
        let mut leases = Gather::default();
        for row in &rows {
            take(&mut leases, row)?;
        }
        leases.finish().map(Received::Leases)
    }

    async fn next_due(&self, queue: QueueId) -> Result<Emptiness, LogError> {
        let in_ms: Option<i64> = sqlx::query_scalar(self.sql.next_due.clone())
            .bind(queue.0)
            .bind(self.clock.offset_ms())
            .fetch_one(&self.pool)
            .await?;
        Ok(match in_ms {
            Some(in_ms) if in_ms <= 0 => Emptiness::Contended,
            in_ms => Emptiness::Until(in_ms.map(duration)),
        })
    }
}

fn take(leases: &mut Gather, row: &PgRow) -> Result<(), LogError> {
    let position: i32 = row.try_get(4)?;
    let attempt: i16 = row.try_get(5)?;
    let sheet: Option<i16> = row.try_get(7)?;
    let number: Option<i32> = row.try_get(8)?;
    leases.add(
        row.try_get(0)?,
        row.try_get::<Option<i64>, _>(1)?.map(UploadId),
        usize::try_from(row.try_get::<i32, _>(2)?).unwrap_or(0),
        duration(row.try_get(3)?),
        Handed {
            position: u16::try_from(position).unwrap_or(u16::MAX),
            id: row.try_get(6)?,
            attempt: attempt.cast_unsigned(),
            place: sheet
                .zip(number)
                .map(|(sheet, row)| (sheet.cast_unsigned(), RowNumber(row.cast_unsigned()))),
            data: row.try_get(9)?,
            attributes: row.try_get(10)?,
        },
    )
}
