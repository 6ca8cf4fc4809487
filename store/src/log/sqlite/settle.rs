//! Settling, sweeping and reclaiming on SQLite: read the leases, decide by [`Plan`], write it.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteTransaction};
use uuid::Uuid;

use super::{SqliteLog, from_json, receipt, to_json};
use crate::clock::duration;
use crate::log::plan::Plan;
use crate::log::types::{Expiries, LeaseRow, LogError, QueueId, UploadId};
use rowmill_domain::{RetryPolicy, Settled, Settlement};

macro_rules! leases_where {
    ($condition:literal) => {
        concat!(
            "select l.id, l.queue_id, l.upload_id, l.first_id, l.n, l.ids, l.attempts, l.settled, \
               q.max_deliveries, q.backoff_first_ms, q.backoff_factor, q.backoff_most_ms, \
               q.dead_queue_id, l.expiries, l.upload_id is not null or q.record_outcomes, \
               (select d.retention_ms from queue d where d.id=q.dead_queue_id) \
             from lease l join queue q on q.id=l.queue_id where ",
            $condition
        )
    };
}

impl SqliteLog {
    pub(in crate::log) async fn settle(
        &self,
        asked: &[(Uuid, Vec<Settlement>)],
        dice: &mut (dyn FnMut() -> f64 + Send),
    ) -> Result<Vec<Settled>, LogError> {
        let mut tx = self.write().await?;
        let now = self.clock.now_ms();
        let mut leases = Vec::with_capacity(asked.len());
        for (receipt, _) in asked {
            let row = sqlx::query(leases_where!("l.id=?"))
                .bind(receipt.to_string())
                .fetch_optional(&mut *tx)
                .await?;
            if let Some(row) = row {
                leases.push(lease_row(&row, now)?);
            }
        }
        let mut plan = Plan::default();
        let settled = plan.settle_all(leases, asked, dice);
        write_plan(&mut tx, &plan).await?;
        tx.commit().await?;
        Ok(settled)
    }

    pub(in crate::log) async fn sweep(&self, most: i64) -> Result<Vec<Settled>, LogError> {
        let mut tx = self.write().await?;
        let now = self.clock.now_ms();
        let rows = sqlx::query(leases_where!("l.expires_at<? limit ?"))
            .bind(now)
            .bind(most)
            .fetch_all(&mut *tx)
            .await?;
        end_leases(tx, &rows, now, Plan::lapse).await
    }

    pub(in crate::log) async fn reclaim(&self, queue: QueueId) -> Result<Vec<Settled>, LogError> {
        let mut tx = self.write().await?;
        let rows =
            sqlx::query(leases_where!("l.queue_id=?")).bind(queue.0).fetch_all(&mut *tx).await?;
        end_leases(tx, &rows, self.clock.now_ms(), Plan::reclaim).await
    }
}

async fn end_leases(
    mut tx: SqliteTransaction<'_>,
    rows: &[SqliteRow],
    now: i64,
    end: impl Fn(&mut Plan, &mut LeaseRow) -> Settled,
) -> Result<Vec<Settled>, LogError> {
    let mut plan = Plan::default();
    let mut settled = vec![];
    for row in rows {
        settled.push(end(&mut plan, &mut lease_row(row, now)?));
    }
    write_plan(&mut tx, &plan).await?;
    tx.commit().await?;
    Ok(settled)
}

pub(super) async fn write_plan(
    tx: &mut SqliteTransaction<'_>,
    plan: &Plan,
) -> Result<(), LogError> {
    for receipt in &plan.gone {
        sqlx::query("delete from lease where id=?")
            .bind(receipt.to_string())
            .execute(&mut **tx)
            .await?;
    }
    for (receipt, (settled, unsettled)) in &plan.part {
        sqlx::query("update lease set settled=?, unsettled=? where id=?")
            .bind(settled)
            .bind(unsettled)
            .bind(receipt.to_string())
            .execute(&mut **tx)
            .await?;
    }
    for row in &plan.outcomes {
        sqlx::query(
            "insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,mask,ids,attempts,items,settled_at) \
             values (?,?,?,?,?,?,?,?,?,?,?)",
        )
        .bind(row.queue.0)
        .bind(row.first_id)
        .bind(row.last_id)
        .bind(row.upload.map(|upload| upload.0))
        .bind(row.kind.number())
        .bind(i64::try_from(row.n).unwrap_or(i64::MAX))
        .bind(row.mask.as_deref())
        .bind(row.ids.as_deref().map(to_json))
        .bind(row.attempts.as_deref().map(to_json))
        .bind(row.items.as_deref())
        .bind(plan.now_ms)
        .execute(&mut **tx)
        .await?;
    }
    for row in &plan.redeliveries {
        let upload = row.upload.map(|upload| upload.0);
        let away = if row.died { 0 } else { SqliteLog::away(tx, upload).await? };
        sqlx::query(if row.died {
            "insert into redelivery(queue_id,message_id,upload_id,attempts,available_at,last_error,expires_at) \
             values (?,?,?,?,?,?,?) on conflict do nothing"
        } else {
            "insert into redelivery(queue_id,message_id,upload_id,attempts,available_at,last_error,expires_at) \
             values (?,?,?,?,?,?,?)"
        })
        .bind(row.queue.0)
        .bind(row.message)
        .bind(upload)
        .bind(row.attempts)
        .bind(row.available_at + away)
        .bind(row.last_error.as_deref())
        .bind(row.expires_at.map(|at| at + away))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

fn lease_row(row: &SqliteRow, now_ms: i64) -> Result<LeaseRow, LogError> {
    let ids: Option<String> = row.try_get(5)?;
    let attempts: Option<String> = row.try_get(6)?;
    let expiries: Option<String> = row.try_get(13)?;
    Ok(LeaseRow {
        id: receipt(row.try_get(0)?)?,
        queue: QueueId(row.try_get(1)?),
        upload: row.try_get::<Option<i64>, _>(2)?.map(UploadId),
        first_id: row.try_get(3)?,
        n: usize::try_from(row.try_get::<i32, _>(4)?).unwrap_or(0),
        ids: from_json(ids.as_deref())?,
        attempts: from_json(attempts.as_deref())?,
        settled: row.try_get(7)?,
        max_deliveries: row.try_get(8)?,
        retry: RetryPolicy {
            first: duration(row.try_get(9)?),
            factor: row.try_get(10)?,
            most: duration(row.try_get(11)?),
        },
        dead_queue: row.try_get::<Option<i32>, _>(12)?.map(QueueId),
        expiries: Expiries(from_json(expiries.as_deref())?),
        recorded: row.try_get(14)?,
        dead_retention_ms: row.try_get(15)?,
        now_ms,
    })
}
