//! Settling, sweeping and reclaiming on PostgreSQL: lock the leases in order, decide by
//! [`Plan`], write it in one statement.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::PostgresLog;
use super::publish::array_text;
use crate::clock::duration;
use crate::log::plan::Plan;
use crate::log::types::{Expiries, LeaseRow, LogError, QueueId, UploadId};
use rowmill_domain::{RetryPolicy, Settled, Settlement, Verdict};

impl PostgresLog {
    pub(in crate::log) async fn settle(
        &self,
        asked: &[(Uuid, Vec<Settlement>)],
        dice: &mut (dyn FnMut() -> f64 + Send),
    ) -> Result<Vec<Settled>, LogError> {
        let mut settled = self.settle_whole(asked).await?;
        let left: Vec<(Uuid, Vec<Settlement>)> = asked
            .iter()
            .zip(&settled)
            .filter(|(_, settled)| settled.is_none())
            .map(|(asked, _)| asked.clone())
            .collect();
        if !left.is_empty() {
            let answers = self.settle_parts(&left, dice).await?;
            let open = settled.iter_mut().filter(|settled| settled.is_none());
            open.zip(answers).for_each(|(open, answer)| *open = Some(answer));
        }
        Ok(settled.into_iter().flatten().collect())
    }

    /// The usual case, all of a lease acked at once: one statement for all such leases. `None` for
    /// what is not that case, and for leases that are gone or partly settled.
    ///
    /// The rest is another transaction. Leases are locked in the order of their ids; one transaction
    /// that did both would lock them in two runs, and two of these could wait for each other.
    async fn settle_whole(
        &self,
        asked: &[(Uuid, Vec<Settlement>)],
    ) -> Result<Vec<Option<Settled>>, LogError> {
        let mut answers = vec![None; asked.len()];
        let mut places = HashMap::new();
        let (mut receipts, mut sizes, mut items) = (vec![], vec![], vec![]);
        for (at, (receipt, settlements)) in asked.iter().enumerate() {
            // A lease that is asked for twice is settled in the order asked, by the general form.
            if places.insert(*receipt, at).is_some() {
                return Ok(vec![None; asked.len()]);
            }
            let Some(outputs) = outputs_of_all(settlements) else { continue };
            receipts.push(*receipt);
            sizes.push(i32::try_from(settlements.len()).unwrap_or(i32::MAX));
            items.push(outputs.0);
        }
        if receipts.is_empty() {
            return Ok(answers);
        }
        let applied: Vec<Uuid> = sqlx::query_scalar(self.sql.settle_whole.clone())
            .bind(&receipts)
            .bind(&sizes)
            .bind(&items)
            .bind(self.clock.offset_ms())
            .fetch_all(&self.pool)
            .await?;
        for receipt in applied {
            let at = places.get(&receipt).ok_or(LogError::Damaged("a receipt nobody asked for"))?;
            let done = u32::try_from(asked[*at].1.len()).unwrap_or(u32::MAX);
            answers[*at] = Some(Settled { done, ..Settled::default() });
        }
        Ok(answers)
    }

    async fn settle_parts(
        &self,
        asked: &[(Uuid, Vec<Settlement>)],
        dice: &mut (dyn FnMut() -> f64 + Send),
    ) -> Result<Vec<Settled>, LogError> {
        let receipts: Vec<Uuid> = asked.iter().map(|(receipt, _)| *receipt).collect();
        let mut tx = self.pool.begin().await?;
        let rows = sqlx::query(self.sql.lock_leases.clone())
            .bind(self.clock.offset_ms())
            .bind(&receipts)
            .fetch_all(&mut *tx)
            .await?;
        let leases = rows.iter().map(lease_row).collect::<Result<Vec<_>, _>>()?;
        let mut plan = Plan::default();
        let settled = plan.settle_all(leases, asked, dice);
        self.write_plan(&mut tx, &plan).await?;
        tx.commit().await?;
        Ok(settled)
    }

    pub(in crate::log) async fn sweep(&self, most: i64) -> Result<Vec<Settled>, LogError> {
        let mut tx = self.pool.begin().await?;
        let rows = sqlx::query(self.sql.lock_expired.clone())
            .bind(self.clock.offset_ms())
            .bind(most)
            .fetch_all(&mut *tx)
            .await?;
        self.end_leases(tx, &rows, Plan::lapse).await
    }

