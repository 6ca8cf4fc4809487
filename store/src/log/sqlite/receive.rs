//! Receiving on SQLite: due redeliveries, then slices of segments, into leases.

use sqlx::{Row, SqliteTransaction};
use uuid::Uuid;

use super::{SqliteLog, from_json, to_json};
use crate::clock::duration;
use crate::log::gather::in_order;
use crate::log::types::{
    BLOCK, Emptiness, Expiries, Handed, HandedLease, LogError, QueueId, Received, UploadId,
};
use rowmill_domain::RowNumber;

/// What one receive has to know of its queue.
struct Terms {
    queue: QueueId,
    deadline_ms: i64,
    max_deliveries: i32,
    now: i64,
}

/// A lease about to be written.
struct NewLease {
    id: Uuid,
    upload: Option<i64>,
    first_id: i64,
    n: usize,
    ids: Option<Vec<i64>>,
    attempts: Option<Vec<i16>>,
    expiries: Expiries,
    /// When it was published, if it was all at once.
    created_at: Option<i64>,
}

/// A message that comes again: its number, upload, attempts, and when it expires.
type Due = (i64, Option<i64>, i16, Option<i64>);

/// A segment: first id, size, next, taken, upload, when it was published, and when it expires.
type Fresh = (i64, i32, i32, Option<String>, Option<i64>, i64, Option<i64>);

impl SqliteLog {
    pub(in crate::log) async fn receive(
        &self,
        queue: QueueId,
        max: i32,
        consumers: i32,
    ) -> Result<Received, LogError> {
        let mut tx = self.write().await?;
        let terms: Option<(i64, i32)> = sqlx::query_as(
            "select deadline_ms, max_deliveries from queue where id=? and deleted_at is null",
        )
        .bind(queue.0)
        .fetch_optional(&mut *tx)
        .await?;
        // Of a queue that is being removed nothing is handed out any more.
        let Some((deadline_ms, max_deliveries)) = terms else {
            return Ok(Received::Empty(Emptiness::Until(None)));
        };
        let terms = Terms { queue, deadline_ms, max_deliveries, now: self.clock.now_ms() };
        let mut handed = vec![];
        for consumer in 0..usize::try_from(consumers).unwrap_or(1) {
            let leases = take(&mut tx, &terms, usize::try_from(max).unwrap_or(1)).await?;
            if leases.is_empty() && consumer == 0 {
                let due = next_due(&mut tx, &terms).await?;
                return Ok(Received::Empty(Emptiness::Until(due.map(duration))));
            }
            if leases.is_empty() {
                break;
            }
            for lease in &leases {
                insert(&mut tx, &terms, lease).await?;
                handed.push(read(&mut tx, &terms, lease, consumer).await?);
            }
        }
        tx.commit().await?;
        Ok(Received::Leases(handed))
    }
}

