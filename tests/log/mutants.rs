//! The log with one mistake planted: the checks of the other tests must notice each of them, in the
//! run that the unbroken log passes.

use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use rowmill::store::log::{Log, PostgresStatements};
use sqlx::SqlStr;

use crate::concurrent::on_postgres;
use crate::mill::{Mill, Size};
use crate::operations::operations;
use crate::sequences::{Bench, runner, runtime, seed};
use crate::support::TestDatabase;
use crate::violation::Violation;

/// The log with a piece of one statement replaced; the piece must be there.
fn broken(
    log: Log,
    statement: fn(&mut PostgresStatements) -> &mut SqlStr,
    piece: &str,
    by: &str,
) -> Log {
    log.with_postgres_statements(|statements| {
        let statement = statement(statements);
        let before = statement.as_str().to_owned();
        assert!(before.contains(piece), "there is no `{piece}` to break in: {before}");
        let after = sqlx::AssertSqlSafe(before.replace(piece, by));
        *statement = sqlx::SqlSafeStr::into_sql_str(after);
    })
}

/// Enough for the rarest mistake, which one case in seventy shows.
const CASES: u64 = 1000;

/// Cases until a violation is found; `None` when `cases` found none.
fn first_violation(cases: u64, breakage: fn(Log) -> Log) -> Option<(u64, Violation)> {
    let runtime = runtime();
    let mut bench = runtime.block_on(async { Bench::new(TestDatabase::postgres().await).await });
    let mut runner = runner(cases, seed());
    (0..cases).find_map(|case| {
        let operations = operations().new_tree(&mut runner).unwrap().current();
        let done = runtime.block_on(bench.case(&operations, breakage));
        done.err().map(|violation| (case, violation))
    })
}

/// A test for each mistake that one sequence of operations can show.
macro_rules! caught_by_the_model {
    ($($name:ident: $statement:ident $([$at:literal])?, $piece:literal => $by:literal;)*) => {$(
        #[test]
        fn $name() {
            let found = first_violation(
                CASES,
                |log| broken(log, |statements| &mut statements.$statement$([$at])?, $piece, $by),
            );
            let (case, violation) = found.expect("the mistake went unnoticed");
            eprintln!("found by case {case}: {violation}");
        }
    )*};
}