    pub(in crate::log) async fn reclaim(&self, queue: QueueId) -> Result<Vec<Settled>, LogError> {
        let mut tx = self.pool.begin().await?;
        let rows = sqlx::query(self.sql.lock_queue.clone())
            .bind(self.clock.offset_ms())
            .bind(queue.0)
            .fetch_all(&mut *tx)
            .await?;
        self.end_leases(tx, &rows, Plan::reclaim).await
    }

    async fn end_leases(
        &self,
        mut tx: sqlx::PgTransaction<'_>,
        rows: &[PgRow],
        end: impl Fn(&mut Plan, &mut LeaseRow) -> Settled,
    ) -> Result<Vec<Settled>, LogError> {
        let mut plan = Plan::default();
        let mut settled = vec![];
        for row in rows {
            settled.push(end(&mut plan, &mut lease_row(row)?));
        }
        self.write_plan(&mut tx, &plan).await?;
        tx.commit().await?;
        Ok(settled)
    }

    pub(super) async fn write_plan(
        &self,
        tx: &mut sqlx::PgTransaction<'_>,
        plan: &Plan,
    ) -> Result<(), LogError> {
        if plan.is_empty() {
            return Ok(());
        }
        let (ended, again) = (&plan.outcomes, &plan.redeliveries);
        macro_rules! column {
            ($rows:expr, $row:ident => $value:expr) => {
                $rows.iter().map(|$row| $value).collect::<Vec<_>>()
            };
        }
        sqlx::query(self.sql.write_plan.clone())
            .bind(&plan.gone)
            .bind(column!(plan.part, row => *row.0))
            .bind(column!(plan.part, row => row.1.0.as_str()))
            .bind(column!(plan.part, row => row.1.1))
            .bind(plan.now_ms)
            .bind(column!(ended, row => row.queue.0))
            .bind(column!(ended, row => row.first_id))
            .bind(column!(ended, row => row.last_id))
            .bind(column!(ended, row => row.upload.map(|upload| upload.0)))
            .bind(column!(ended, row => row.kind.number()))
            .bind(column!(ended, row => i32::try_from(row.n).unwrap_or(i32::MAX)))
            .bind(column!(ended, row => row.mask.as_deref()))
            .bind(column!(ended, row => row.ids.as_deref().map(array_text)))
            .bind(column!(ended, row => row.attempts.as_deref().map(array_text)))
            .bind(column!(ended, row => row.items.as_deref()))
            .bind(column!(again, row => row.queue.0))
            .bind(column!(again, row => row.message))
            .bind(column!(again, row => row.upload.map(|upload| upload.0)))
            .bind(column!(again, row => row.attempts))
            .bind(column!(again, row => row.available_at))
            .bind(column!(again, row => row.last_error.as_deref()))
            .bind(column!(again, row => row.expires_at))
            .bind(column!(again, row => row.died))
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}

/// What acking every position from 0 records (`None` when no position has an output), in an option
/// that is `None` when that is not what is asked.
struct Outputs(Option<String>);

fn outputs_of_all(settlements: &[Settlement]) -> Option<Outputs> {
    let mut outputs = vec![None; settlements.len()];
    for settlement in settlements {
        let Verdict::Done { output } = &settlement.verdict else { return None };
        match outputs.get_mut(usize::from(settlement.position)) {
            Some(free @ None) => *free = Some(output.as_deref().unwrap_or("null")),
            _ => return None,
        }
    }
    // Every position from 0 is there once, so `flatten` drops nothing.
    let outputs: Vec<&str> = outputs.into_iter().flatten().collect();
    let any = outputs.iter().any(|output| *output != "null");
    Some(Outputs(any.then(|| format!("[{}]", outputs.join(",")))))
}

fn lease_row(row: &PgRow) -> Result<LeaseRow, LogError> {
    Ok(LeaseRow {
        id: row.try_get(0)?,
        queue: QueueId(row.try_get(1)?),
        upload: row.try_get::<Option<i64>, _>(2)?.map(UploadId),
        first_id: row.try_get(3)?,
        n: usize::try_from(row.try_get::<i32, _>(4)?).unwrap_or(0),
        ids: row.try_get(5)?,
        attempts: row.try_get(6)?,
        settled: row.try_get(7)?,
        max_deliveries: row.try_get(8)?,
        retry: RetryPolicy {
            first: duration(row.try_get(9)?),
            factor: row.try_get(10)?,
            most: duration(row.try_get(11)?),
        },
        dead_queue: row.try_get::<Option<i32>, _>(12)?.map(QueueId),
        expiries: Expiries(row.try_get(13)?),
        recorded: row.try_get(14)?,
        dead_retention_ms: row.try_get(15)?,
        now_ms: row.try_get(16)?,
    })
}
