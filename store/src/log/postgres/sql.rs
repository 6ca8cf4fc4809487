//! Every statement of the log, for PostgreSQL.
//!
//! They are fields rather than constants so that a test can break one and show that the break is
//! noticed. Each takes the clock's offset as a parameter; `clock` is evaluated once a statement, so
//! that an index can be used on what it gives. The plans are forced to be the generic ones over
//! indexes (see `store::open`): a plan prepared on an empty table would scan a full one.

use sqlx::SqlStr;

/// The statements.
#[derive(Debug, Clone)]
pub struct Statements {
    /// Takes the topic's routes for shared use until the end of the transaction.
    pub share_routes: SqlStr,
    /// A few messages.
    pub insert_messages: SqlStr,
    /// COPY of messages, in the binary format.
    pub copy_messages: SqlStr,
    /// A batch, its segments and its findings, under the routes' version and the upload's epoch.
    pub commit_batch: SqlStr,
    /// Which of the two conditions refused a batch.
    pub why_refused: SqlStr,
    /// The first living entries of a queue.
    pub floor: SqlStr,
    /// Slices of a queue, leased.
    pub receive: SqlStr,
    /// When the next thing that waits comes due.
    pub next_due: SqlStr,
    /// Leases of which everything is acked at once.
    pub settle_whole: SqlStr,
    /// Locks leases by receipt, in order.
    pub lock_leases: SqlStr,
    /// Locks leases whose deadline passed.
    pub lock_expired: SqlStr,
    /// Locks every lease of a queue.
    pub lock_queue: SqlStr,
    /// Writes a plan.
    pub write_plan: SqlStr,
    /// New deadlines.
    pub extend: SqlStr,
    /// Cancels what waits in a queue.
    pub purge: SqlStr,
    /// Ends what waited too long.
    pub expire: SqlStr,
    /// What of a range of blocks a queue holds or has ended.
    pub places: SqlStr,
    /// Forgets the deaths of messages that begin a new life.
    pub undo_deaths: SqlStr,
    /// Counts messages to and from the copies of their batches.
    pub count_copies: SqlStr,
    /// Batches of plain messages that are over.
    pub ended_batches: SqlStr,
    /// What a queue holds of leases, segments, redeliveries and outcomes, removed.
    pub remove: [SqlStr; 4],
    /// Who has a message in hands.
    pub holder: SqlStr,
    /// What a queue holds.
    pub depth: SqlStr,
    /// Holds what of an upload waits for its first delivery.
    pub hold: SqlStr,
    /// Puts away what of an upload comes again.
    pub send_away: SqlStr,
    /// Lets go what was held by a pause.
    pub let_go: SqlStr,
    /// Brings back what was put away.
    pub bring_back: SqlStr,
    /// What became of an upload in a queue.
    pub counts: SqlStr,
}

impl Default for Statements {
    fn default() -> Self {
        let s = SqlStr::from_static;
        Self {
            share_routes: s(SHARE_ROUTES),
            insert_messages: s(INSERT_MESSAGES),
            copy_messages: s(COPY_MESSAGES),
            commit_batch: s(COMMIT_BATCH),
            why_refused: s(WHY_REFUSED),
            floor: s(FLOOR),
            receive: s(RECEIVE),
            next_due: s(NEXT_DUE),
            settle_whole: s(SETTLE_WHOLE),
            lock_leases: s(LOCK_LEASES),
            lock_expired: s(LOCK_EXPIRED),
            lock_queue: s(LOCK_QUEUE),
            write_plan: s(WRITE_PLAN),
            extend: s(EXTEND),
            purge: s(super::waiting::PURGE),
            expire: s(super::waiting::EXPIRE),
            places: s(super::page::PLACES),
            undo_deaths: s(super::redrive::UNDO_DEATHS),
            count_copies: s(super::redrive::COUNT_COPIES),
            ended_batches: s(super::remove::ENDED_BATCHES),
            remove: super::remove::REMOVE.map(s),
            holder: s(HOLDER),
            depth: s(DEPTH),
            hold: s(super::steer::HOLD),
            send_away: s(super::steer::SEND_AWAY),
            let_go: s(super::steer::LET_GO),
            bring_back: s(super::steer::BRING_BACK),
            counts: s(COUNTS),
        }
    }
}

