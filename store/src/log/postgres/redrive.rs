//! A redrive's steps on PostgreSQL: see [`crate::log::redrive`].

use super::PostgresLog;
use super::publish::array_text;
use super::steer::STEERING_SHARED;
use crate::log::page::Place;
use crate::log::redrive::{Family, Kin, Moves, Obstacles, Stretch, Waits, Walk, blocks};
use crate::log::types::{LogError, QueueId};

/// First id, size, next, taken, upload.
type Segment = (i64, i64, i64, Option<Vec<i64>>, Option<i64>);

/// The advisory lock's class; the second number is the queue that messages come into. Two redrives
/// into one queue would not see each other's messages.
const INTO_QUEUE: &str = "select pg_advisory_xact_lock(1920102773, $1)";

pub(super) const UNDO_DEATHS: &str = "
delete from outcome where kind=2 and queue_id=any($1::int[]) and first_id=any($2::int8[])
returning first_id, queue_id";

/// A message counts for the batch it is of. Batches are locked in order, as two who count may meet.
pub(super) const COUNT_COPIES: &str = "
with x as materialized (
  select (select b.first_id from batch b where b.first_id<=u.id order by b.first_id desc limit 1) as first_id, sum(u.n)::int as n
  from unnest($1::int8[],$2::int[]) u(id,n) group by 1),
l as materialized (select b.first_id from batch b where b.first_id=any(array(select first_id from x)) order by b.first_id for update)
update batch b set copies=b.copies+x.n from x where b.first_id=x.first_id and exists (select 1 from l)";

const LOCK_RETRIED: &str = "
select message_id, upload_id, last_error from redelivery
where queue_id=$1 and message_id>$2 and message_id<=$3 and ($6::int8 is null or upload_id=$6) and available_at<4503599627370496
  and (expires_at is null or expires_at>(extract(epoch from clock_timestamp())*1000)::int8+$5::int8)
order by message_id limit $4 for update skip locked";

/// As many segments as have `$4` messages, and one at least.
const LOCK_FRESH: &str = "
select first_id, size::int8, next::int8, taken::int8[], upload_id from segment
where queue_id=$1 and not held and first_id>$2 and first_id<=$3 and ($6::int8 is null or upload_id=$6)
  and (expires_at is null or expires_at>(extract(epoch from clock_timestamp())*1000)::int8+$5::int8)
order by first_id
limit (select greatest(1,count(*)) from (
    select sum(left_of) over (order by first_id) as upto from (
      select first_id, size-next as left_of from segment
      where queue_id=$1 and not held and first_id>$2 and first_id<=$3 and ($6::int8 is null or upload_id=$6)
      order by first_id limit $4) s) t where upto<=$4)
for update skip locked";

impl PostgresLog {
    pub(in crate::log) async fn kin(&self) -> Result<Vec<Kin>, LogError> {
        let sql = "select id, dead_queue_id, keeps_dead from queue";
        Ok(sqlx::query_as(sql).fetch_all(&self.pool).await?)
    }

