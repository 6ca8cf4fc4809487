//! Looking at messages, and at how a queue moves, on PostgreSQL.

use super::PostgresLog;
use crate::clock::millis;
use crate::log::look::{ContentColumns, Due, Holding, HoldingColumns, Moved, Pace, RATE_WINDOW};
use crate::log::page::Place;
use crate::log::types::{BLOCK, LogError, QueueId};

type Columns = HoldingColumns<Vec<i64>, Vec<i16>, Vec<Option<i64>>>;

/// Rows that a rate is measured by at most; where there are more, the minute is cut short.
const RATE_ROWS: i64 = 10_000;

macro_rules! segment {
    () => {
        "first_id, size::int8, next::int8, held::int::int8, null::text, taken::int8[], \
         null::smallint[], available_at, case when expires_at is not null then array[expires_at] end, null::text"
    };
}

/// One of a paused upload is put away (`log::steer`): its times without that, and that it is held.
macro_rules! redelivery {
    () => {
        "message_id, 1::int8, 0::int8, available_at/4503599627370496, null::text, null::int8[], \
         array[attempts], available_at%4503599627370496, array[expires_at%4503599627370496], last_error"
    };
}

/// One statement, so that a message that moves from one place to another is seen in one.
const HOLDINGS: &str = concat!(
    "select $4::int8, ",
    segment!(),
    " from segment where queue_id=$1 and first_id<=$2 and first_id>$2-$3
union all
select $5::int8, first_id, n::int8, 0::int8, 0::int8, settled, ids, attempts, expires_at, expiries, null::text
from lease where queue_id=$1 and first_id<=$2 and first_id>$2-$3
union all
select $6::int8, ",
    redelivery!(),
    " from redelivery where queue_id=$1 and message_id=$2
union all
select $7::int8, first_id, last_id-first_id+1, 0::int8, kind::int8, mask, ids, attempts, settled_at, null::int8[],
  case when kind=2 then items end
from outcome where queue_id=$1 and first_id<=$2 and first_id>$2-$3 and last_id>=$2"
);

macro_rules! waiting {
    ($due:literal, $by:literal) => {
        concat!(
            "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now)
(select $5::int8, ",
            redelivery!(),
            " from redelivery where queue_id=$1 and available_at<4503599627370496 and available_at",
            $due,
            "(select now from clock)
    and (expires_at is null or expires_at>(select now from clock)) order by available_at, message_id limit $3)
union all
(select $4::int8, ",
            segment!(),
            " from segment where queue_id=$1 and not held and available_at",
            $due,
            "(select now from clock)
    and (expires_at is null or expires_at>(select now from clock)) order by ",
            $by,
            ", first_id limit $3)"
        )
    };
}

const READY: &str = waiting!("<=", "turn");
const DELAYED: &str = waiting!(">", "available_at");

const CONTENTS: &str = "
select m.id, m.upload_id, m.sheet, m.\"row\", m.data, m.attributes,
  (select b.created_at from batch b where b.first_id<=m.id order by b.first_id desc limit 1)
from message m where m.id=any($2) and exists (select 1 from queue where id=$1 and deleted_at is null)";

/// By ids, which are in the order of time but for blocks that are filled slowly.
const OLDEST: &str = "
select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 - least(
  (select created_at from segment where queue_id=$1 order by first_id limit 1),
  (select b.created_at from batch b where b.first_id<=least(
      (select min(first_id) from lease where queue_id=$1),
      (select message_id from redelivery where queue_id=$1 order by message_id limit 1))
    order by b.first_id desc limit 1))";

/// `queue_id+0` keeps the planner from going through all that ever ended in the queue.
const ENDED: &str = "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now)
select coalesce(sum(n),0)::int8, count(*), coalesce(max(at)-min(at),0)::int8 from (
  select n, settled_at as at from outcome
  where settled_at>(select now from clock)-$3::int8 and queue_id+0=$1 limit $4) o";

const PUBLISHED: &str = "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now)
select coalesce(sum(n),0)::int8, count(*), coalesce(max(at)-min(at),0)::int8 from (
  select sizes[array_position(queues,$1)] as n, created_at as at from batch
  where created_at>(select now from clock)-$3::int8 and $1::int=any(queues) limit $4) b";

impl PostgresLog {
    pub(in crate::log) async fn holdings(
        &self,
        queue: QueueId,
        id: i64,
    ) -> Result<Vec<Holding>, LogError> {
        let rows: Vec<Columns> = sqlx::query_as(HOLDINGS)
            .bind(queue.0)
            .bind(id)
            .bind(BLOCK)
            .bind(Place::SEGMENT)
            .bind(Place::LEASE)
            .bind(Place::REDELIVERY)
            .bind(Place::OUTCOME)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(Holding::new).collect())
    }

    pub(in crate::log) async fn waiting(
        &self,
        queue: QueueId,
        due: Due,
        most: i64,
    ) -> Result<Vec<Holding>, LogError> {
        let sql = if due == Due::Now { READY } else { DELAYED };
        let rows: Vec<Columns> = sqlx::query_as(sql)
            .bind(queue.0)
            .bind(self.clock.offset_ms())
            .bind(most)
            .bind(Place::SEGMENT)
            .bind(Place::REDELIVERY)
            .fetch_all(&self.pool)
            .await?;
        let mut waiting: Vec<Holding> = rows.into_iter().map(Holding::new).collect();
        if due == Due::Later {
            waiting.sort_by_key(|holding| holding.at);
        }
        Ok(waiting)
    }

    pub(in crate::log) async fn contents(
        &self,
        queue: QueueId,
        ids: &[i64],
    ) -> Result<Vec<ContentColumns>, LogError> {
        Ok(sqlx::query_as(CONTENTS).bind(queue.0).bind(ids).fetch_all(&self.pool).await?)
    }

    pub(in crate::log) async fn pace(&self, queue: QueueId) -> Result<Pace, LogError> {
        let oldest_ms: Option<i64> = sqlx::query_scalar(OLDEST)
            .bind(queue.0)
            .bind(self.clock.offset_ms())
            .fetch_one(&self.pool)
            .await?;
        Ok(Pace {
            oldest_ms,
            published: self.moved(PUBLISHED, queue).await?,
            ended: self.moved(ENDED, queue).await?,
        })
    }

    async fn moved(&self, sql: &'static str, queue: QueueId) -> Result<Moved, LogError> {
        let window = millis(RATE_WINDOW);
        let (messages, rows, span): (i64, i64, i64) = sqlx::query_as(sql)
            .bind(queue.0)
            .bind(self.clock.offset_ms())
            .bind(window)
            .bind(RATE_ROWS)
            .fetch_one(&self.pool)
            .await?;
        Ok(Moved { messages, over_ms: if rows < RATE_ROWS { window } else { span.max(1) } })
    }
}
