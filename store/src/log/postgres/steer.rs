//! Pausing and resuming on PostgreSQL: see [`crate::log::steer`].

use super::PostgresLog;
use crate::log::steer::{PausedBy, WATCHED, Watched, WatchedColumns, watched};
use crate::log::types::{LogError, UploadId};

/// The advisory lock's class. Pauses, resumes and cancellations take it for themselves, redrives
/// share it: they lock messages before they know of which uploads these are.
pub(super) const STEERING: &str = "select pg_advisory_xact_lock(1920102774, 0)";
/// The same, shared.
pub(super) const STEERING_SHARED: &str = "select pg_advisory_xact_lock_shared(1920102774, 0)";

/// By the range of the upload's ids in each queue; locked in the order of ids, as by a purge.
pub(super) const HOLD: &str = "
with b as materialized (select min(first_id) as low, max(first_id+n) as high from batch where upload_id=$1),
l as materialized (select queue_id, first_id from segment
  where queue_id=any(array(select id from queue)) and first_id>=(select low from b) and first_id<(select high from b)
    and upload_id=$1 and not held order by queue_id, first_id for update)
update segment s set held=true from l where s.queue_id=l.queue_id and s.first_id=l.first_id";

pub(super) const SEND_AWAY: &str = "
with b as materialized (select min(first_id) as low, max(first_id+n) as high from batch where upload_id=$1),
l as materialized (select queue_id, message_id from redelivery
  where queue_id=any(array(select id from queue where not keeps_dead)) and message_id>=(select low from b) and message_id<(select high from b)
    and upload_id=$1 and available_at<4503599627370496 order by queue_id, message_id for update)
update redelivery r set available_at=r.available_at+4503599627370496, expires_at=r.expires_at+4503599627370496
from l where r.queue_id=l.queue_id and r.message_id=l.message_id";

/// In turn from where the queue is now, as when an upload is let go. Of `$3`, when it was paused, and
/// of when each could have been delivered first, the later is when its time stood still.
pub(super) const LET_GO: &str = "
with own as materialized (select queue_id, min(turn) as turn from segment where upload_id=$1 and held group by queue_id),
base as materialized (select own.queue_id, own.turn as own,
  (select s.turn from segment s where s.queue_id=own.queue_id and not s.held order by s.turn limit 1) as turn from own),
clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now),
l as materialized (select queue_id, first_id, greatest(0,(select now from clock)-greatest($3::int8,$4::int8,created_at)) as passed from segment
  where upload_id=$1 and held order by queue_id, first_id for update)
update segment s set held=false, expires_at=s.expires_at+l.passed, turn=s.turn-b.own+coalesce(b.turn,0)
from l join base b on b.queue_id=l.queue_id where s.queue_id=l.queue_id and s.first_id=l.first_id";

/// Due now at the earliest: a look from a moment ago on finds them.
pub(super) const BRING_BACK: &str = "
with b as materialized (select min(first_id) as low, max(first_id+n) as high from batch where upload_id=$1),
clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now),
l as materialized (select queue_id, message_id from redelivery
  where queue_id=any(array(select id from queue)) and message_id>=(select low from b) and message_id<(select high from b)
    and upload_id=$1 and available_at>=4503599627370496 order by queue_id, message_id for update)
update redelivery r set available_at=greatest(r.available_at-4503599627370496,(select now from clock)),
  expires_at=r.expires_at-4503599627370496+greatest(0,(select now from clock)-$3::int8)
from l where r.queue_id=l.queue_id and r.message_id=l.message_id";

impl PostgresLog {
    pub(in crate::log) async fn pause(
        &self,
        upload: UploadId,
        by: PausedBy<'_>,
    ) -> Result<bool, LogError> {
        let (why, steered) = by.parts();
        let mut tx = self.pool.begin().await?;
        sqlx::query(STEERING).execute(&mut *tx).await?;
        let was: Option<(String, bool, bool)> = sqlx::query_as(
            "update upload u set paused_why=case when was.paused_at is null then $3 else u.paused_why end, \
               steered=u.steered+case when was.paused_at is null then 1 else 0 end, \
               paused_at=coalesce(was.paused_at,(extract(epoch from clock_timestamp())*1000)::int8+$2::int8) \
             from (select id, paused_at from upload where id=$1 for update) was \
             where u.id=was.id and u.state in ('ingesting','published') and ($4::int is null or u.steered=$4) \
             returning u.state, u.stream, was.paused_at is not null",
        )
        .bind(upload.0)
        .bind(self.clock.offset_ms())
        .bind(why)
        .bind(steered)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((state, stream, before)) = was else { return Ok(false) };
        if !before && (state == "published" || stream) {
            for statement in [&self.sql.hold, &self.sql.send_away] {
                sqlx::query(statement.clone()).bind(upload.0).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        Ok(true)
    }

    pub(in crate::log) async fn resume(
        &self,
        upload: UploadId,
        (from_ended, from_dead): (i64, i64),
    ) -> Result<bool, LogError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query(STEERING).execute(&mut *tx).await?;
        let was: Option<(String, bool, i64, Option<i64>)> = sqlx::query_as(
            "update upload u set paused_at=null, paused_why=null, steered=u.steered+1, \
               stop_from_ended=$2, stop_from_dead=$3 \
             from (select id, paused_at from upload where id=$1 and paused_at is not null for update) was \
             where u.id=was.id returning u.state, u.stream, was.paused_at, u.published_at",
        )
        .bind(upload.0)
        .bind(from_ended)
        .bind(from_dead)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((state, stream, paused_at, published_at)) = was else { return Ok(false) };
        // What is held until the file is read to its end stays so.
        if state != "ingesting" || stream {
            let let_go_at = published_at.filter(|_| !stream).unwrap_or(0);
            sqlx::query(self.sql.let_go.clone())
                .bind(upload.0)
                .bind(self.clock.offset_ms())
                .bind(paused_at)
                .bind(let_go_at)
                .execute(&mut *tx)
                .await?;
            sqlx::query(self.sql.bring_back.clone())
                .bind(upload.0)
                .bind(self.clock.offset_ms())
                .bind(paused_at)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    pub(in crate::log) async fn watched_uploads(&self) -> Result<Vec<Watched>, LogError> {
        let rows: Vec<WatchedColumns> = sqlx::query_as(WATCHED).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(watched).collect())
    }
}