caught_by_the_model! {
    a_whole_settle_that_forgets_what_was_settled: settle_whole, "l.settled is null and " => "";
    a_whole_settle_that_leaves_its_receipt: settle_whole,
        "delete from lease where id=any(array(select id from l))"
        => "select * from lease where id=any(array(select id from l))";
    a_share_larger_than_asked: receive, "/$2::int)::int as consumer" => "/1000)::int as consumer";
    a_slice_handed_out_twice: receive,
        "greatest(before,c*$2::int)-before as at" => "0 as at";
    a_sweep_that_leaves_the_old_receipt: write_plan,
        "delete from lease where id=any($1::uuid[])"
        => "update lease set expires_at=expires_at+1000000000 where id=any($1::uuid[])";
    a_sweep_that_forgets_what_was_settled: lock_expired, "l.settled," => "null::text as settled,";
    a_settle_that_forgets_what_was_settled: lock_leases, "l.settled," => "null::text as settled,";
    deliveries_placed_by_arrival: receive,
        "array_agg((m.id-l.first_id)::int)" => "array_agg((l.n-1-(m.id-l.first_id))::int)";
    retries_placed_by_arrival: receive,
        "array_agg((u.pos-1)::int)" => "array_agg((l.n-u.pos)::int)";
    a_commit_by_an_old_epoch: commit_batch, "and epoch=$5 and state='ingesting'" => "";
    a_commit_by_old_routes: commit_batch, "and version=$3" => "";
    a_redrive_that_leaves_the_dead_outcome: undo_deaths, "kind=2" => "kind=99";
    a_purge_that_forgets_retries: purge,
        "from r where r.upload_id is not null or" => "from r where false and r.upload_id is not null and";
    a_receive_that_hands_out_held_messages: receive, "not held and " => "";
    a_receive_before_its_time: receive, "available_at<=(select now from clock)\n    and (expires" =>
        "available_at<=(select now from clock)+60000\n    and (expires";
    a_receive_that_counts_no_attempts: receive, "least(attempts+1,32767)::smallint order" => "attempts order";
    last_attempts_with_neighbours: receive,
        ", case when attempts+1>=(select max_deliveries from q) then message_id end" => "";
    a_lease_over_two_blocks: receive, "message_id/1000" => "message_id/1000000000";
    an_extend_that_extends_nothing: extend, "+coalesce(" => "+0*coalesce(";
    an_expiry_of_what_was_handed_out: expire, "taken[next+1:size]" => "taken[1:size]";
    an_expiry_that_forgets_retries: expire,
        "redelivery\n  where expires_at<=" => "redelivery\n  where false and expires_at<=";
    a_receive_of_retries_that_expired: receive,
        "and (expires_at is null or expires_at>(select now from clock)) order by available_at"
        => "order by available_at";
    a_lease_that_forgets_when_retries_expire: receive,
        "case when count(expires_at)>0 then array_agg(expires_at order by message_id) end"
        => "null::int8[]";
    expiries_placed_by_another_order: receive,
        "array_agg(expires_at order by message_id)" => "array_agg(expires_at order by message_id desc)";
    a_death_that_takes_no_retention: lock_leases,
        "(select d.retention_ms from queue d where d.id=q.dead_queue_id)" => "null::int8";
    a_redrive_to_where_it_is_in_hands: places,
        "where l.queue_id=$2 and" => "where l.queue_id=$2 and false and";
    a_redrive_to_where_it_waits: places,
        "join redelivery r on" => "join redelivery r on false and";
    a_redrive_to_where_it_was_done: places, "join outcome o on" => "join outcome o on false and";
    a_redrive_that_counts_no_copies: count_copies, "copies=b.copies+x.n" => "copies=b.copies";
    a_removal_that_subtracts_no_copies: remove[1], "s.size-s.next, s.upload_id" =>
        "s.size-s.next, null::int8";
    a_removal_that_forgets_outcomes: remove[3], "where o.queue_id=$1 and" =>
        "where o.queue_id=$1 and o.n>1 and";
    a_settle_that_drops_the_ends_of_rows: settle_whole, "l.upload_id is not null or " => "";
    a_purge_that_drops_the_ends_of_rows: purge, "r.upload_id is not null or " => "";
    a_tidying_that_forgets_retries: ended_batches, "where d.upload_id is null" => "where false";
    a_tidying_that_forgets_what_is_in_hands: ended_batches,
        "where l.upload_id is null" => "where false";
    a_tidying_of_what_ended_just_now: ended_batches,
        "o.settled_at+0>(select now from clock)-$4::int8" => "o.settled_at+0>(select now from clock)-0*$4::int8";
}

#[test]
fn the_unbroken_log_passes() {
    let found = first_violation(60, |log| log);
    assert!(found.is_none(), "{found:?}");
}

/// Consumers that lock nothing are handed the same messages, which only shows among many.
#[test]
fn a_receive_without_its_lock() {
    let runtime = runtime();
    let began = Instant::now();
    let found = runtime.block_on(async {
        let database = TestDatabase::postgres().await;
        let store = database.open(18).await;
        let log = broken(
            store.log.clone(),
            |statements| &mut statements.receive,
            "for update skip locked",
            "",
        );
        let size = Size { publishing: Duration::from_secs(20), ..on_postgres() };
        let found = Mill::new(store, log, size).await?.run(seed()).await;
        drop(database);
        found
    });
    let violation = found.expect_err("20 seconds, and the mistake went unnoticed");
    eprintln!("found after {:?}: {violation}", began.elapsed());
}
