//! How an upload stands, and its early or final end, on SQLite.

use super::upload::take_back;
use super::{SqliteLog, from_json, to_json};
use crate::clock::millis;
use crate::log::types::{LogError, Standing, UploadId};
use crate::log::{RATE_WINDOW, standing_of};

const STANDING: &str = "
with b as materialized (
  select coalesce(sum(n),0) as n, coalesce(sum(unrouted),0) as unrouted, coalesce(sum(copies),0) as copies, coalesce(sum(duplicates),0) as duplicates,
    min(first_id) as low, max(max(first_id+n), iif(max(first_id)>=576460752303423488,(max(first_id)/2147483648+1)*2147483648,0)) as high from batch where upload_id=?1),
live as materialized (select id from queue where not keeps_dead),
o as materialized (
  select o.kind, sum(o.n) as n, sum(o.n) filter (where o.settled_at>?2) as lately from live join outcome o on o.queue_id=live.id
    and o.first_id>=(select low from b) and o.first_id<(select high from b)
  where o.upload_id=?1 group by o.kind)
select b.n, b.unrouted, b.copies,
  (select count(distinct sheet*4294967296+\"row\") from finding where upload_id=?1 and content like '{\"kind\":\"rejected\"%'), b.duplicates,
  (select coalesce(sum(unsettled),0) from lease where upload_id=?1 and queue_id in (select id from live)),
  coalesce((select n from o where kind=1),0), coalesce((select n from o where kind=2),0),
  coalesce((select n from o where kind=3),0), coalesce((select n from o where kind=4),0),
  coalesce((select sum(lately) from o where kind<=2),0)
from b";

type Waiting = (i32, i64, i64, i64, Option<String>);

impl SqliteLog {
    pub(in crate::log) async fn standing(&self, upload: UploadId) -> Result<Standing, LogError> {
        let row = sqlx::query_as(STANDING)
            .bind(upload.0)
            .bind(self.clock.now_ms() - millis(RATE_WINDOW))
            .fetch_one(&self.readers)
            .await?;
        Ok(standing_of(row))
    }

    pub(in crate::log) async fn working_uploads(&self) -> Result<Vec<UploadId>, LogError> {
        let ids: Vec<i64> = sqlx::query_scalar(
            "select id from upload where state='published' and spool is not null order by id",
        )
        .fetch_all(&self.readers)
        .await?;
        Ok(ids.into_iter().map(UploadId).collect())
    }

    pub(in crate::log) async fn end_upload(&self, upload: UploadId) -> Result<bool, LogError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "update upload set state='ended', ended_at=? where id=? and state='published'",
        )
        .bind(self.clock.now_ms())
        .bind(upload.0)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// A fault makes it a failure instead of a cancellation, if the epoch still is the finder's.
    pub(in crate::log) async fn cancel(
        &self,
        upload: UploadId,
        fault: Option<(i32, &str)>,
    ) -> Result<bool, LogError> {
        let mut tx = self.write().await?;
        let now = self.clock.now_ms();
        let was: Option<(String, bool)> = sqlx::query_as(
            "select state, stream from upload where id=?1 \
               and case when ?2 is null then state in ('ingesting','published') \
                 else state='ingesting' and epoch=?2 end",
        )
        .bind(upload.0)
        .bind(fault.map(|(epoch, _)| epoch))
        .fetch_optional(&mut *tx)
        .await?;
        let Some((state, stream)) = was else { return Ok(false) };
        sqlx::query(
            "update upload set paused_at=null, paused_why=null, state=case when ?3 is null then 'cancelled' else 'failed' end, problem=?3, \
               epoch=epoch+(?3 is null), run_key=null, lease_until=null, ended_at=?2 where id=?1",
        )
        .bind(upload.0)
        .bind(now)
        .bind(fault.map(|(_, problem)| problem))
        .execute(&mut *tx)
        .await?;
        if state == "ingesting" && !stream {
            take_back(&mut tx, upload).await?;
            tx.commit().await?;
            return Ok(true);
        }
        let segments: Vec<Waiting> = sqlx::query_as(
            "delete from segment where upload_id=? returning queue_id, first_id, size, next, taken",
        )
        .bind(upload.0)
        .fetch_all(&mut *tx)
        .await?;
        for (queue, first, size, next, taken) in segments {
            let ids: Option<Vec<i64>> = from_json::<Vec<i64>>(taken.as_deref())?.map(|offsets| {
                let from = usize::try_from(next).unwrap_or(0);
                offsets.iter().skip(from).map(|offset| first + offset).collect()
            });
            let ends = (
                ids.as_ref().and_then(|ids| ids.first().copied()).unwrap_or(first + next),
                ids.as_ref().and_then(|ids| ids.last().copied()).unwrap_or(first + size - 1),
            );
            sqlx::query(
                "insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,ids,settled_at) \
                 values (?,?,?,?,4,?,?,?)",
            )
            .bind(queue)
            .bind(ends.0)
            .bind(ends.1)
            .bind(upload.0)
            .bind(size - next)
            .bind(ids.as_deref().map(to_json))
            .bind(now)
            .execute(&mut *tx)
            .await?;
        }
        let waiting: Vec<(i32, i64, i16)> = sqlx::query_as(
            "delete from redelivery where upload_id=? \
               and queue_id in (select id from queue where not keeps_dead) \
             returning queue_id, message_id, attempts",
        )
        .bind(upload.0)
        .fetch_all(&mut *tx)
        .await?;
        for (queue, message, attempts) in waiting {
            sqlx::query(
                "insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,attempts,settled_at) \
                 values (?1,?2,?2,?3,4,1,?4,?5)",
            )
            .bind(queue)
            .bind(message)
            .bind(upload.0)
            .bind(to_json(&[attempts]))
            .bind(now)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    pub(in crate::log) async fn delete_upload(&self, upload: UploadId) -> Result<bool, LogError> {
        let mut tx = self.write().await?;
        let over: bool = sqlx::query_scalar(
            "select exists (select 1 from upload where id=?1 and state in ('ended','failed','cancelled')) \
               and not exists (select 1 from lease where upload_id=?1)",
        )
        .bind(upload.0)
        .fetch_one(&mut *tx)
        .await?;
        if !over {
            return Ok(false);
        }
        take_back(&mut tx, upload).await?;
        for statement in [
            "delete from redelivery where upload_id=?",
            "delete from webhook where upload_id=?",
            "delete from upload where id=?",
        ] {
            sqlx::query(statement).bind(upload.0).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}