    /// Answers how many messages went, and where the walk goes on.
    pub(in crate::log) async fn redrive_step(
        &self,
        family: &Family,
        stretch: Stretch,
    ) -> Result<(u64, Option<i64>), LogError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query(STEERING_SHARED).execute(&mut *tx).await?;
        sqlx::query(INTO_QUEUE).bind(family.to.0).execute(&mut *tx).await?;
        let moved = self.move_on(&mut tx, family, stretch).await?;
        // Also when nothing was done: one that is only dropped holds its locks for a while longer.
        tx.commit().await?;
        Ok(moved)
    }

    async fn move_on(
        &self,
        tx: &mut sqlx::PgTransaction<'_>,
        family: &Family,
        stretch: Stretch,
    ) -> Result<(u64, Option<i64>), LogError> {
        let terms: Option<(i64, Option<i64>)> = sqlx::query_as(
            "select delay_ms, retention_ms from queue where id=$1 and deleted_at is null",
        )
        .bind(family.to.0)
        .fetch_optional(&mut **tx)
        .await?;
        let Some((delay, retention)) = terms else { return Ok((0, None)) };
        let (waiting, reached) = self.lock_waiting(tx, family.from, stretch).await?;
        if reached.is_none() {
            return Ok((0, None));
        }
        let mut obstacles = Obstacles::default();
        let blocks = blocks(&waiting);
        for queue in family.watched() {
            let places = self.places(&mut **tx, queue, &blocks).await?;
            obstacles.add(family, queue, places)?;
        }
        let moves = Moves::decide(waiting, &obstacles);
        self.write_moves(tx, family, &moves, delay, retention).await?;
        Ok((moves.messages.len() as u64, reached))
    }

    async fn lock_waiting(
        &self,
        tx: &mut sqlx::PgTransaction<'_>,
        from: QueueId,
        stretch: Stretch,
    ) -> Result<(Vec<Waits>, Option<i64>), LogError> {
        macro_rules! lock {
            ($sql:expr) => {
                sqlx::query_as($sql)
                    .bind(from.0)
                    .bind(stretch.after)
                    .bind(stretch.upto)
                    .bind(stretch.most)
                    .bind(self.clock.offset_ms())
                    .bind(stretch.upload.map(|upload| upload.0))
                    .fetch_all(&mut **tx)
                    .await?
            };
        }
        let mut waiting = vec![];
        if stretch.walk == Walk::Retried {
            let rows: Vec<(i64, Option<i64>, Option<String>)> = lock!(LOCK_RETRIED);
            let reached = rows.last().map(|(id, ..)| *id);
            for (id, upload, last_error) in rows {
                waiting.push(Waits { id, upload, last_error, segment: None });
            }
            return Ok((waiting, reached));
        }
        let rows: Vec<Segment> = lock!(LOCK_FRESH);
        let reached = rows.last().map(|(first, ..)| *first);
        for (first, size, next, taken, upload) in rows {
            let ids = Place((Place::SEGMENT, first, size, next, 0, None, taken)).ids();
            let waits = |id| Waits { id, upload, last_error: None, segment: Some(first) };
            waiting.extend(ids.into_iter().map(waits));
        }
        Ok((waiting, reached))
    }

    async fn write_moves(
        &self,
        tx: &mut sqlx::PgTransaction<'_>,
        family: &Family,
        moves: &Moves,
        delay: i64,
        retention: Option<i64>,
    ) -> Result<(), LogError> {
        if moves.messages.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = moves.messages.iter().map(|waits| waits.id).collect();
        let uploads: Vec<Option<i64>> = moves.messages.iter().map(|waits| waits.upload).collect();
        let errors: Vec<Option<&str>> =
            moves.messages.iter().map(|waits| waits.last_error.as_deref()).collect();
        sqlx::query("delete from redelivery where queue_id=$1 and message_id=any($2)")
            .bind(family.from.0)
            .bind(&ids)
            .execute(&mut **tx)
            .await?;
        sqlx::query("delete from segment where queue_id=$1 and first_id=any($2)")
            .bind(family.from.0)
            .bind(&moves.gone)
            .execute(&mut **tx)
            .await?;
        let (firsts, left): (Vec<i64>, Vec<&Vec<i64>>) =
            moves.shortened.iter().map(|(first, left)| (*first, left)).unzip();
        sqlx::query(
            "update segment g set taken=x.taken::smallint[], size=cardinality(x.taken::smallint[]), next=0 \
             from unnest($2::int8[],$3::text[]) x(first,taken) where g.queue_id=$1 and g.first_id=x.first",
        )
        .bind(family.from.0)
        .bind(firsts)
        .bind(left.into_iter().map(|left| array_text(left)).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
        let undone: Vec<(i64, i32)> = sqlx::query_as(self.sql.undo_deaths.clone())
            .bind(&family.died_in)
            .bind(&ids)
            .fetch_all(&mut **tx)
            .await?;
        sqlx::query(
            "insert into redelivery(queue_id,message_id,upload_id,attempts,available_at,last_error,expires_at) \
             select $1, x.id, x.upload, 0, c.now+$5+a.away, x.error, c.now+$6+a.away \
             from unnest($2::int8[],$3::int8[],$4::text[]) x(id,upload,error) \
             cross join lateral (select case when exists (select 1 from upload u join queue q on q.id=$1 and not q.keeps_dead \
               where u.id=x.upload and u.paused_at is not null) then 4503599627370496 else 0 end as away) a \
             cross join (select (extract(epoch from clock_timestamp())*1000)::int8+$7::int8 as now) c \
             on conflict do nothing",
        )
        .bind(family.to.0)
        .bind(&ids)
        .bind(uploads)
        .bind(errors)
        .bind(delay)
        .bind(retention)
        .bind(self.clock.offset_ms())
        .execute(&mut **tx)
        .await?;
        let (ids, more) = moves.copies(family, &undone);
        self.count_copies(tx, &ids, &more).await
    }

    /// Counts so many copies of messages more, or fewer.
    pub(super) async fn count_copies(
        &self,
        tx: &mut sqlx::PgTransaction<'_>,
        ids: &[i64],
        more: &[i32],
    ) -> Result<(), LogError> {
        if !ids.is_empty() {
            sqlx::query(self.sql.count_copies.clone())
                .bind(ids)
                .bind(more)
                .execute(&mut **tx)
                .await?;
        }
        Ok(())
    }
}