/// Decides what is leased, and takes it from where it waited.
async fn take(
    tx: &mut SqliteTransaction<'_>,
    terms: &Terms,
    max: usize,
) -> Result<Vec<NewLease>, LogError> {
    let fresh_waits: bool = sqlx::query_scalar(
        "select exists (select 1 from segment where queue_id=?1 and held=0 and available_at<=?2 \
         and (expires_at is null or expires_at>?2))",
    )
    .bind(terms.queue.0)
    .bind(terms.now)
    .fetch_one(&mut **tx)
    .await?;
    // Retries get at most half while fresh messages wait; the odd one by a coin, so that a consumer
    // of single messages sees both.
    let retries = if fresh_waits { (max + usize::from(fastrand::bool())) / 2 } else { max };
    let due: Vec<Due> = sqlx::query_as(
        "select message_id, upload_id, attempts, expires_at from redelivery \
         where queue_id=?1 and available_at<=?2 and (expires_at is null or expires_at>?2) \
         order by available_at limit ?3",
    )
    .bind(terms.queue.0)
    .bind(terms.now)
    .bind(i64::try_from(retries).unwrap_or(i64::MAX))
    .fetch_all(&mut **tx)
    .await?;
    if !due.is_empty() {
        let ids: Vec<i64> = due.iter().map(|(id, ..)| *id).collect();
        sqlx::query(
            "delete from redelivery where queue_id=? and message_id in (select value from json_each(?))",
        )
        .bind(terms.queue.0)
        .bind(to_json(&ids))
        .execute(&mut **tx)
        .await?;
    }
    let mut budget = max - due.len();
    let mut leases = group(due, terms.max_deliveries);
    while budget > 0 {
        let segment: Option<Fresh> = sqlx::query_as(
            "select first_id, size, next, taken, upload_id, created_at, expires_at from segment \
             where queue_id=?1 and held=0 and available_at<=?2 and (expires_at is null or expires_at>?2) \
             order by turn, first_id limit 1",
        )
        .bind(terms.queue.0)
        .bind(terms.now)
        .fetch_optional(&mut **tx)
        .await?;
        let Some(segment) = segment else { break };
        let lease = slice(tx, terms.queue, segment, budget).await?;
        budget -= lease.n;
        leases.push(lease);
    }
    Ok(leases)
}

/// Redeliveries as leases: a lease a block and upload; last attempts alone, so that a poisonous row
/// does not condemn its neighbours.
fn group(mut due: Vec<Due>, max_deliveries: i32) -> Vec<NewLease> {
    due.sort_unstable_by_key(|(id, upload, ..)| (*id / BLOCK, *upload, *id));
    // Where deliveries are not limited, they are no longer counted when the column is full.
    let next = |attempts: i16| attempts.saturating_add(1);
    let is_last = |attempts: i16| i32::from(attempts) + 1 >= max_deliveries;
    let same = |a: &Due, b: &Due| {
        a.0 / BLOCK == b.0 / BLOCK && a.1 == b.1 && !is_last(a.2) && !is_last(b.2)
    };
    due.chunk_by(same)
        .map(|chunk| NewLease {
            id: Uuid::new_v4(),
            upload: chunk[0].1,
            first_id: chunk[0].0,
            n: chunk.len(),
            ids: Some(chunk.iter().map(|(id, ..)| *id).collect()),
            attempts: Some(chunk.iter().map(|(_, _, attempts, _)| next(*attempts)).collect()),
            expiries: Expiries::of(chunk.iter().map(|(.., expires_at)| *expires_at).collect()),
            created_at: None,
        })
        .collect()
}

/// The next slice of a segment, which is shortened by it or deleted.
async fn slice(
    tx: &mut SqliteTransaction<'_>,
    queue: QueueId,
    (base, size, next, taken, upload, created_at, expires_at): Fresh,
    budget: usize,
) -> Result<NewLease, LogError> {
    let left = usize::try_from(size - next).unwrap_or(0);
    let n = left.min(budget);
    let first = usize::try_from(next).unwrap_or(0);
    let ids: Option<Vec<i64>> = from_json::<Vec<i64>>(taken.as_deref())?
        .map(|offsets| offsets.iter().skip(first).take(n).map(|offset| base + offset).collect());
    if n == left {
        sqlx::query("delete from segment where queue_id=? and first_id=?")
            .bind(queue.0)
            .bind(base)
            .execute(&mut **tx)
            .await?;
    } else {
        sqlx::query("update segment set next=next+? where queue_id=? and first_id=?")
            .bind(i64::try_from(n).unwrap_or(0))
            .bind(queue.0)
            .bind(base)
            .execute(&mut **tx)
            .await?;
    }
    let first_id =
        ids.as_ref().and_then(|ids| ids.first().copied()).unwrap_or(base + i64::from(next));
    Ok(NewLease {
        id: Uuid::new_v4(),
        upload,
        first_id,
        n,
        ids,
        attempts: None,
        expiries: Expiries(expires_at.map(|at| vec![Some(at)])),
        created_at: Some(created_at),
    })
}

