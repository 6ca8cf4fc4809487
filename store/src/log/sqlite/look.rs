//! Looking at messages, and at how a queue moves, on SQLite.

use super::{SqliteLog, from_json, to_json};
use crate::clock::millis;
use crate::log::look::{ContentColumns, Due, Holding, HoldingColumns, Moved, Pace, RATE_WINDOW};
use crate::log::page::Place;
use crate::log::types::{BLOCK, LogError, QueueId};

type Columns = HoldingColumns<String, String, String>;

/// The last rows of a table, of whichever queue, that a rate is measured by.
const RATE_ROWS: i64 = 1_000;

macro_rules! segment {
    () => {
        "first_id, size, next, held, null, taken, null, available_at, \
         case when expires_at is not null then json_array(expires_at) end, null"
    };
}

/// One of a paused upload is put away (`log::steer`): its times without that, and that it is held.
macro_rules! redelivery {
    () => {
        "message_id, 1, 0, available_at/4503599627370496, null, null, json_array(attempts), available_at%4503599627370496, \
         json_array(expires_at%4503599627370496), last_error"
    };
}

/// One statement, so that a message that moves from one place to another is seen in one.
const HOLDINGS: &str = concat!(
    "select ?4, ",
    segment!(),
    " from segment where queue_id=?1 and first_id<=?2 and first_id>?2-?3
union all
select ?5, first_id, n, 0, 0, settled, ids, attempts, expires_at, expiries, null
from lease where queue_id=?1 and first_id<=?2 and first_id>?2-?3
union all
select ?6, ",
    redelivery!(),
    " from redelivery where queue_id=?1 and message_id=?2
union all
select ?7, first_id, last_id-first_id+1, 0, kind, mask, ids, attempts, settled_at, null,
  case when kind=2 then items end
from outcome where queue_id=?1 and first_id<=?2 and first_id>?2-?3 and last_id>=?2"
);

macro_rules! waiting {
    ($due:literal, $by:literal) => {
        concat!(
            "select * from (select ?5, ",
            redelivery!(),
            " from redelivery where queue_id=?1 and available_at<4503599627370496 and available_at",
            $due,
            "?2 and (expires_at is null or expires_at>?2) order by available_at, message_id limit ?3)
union all
select * from (select ?4, ",
            segment!(),
            " from segment where queue_id=?1 and held=0 and available_at",
            $due,
            "?2 and (expires_at is null or expires_at>?2) order by ",
            $by,
            ", first_id limit ?3)"
        )
    };
}

const READY: &str = waiting!("<=", "turn");
const DELAYED: &str = waiting!(">", "available_at");

const CONTENTS: &str = "
select m.id, m.upload_id, m.sheet, m.\"row\", m.data, m.attributes,
  (select b.created_at from batch b where b.first_id<=m.id order by b.first_id desc limit 1)
from message m where m.id in (select value from json_each(?2))
  and exists (select 1 from queue where id=?1 and deleted_at is null)";

/// By ids, which are in the order of time but for blocks that are filled slowly.
const OLDEST: &str = "
select (select created_at from segment where queue_id=?1 order by first_id limit 1),
  (select b.created_at from batch b where b.first_id<=(select min(first_id) from lease where queue_id=?1) order by b.first_id desc limit 1),
  (select b.created_at from batch b where b.first_id<=(select min(message_id) from redelivery where queue_id=?1) order by b.first_id desc limit 1)";

/// Looked for from the end of the table: no index over times is kept for it.
const ENDED: &str = "
select coalesce(sum(n) filter (where queue_id=?1 and at>?2-?3),0), count(*), min(at)
from (select queue_id, n, settled_at as at from outcome order by rowid desc limit ?4)";

const PUBLISHED: &str = "
select coalesce(sum((select s.value from json_each(queues) q join json_each(sizes) s on s.key=q.key where q.value=?1)) filter (where at>?2-?3),0),
  count(*), min(at)
from (select queues, sizes, created_at as at from batch order by first_id desc limit ?4)";

fn holdings(rows: Vec<Columns>) -> Result<Vec<Holding>, LogError> {
    rows.into_iter()
        .map(|(what, first, size, next, kind, mask, ids, attempts, at, expiries, reason)| {
            let ids = from_json(ids.as_deref())?;
            let attempts = from_json(attempts.as_deref())?;
            let expiries = from_json(expiries.as_deref())?;
            Ok(Holding::new((
                what, first, size, next, kind, mask, ids, attempts, at, expiries, reason,
            )))
        })
        .collect()
}

impl SqliteLog {
    pub(in crate::log) async fn holdings(
        &self,
        queue: QueueId,
        id: i64,
    ) -> Result<Vec<Holding>, LogError> {
        let rows = sqlx::query_as(HOLDINGS)
            .bind(queue.0)
            .bind(id)
            .bind(BLOCK)
            .bind(Place::SEGMENT)
            .bind(Place::LEASE)
            .bind(Place::REDELIVERY)
            .bind(Place::OUTCOME)
            .fetch_all(&self.readers)
            .await?;
        holdings(rows)
    }

    pub(in crate::log) async fn waiting(
        &self,
        queue: QueueId,
        due: Due,
        most: i64,
    ) -> Result<Vec<Holding>, LogError> {
        let rows = sqlx::query_as(if due == Due::Now { READY } else { DELAYED })
            .bind(queue.0)
            .bind(self.clock.now_ms())
            .bind(most)
            .bind(Place::SEGMENT)
            .bind(Place::REDELIVERY)
            .fetch_all(&self.readers)
            .await?;
        let mut waiting = holdings(rows)?;
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
        Ok(sqlx::query_as(CONTENTS)
            .bind(queue.0)
            .bind(to_json(ids))
            .fetch_all(&self.readers)
            .await?)
    }

    pub(in crate::log) async fn pace(&self, queue: QueueId) -> Result<Pace, LogError> {
        let now = self.clock.now_ms();
        let oldest: (Option<i64>, Option<i64>, Option<i64>) =
            sqlx::query_as(OLDEST).bind(queue.0).fetch_one(&self.readers).await?;
        let oldest = [oldest.0, oldest.1, oldest.2].into_iter().flatten().min();
        Ok(Pace {
            oldest_ms: oldest.map(|at| now - at),
            published: self.moved(PUBLISHED, queue, now).await?,
            ended: self.moved(ENDED, queue, now).await?,
        })
    }

    async fn moved(&self, sql: &'static str, queue: QueueId, now: i64) -> Result<Moved, LogError> {
        let window = millis(RATE_WINDOW);
        let (messages, rows, first): (i64, i64, Option<i64>) = sqlx::query_as(sql)
            .bind(queue.0)
            .bind(now)
            .bind(window)
            .bind(RATE_ROWS)
            .fetch_one(&self.readers)
            .await?;
        // All that was looked at is of the last minute: there may be more of it.
        let over_ms = match first {
            Some(first) if rows >= RATE_ROWS => (now - first).clamp(1, window),
            _ => window,
        };
        Ok(Moved { messages, over_ms })
    }
}
