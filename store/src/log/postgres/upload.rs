//! The two ends of an upload's ingestion on PostgreSQL: everything is let go, or everything is
//! taken back.

use super::PostgresLog;
use crate::log::types::{Fence, LogError, UploadId};
use rowmill_domain::RowOfUpload;

impl PostgresLog {
    /// Lets an upload's held segments go, all in one step, and records that it is published.
    /// They take their turn from where the queue is now, so that a new upload neither waits for a
    /// long one that began before it nor holds it up.
    pub(in crate::log) async fn release(&self, fence: Fence, totals: &str) -> Result<(), LogError> {
        let mut tx = self.pool.begin().await?;
        // What is paused stays held; of a streamed upload nothing else is.
        let published: Option<(bool, bool)> = sqlx::query_as(
            "update upload set state='published', totals=$3, \
             published_at=(extract(epoch from clock_timestamp())*1000)::int8+$4::int8 \
             where id=$1 and epoch=$2 and state='ingesting' returning paused_at is not null, stream",
        )
        .bind(fence.upload.0)
        .bind(fence.epoch)
        .bind(totals)
        .bind(self.clock.offset_ms())
        .fetch_optional(&mut *tx)
        .await?;
        let (paused, stream) = published.ok_or(LogError::LeaseLost)?;
        if paused && stream {
            tx.commit().await?;
            return Ok(());
        }
        sqlx::query(
            "with base as materialized (select queue_id, min(turn) as turn from segment \
               where not held and queue_id=any(array(select distinct queue_id from segment where upload_id=$1 and held)) \
               group by queue_id), \
             clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now), \
             l as materialized (select queue_id, first_id, greatest(0,(select now from clock)-created_at) as passed from segment \
               where upload_id=$1 and held order by queue_id, first_id for update) \
             update segment s set held=$3, \
               turn=s.turn+coalesce((select b.turn from base b where b.queue_id=s.queue_id),0), \
               available_at=s.available_at+l.passed, expires_at=s.expires_at+l.passed \
             from l where s.queue_id=l.queue_id and s.first_id=l.first_id",
        )
        .bind(fence.upload.0)
        .bind(self.clock.offset_ms())
        .bind(paused)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes back everything that a failed upload wrote, and records the fault.
    pub(in crate::log) async fn discard(
        &self,
        fence: Fence,
        problem: &str,
    ) -> Result<(), LogError> {
        let mut tx = self.pool.begin().await?;
        let failed = sqlx::query(
            "update upload set state='failed', problem=$3, run_key=null, \
             ended_at=(extract(epoch from clock_timestamp())*1000)::int8+$4::int8 \
             where id=$1 and epoch=$2 and state='ingesting'",
        )
        .bind(fence.upload.0)
        .bind(fence.epoch)
        .bind(problem)
        .bind(self.clock.offset_ms())
        .execute(&mut *tx)
        .await?;
        if failed.rows_affected() == 0 {
            return Err(LogError::LeaseLost);
        }
        self.take_back(&mut tx, fence.upload).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Removes all that an upload published, as far as it is held still, with what was recorded of it.
    pub(super) async fn take_back(
        &self,
        tx: &mut sqlx::PgTransaction<'_>,
        upload: UploadId,
    ) -> Result<(), LogError> {
        for statement in [
            "with l as materialized (select queue_id, first_id from segment \
               where upload_id=$1 and held order by queue_id, first_id for update) \
             delete from segment s using l where s.queue_id=l.queue_id and s.first_id=l.first_id",
            // What a purge cancelled.
            "delete from outcome o using batch b, queue q where b.upload_id=$1 \
             and o.queue_id=q.id and o.first_id>=b.first_id and o.first_id<b.first_id+b.n",
            "delete from message m using batch b \
             where b.upload_id=$1 and m.id>=b.first_id and m.id<b.first_id+b.n",
            "delete from finding where upload_id=$1",
            "delete from row_key where upload_id=$1",
            "delete from batch where upload_id=$1",
        ] {
            sqlx::query(statement).bind(upload.0).execute(&mut **tx).await?;
        }
        // Of rows that travel in a carrier only their ends are here.
        let Some((first, past)) = RowOfUpload::range(upload.0) else { return Ok(()) };
        for statement in [
            "delete from outcome o using queue q where o.queue_id=q.id and o.first_id>=$1 and o.first_id<$2",
            "delete from carried_end e using queue q where e.queue_id=q.id and e.message_id>=$1 and e.message_id<$2",
        ] {
            sqlx::query(statement).bind(first).bind(past).execute(&mut **tx).await?;
        }
        Ok(())
    }
}