/// The advisory lock's class; the second number is the topic. Changing routes takes it exclusively.
/// It must be a statement of its own: one that waited for a lock still sees what was there before.
const SHARE_ROUTES: &str = "select pg_advisory_xact_lock_shared(1920102772, $1)";

const INSERT_MESSAGES: &str = "
insert into message(id,upload_id,sheet,\"row\",data,attributes)
select $1+at-1, $2, $3, \"row\", data, attributes
from unnest($4::int[],$5::text[],$6::text[]) with ordinality x(\"row\",data,attributes,at)";

const COPY_MESSAGES: &str = "copy message(id, upload_id, sheet, \"row\", data, attributes) \
     from stdin with (format binary)";

/// `for share` on the upload waits for a take-over that is under way and then looks at the row as
/// that left it; a take-over in turn waits for this transaction to end. So a process that lost its
/// upload cannot commit, and what it committed is seen by its successor. What is published for a paused
/// upload is held, whether or not others of it were.
const COMMIT_BATCH: &str = "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$1::int8 as now),
fence as materialized (select paused_at is not null as paused from upload where id=$4 and epoch=$5 and state='ingesting' for share),
allowed as materialized (
  select now from clock
  where exists (select 1 from topic where id=$2 and version=$3)
    and ($4::int8 is null or exists (select 1 from fence))),
b as (insert into batch(first_id,n,topic_id,upload_id,sheet,first_row,last_row,unrouted,copies,queues,sizes,created_at,duplicates)
  select $6,$7,$2,$4,$8,$9,$10,$11,(select coalesce(sum(size),0) from unnest($14::int[]) size),$13,$14,now,$21 from allowed),
s as (insert into segment(queue_id,first_id,size,taken,upload_id,turn,held,available_at,expires_at,created_at)
  select x.queue,$6,x.size,x.taken::smallint[],$4,
    x.turn,$12 or coalesce((select paused from fence),false),now+x.delay,now+x.retention,now
  from allowed cross join unnest($13::int[],$14::int[],$15::text[],$16::int8[],$17::int8[],$20::int[]) x(queue,size,taken,delay,retention,turn)),
f as (insert into finding(upload_id,sheet,\"row\",ordinal,first_id,content)
  select $4,$8,x.at,x.ordinal,$6,x.content from allowed cross join unnest($18::int[],$19::text[]) with ordinality x(at,content,ordinal)
  on conflict do nothing)
select count(*) from allowed";

const WHY_REFUSED: &str = "select exists (select 1 from topic where id=$1 and version=$2)";

/// The messages of a lease in one row: texts end to end, with their lengths in bytes, cost half of a
/// row a message. The lengths hold because the database speaks UTF-8, as `store::open` makes sure.
macro_rules! gather {
    () => {
        "array_agg(m.sheet), array_agg(m.\"row\"), array_agg(octet_length(m.data)), string_agg(m.data,''),
    array_agg(octet_length(m.attributes)), string_agg(m.attributes,'')"
    };
}

/// Without a look at what is due: delayed and expired entries are living ones. What a transaction
/// that is under way brings back is due from when that began, so a moment is left for it.
const FLOOR: &str = "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now)
select s.turn, s.first_id, least(
  (select available_at from redelivery where queue_id=$1 and available_at>=$5::int8 order by available_at limit 1),
  now-200)
from clock left join lateral (
  select turn, first_id from segment where queue_id=$1 and not held and (turn,first_id)>=($3::int,$4::int8)
  order by turn, first_id limit 1) s on true";

/// Serves `$4` consumers at once, up to `$2` messages each: a statement costs much the same for one
/// as for eight. Due redeliveries first (at most half while fresh messages wait; the odd one by a
/// coin, so that a consumer of single messages sees both), leased by block, last attempts alone.
/// Then segments in turn, as many as the size of the first four suggests. What is taken is counted
/// through, redeliveries first, and consumer `k` gets the `k`-th `$2` of it: leases are cut there.
/// Redeliveries are deleted by a join: by `any` of an array, whose length the planner cannot know, it
/// would go through all of the queue's.
/// A row a lease; its messages come in any order, and the array of positions says which is which.
/// When they were published and when they expire is one number for a slice of a segment, and by
/// position for retries. Of a queue that is being removed nothing is handed out any more.
const RECEIVE: &str = concat!(
    "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$3::int8 as now),
q as materialized (select deadline_ms, max_deliveries from queue where id=$1 and deleted_at is null),
h as materialized (
  select size-next as remaining from segment
  where exists (select 1 from q) and queue_id=$1 and not held and (turn,first_id)>=($5::int,$6::int8) and available_at<=(select now from clock)
    and (expires_at is null or expires_at>(select now from clock))
  order by turn, first_id limit 4),
r as materialized (
  select message_id, upload_id, attempts, expires_at from redelivery
  where exists (select 1 from q) and queue_id=$1 and available_at>=$7::int8 and available_at<=(select now from clock)
    and (expires_at is null or expires_at>(select now from clock)) order by available_at
  limit (select case when exists (select 1 from h) then ($2::int*$4::int+(random()<0.5)::int)/2 else $2::int*$4::int end)
  for update skip locked),
rd as (delete from redelivery d using r where d.queue_id=$1 and d.message_id=r.message_id),
nr as materialized (
  select gen_random_uuid() as id, consumer, upload_id, min(message_id) as first_id, count(*)::int as n,
    array_agg(message_id order by message_id) as ids, array_agg(least(attempts+1,32767)::smallint order by message_id) as attempts,
    case when count(expires_at)>0 then array_agg(expires_at order by message_id) end as expiries
  from (select *, ((row_number() over (order by message_id)-1)/$2::int)::int as consumer from r) x
  group by consumer, message_id/1000, upload_id, case when attempts+1>=(select max_deliveries from q) then message_id end),
rl as (insert into lease(id,queue_id,upload_id,first_id,n,ids,attempts,expiries,unsettled,expires_at)
  select id, $1, upload_id, first_id, n, ids, attempts, expiries, n, (select now from clock)+(select deadline_ms from q) from nr),
s as materialized (
  select first_id, size, next, taken, upload_id, turn, created_at, expires_at from segment
  where exists (select 1 from q) and queue_id=$1 and not held and (turn,first_id)>=($5::int,$6::int8) and available_at<=(select now from clock)
    and (expires_at is null or expires_at>(select now from clock))
  order by turn, first_id
  limit (select case when (select count(*) from r)>=$2::int*$4::int then 0
      else coalesce(1+($2::int*$4::int-1)/greatest(1,avg(remaining))::int,1) end from h)
  for update skip locked),
t as materialized (
  select *, least(size-next,$2::int*$4::int-before)::int as take from (
    select s.*, ((select count(*) from r)
      +coalesce(sum(size-next) over (order by turn, first_id rows between unbounded preceding and 1 preceding),0))::int as before
    from s) x where before<$2::int*$4::int),
sd as (delete from segment g using t where g.queue_id=$1 and g.first_id=t.first_id and t.next+t.take=t.size),
su as (update segment g set next=t.next+t.take from t where g.queue_id=$1 and g.first_id=t.first_id and t.next+t.take<t.size),
ns as materialized (
  select gen_random_uuid() as id, consumer, upload_id, first_id+coalesce(taken[at+1],at) as first_id, n, created_at,
    case when expires_at is not null then array[expires_at] end as expiries,
    case when taken is not null then (select array_agg(first_id+o order by o) from unnest(taken[at+1:at+n]) o) end as ids
  from (select t.*, c as consumer, next+greatest(before,c*$2::int)-before as at,
      least(before+take,(c+1)*$2::int)-greatest(before,c*$2::int) as n
    from t cross join lateral generate_series(before/$2::int,(before+take-1)/$2::int) c) x),
sl as (insert into lease(id,queue_id,upload_id,first_id,n,ids,expiries,unsettled,expires_at)
  select id, $1, upload_id, first_id, n, ids, expiries, n, (select now from clock)+(select deadline_ms from q) from ns)
select l.id, l.upload_id, l.n, (select deadline_ms from q), l.consumer, l.first_id, null::int8[] as ids, null::smallint[],
  l.expiries, l.created_at, null::int8[], x.*
from ns l cross join lateral (select array_agg((m.id-l.first_id)::int), ", gather!(), "
  from message m where m.id>=l.first_id and m.id<l.first_id+l.n) x where l.ids is null
union all
select l.id, l.upload_id, l.n, (select deadline_ms from q), l.consumer, l.first_id, l.ids, l.attempts, l.expiries, l.created_at,
  case when l.created_at is null then (select array_agg((select b.created_at from batch b where b.first_id<=u.mid order by b.first_id desc limit 1) order by u.pos)
    from unnest(l.ids) with ordinality u(mid,pos)) end, x.*
from (select id, upload_id, n, consumer, first_id, ids, attempts, expiries, null::int8 as created_at from nr
  union all select id, upload_id, n, consumer, first_id, ids, null, expiries, created_at from ns where ids is not null) l
cross join lateral (select array_agg((u.pos-1)::int), ", gather!(), "
  from unnest(l.ids) with ordinality u(mid,pos) join message m on m.id=u.mid) x");

/// Without SKIP LOCKED: whether a receive that found nothing was right.
/// What is past its retention is left out as there: they come due for nobody.
const NEXT_DUE: &str = "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now)
select least(
  (select min(available_at) from segment where queue_id=$1 and not held
    and (expires_at is null or expires_at>(select now from clock))),
  (select available_at from redelivery where queue_id=$1 and available_at<4503599627370496
    and (expires_at is null or expires_at>(select now from clock)) order by available_at limit 1))
  - (select now from clock)
where exists (select 1 from queue where id=$1 and deleted_at is null)";

/// Leases are locked in the order of their ids, as by all who settle. Answers those it applied to;
/// the others are gone, or partly settled.
const SETTLE_WHOLE: &str = "
with l as materialized (
  select l.*, x.items from unnest($1::uuid[],$2::int[],$3::text[]) x(id,n,items) join lease l on l.id=x.id
  where l.settled is null and l.n=x.n order by l.id for update of l),
gone as (delete from lease where id=any(array(select id from l))),
o as (insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,ids,attempts,items,settled_at)
  select queue_id, first_id, coalesce(ids[n],first_id+n-1), upload_id, 1, n, ids, attempts, items,
    (extract(epoch from clock_timestamp())*1000)::int8+$4::int8 from l
  where l.upload_id is not null or (select record_outcomes from queue q where q.id=l.queue_id))
select id from l";

macro_rules! lease_columns {
    () => {
        "select l.id, l.queue_id, l.upload_id, l.first_id, l.n, l.ids, l.attempts, l.settled,
  q.max_deliveries, q.backoff_first_ms, q.backoff_factor, q.backoff_most_ms, q.dead_queue_id,
  l.expiries, l.upload_id is not null or q.record_outcomes,
  (select d.retention_ms from queue d where d.id=q.dead_queue_id),
  (extract(epoch from clock_timestamp())*1000)::int8+$1::int8 as now
from lease l join queue q on q.id=l.queue_id "
    };
}

const LOCK_LEASES: &str =
    concat!(lease_columns!(), "where l.id=any($2::uuid[]) order by l.id for update of l");

const LOCK_EXPIRED: &str = concat!(
    lease_columns!(),
    "where l.expires_at<(extract(epoch from clock_timestamp())*1000)::int8+$1::int8
limit $2 for update of l skip locked"
);

const LOCK_QUEUE: &str =
    concat!(lease_columns!(), "where l.queue_id=$2 order by l.id for update of l");

/// What comes again of a paused upload is put away (`log::steer`). Its row is locked, so that a pause or a
/// resume that is under way is waited for, and finds what is written here.
const WRITE_PLAN: &str = "
with gone as (delete from lease where id=any($1::uuid[])),
part as (update lease l set settled=x.settled, unsettled=x.unsettled
  from unnest($2::uuid[],$3::text[],$4::int[]) x(id,settled,unsettled) where l.id=x.id),
ended as (insert into outcome(queue_id,first_id,last_id,upload_id,kind,n,mask,ids,attempts,items,settled_at)
  select x.queue,x.first,x.last,x.upload,x.kind,x.n,x.mask,x.ids::int8[],x.attempts::smallint[],x.items,$5
  from unnest($6::int[],$7::int8[],$8::int8[],$9::int8[],$10::smallint[],$11::int[],$12::text[],$13::text[],$14::text[],$15::text[])
    x(queue,first,last,upload,kind,n,mask,ids,attempts,items)),
r as materialized (select * from unnest($16::int[],$17::int8[],$18::int8[],$19::smallint[],$20::int8[],$21::text[],$22::int8[],$23::bool[])
  x(queue,id,upload,attempts,available,error,expires,died)),
p as materialized (select id, paused_at from upload where id=any(array(select upload from r where not died)) order by id for share),
again as (insert into redelivery(queue_id,message_id,upload_id,attempts,available_at,last_error,expires_at)
  select queue,r.id,upload,attempts,available+away,error,expires+away
  from r cross join lateral (select case when exists (select 1 from p where p.id=r.upload and p.paused_at is not null) then 4503599627370496 else 0 end as away) a
  where not died)
insert into redelivery(queue_id,message_id,upload_id,attempts,available_at,last_error,expires_at)
select queue,id,upload,attempts,available,error,expires from r where died
on conflict do nothing";

/// Leases are locked in the order of their ids, as by those who settle.
const EXTEND: &str = "
with x as materialized (select id from lease where id=any($2::uuid[]) order by id for update)
update lease l set expires_at=(extract(epoch from clock_timestamp())*1000)::int8+$1::int8+coalesce($3::int8,q.deadline_ms)
from x, queue q where l.id=x.id and q.id=l.queue_id returning l.id, coalesce($3::int8,q.deadline_ms)";

const HOLDER: &str = "
select id, pos from (
  select id, settled, (case when ids is null then $2-first_id else array_position(ids,$2)-1 end)::int as pos from lease
  where queue_id=$1 and exists (select 1 from queue where id=$1 and deleted_at is null)
    and first_id<=$2 and case when ids is null then $2<first_id+n else $2=any(ids) end) l
where settled is null or substr(settled,pos+1,1)='0'";

const DEPTH: &str = "
with clock as materialized (select (extract(epoch from clock_timestamp())*1000)::int8+$2::int8 as now)
select
  coalesce(sum(n) filter (where not held and available_at<=(select now from clock)),0)::int8,
  coalesce(sum(n) filter (where not held and available_at>(select now from clock)),0)::int8,
  coalesce(sum(n) filter (where held),0)::int8,
  (select coalesce(sum(unsettled),0)::int8 from lease where queue_id=$1)
from (select size-next as n, held, available_at from segment where queue_id=$1
  union all select 1, available_at>=4503599627370496, available_at from redelivery where queue_id=$1) w";

/// By the range of the upload's ids, along the primary key; no index serves this alone. Numbers of
/// carried rows have gaps, and end with the upload's (`domain::number`).
const COUNTS: &str = "
select o.kind, sum(o.n)::int8 from (select min(first_id) as first, greatest(max(first_id+n), case when max(first_id)>=576460752303423488 then (max(first_id)/2147483648+1)*2147483648 end) as past from batch where upload_id=$1) b
join outcome o on o.queue_id=$2 and o.first_id>=b.first and o.first_id<b.past
where o.upload_id=$1 group by o.kind";