async fn insert(
    tx: &mut SqliteTransaction<'_>,
    terms: &Terms,
    lease: &NewLease,
) -> Result<(), LogError> {
    let n = i64::try_from(lease.n).unwrap_or(i64::MAX);
    sqlx::query(
        "insert into lease(id,queue_id,upload_id,first_id,n,ids,attempts,expiries,unsettled,expires_at) \
         values (?,?,?,?,?,?,?,?,?,?)",
    )
    .bind(lease.id.to_string())
    .bind(terms.queue.0)
    .bind(lease.upload)
    .bind(lease.first_id)
    .bind(n)
    .bind(lease.ids.as_deref().map(to_json))
    .bind(lease.attempts.as_deref().map(to_json))
    .bind(lease.expiries.0.as_deref().map(to_json))
    .bind(n)
    .bind(terms.now + terms.deadline_ms)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Reads the messages of a lease, each with its position in it.
async fn read(
    tx: &mut SqliteTransaction<'_>,
    terms: &Terms,
    lease: &NewLease,
    consumer: usize,
) -> Result<HandedLease, LogError> {
    let rows = match &lease.ids {
        None => {
            sqlx::query(
                "select id, sheet, \"row\", data, attributes, id-?1, ?3 from message where id>=?1 and id<?1+?2",
            )
            .bind(lease.first_id)
            .bind(i64::try_from(lease.n).unwrap_or(0))
            .bind(lease.created_at)
            .fetch_all(&mut **tx)
            .await?
        }
        Some(ids) => {
            sqlx::query(
                "select m.id, m.sheet, m.\"row\", m.data, m.attributes, e.key, coalesce(?2, \
                   (select b.created_at from batch b where b.first_id<=m.id order by b.first_id desc limit 1)) \
                 from json_each(?1) e join message m on m.id=e.value",
            )
            .bind(to_json(ids))
            .bind(lease.created_at)
            .fetch_all(&mut **tx)
            .await?
        }
    };
    let mut messages = Vec::with_capacity(rows.len());
    for row in rows {
        let position: i64 = row.try_get(5)?;
        let attempt = lease
            .attempts
            .as_ref()
            .and_then(|all| all.get(usize::try_from(position).ok()?).copied())
            .unwrap_or(1);
        let sheet: Option<u16> = row.try_get(1)?;
        let number: Option<u32> = row.try_get(2)?;
        messages.push(Handed {
            position: u16::try_from(position).unwrap_or(u16::MAX),
            id: row.try_get(0)?,
            attempt: attempt.cast_unsigned(),
            place: sheet.zip(number.map(RowNumber)),
            data: row.try_get::<String, _>(3)?.into(),
            attributes: row.try_get::<Option<String>, _>(4)?.map(Into::into),
            created_ms: row.try_get::<Option<i64>, _>(6)?.unwrap_or(0),
            expires_ms: lease.expiries.at(usize::try_from(position).unwrap_or(usize::MAX)),
        });
    }
    Ok(HandedLease {
        receipt: lease.id,
        upload: lease.upload.map(UploadId),
        deadline: duration(terms.deadline_ms),
        consumer,
        messages: in_order(messages, lease.n)?,
    })
}

/// Milliseconds until the next thing that waits comes due.
async fn next_due(tx: &mut SqliteTransaction<'_>, terms: &Terms) -> Result<Option<i64>, LogError> {
    let (segment, redelivery): (Option<i64>, Option<i64>) = sqlx::query_as(
        "select (select min(available_at) from segment where queue_id=?1 and held=0 \
             and (expires_at is null or expires_at>?2)), \
           (select available_at from redelivery where queue_id=?1 and available_at<4503599627370496 \
             and (expires_at is null or expires_at>?2) order by available_at limit 1)",
    )
    .bind(terms.queue.0)
    .bind(terms.now)
    .fetch_one(&mut **tx)
    .await?;
    Ok([segment, redelivery].into_iter().flatten().min().map(|at| at - terms.now))
}
