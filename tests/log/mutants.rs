//! The log with one mistake planted: the checks of the other tests must notice each of them, in the
//! run that the unbroken log passes.

use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use rowmill::store::log::{Log, PostgresStatements};
use sqlx::SqlStr;

use crate::concurrent::on_postgres;
use crate::mill::{Mill, Size};
use crate::operations::{Operation, operations, steered_operations};
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

/// Enough for the rarest mistake, which one case in a few hundred shows.
const CASES: u64 = 3000;

/// Runs the cases that are made from these seeds until one finds a violation.
fn first_violation(
    seeds: impl IntoIterator<Item = u64>,
    breakage: fn(Log) -> Log,
) -> Option<(u64, Violation)> {
    first_violation_of(operations(), seeds, breakage)
}

fn first_violation_of(
    all: impl Strategy<Value = Vec<Operation>>,
    seeds: impl IntoIterator<Item = u64>,
    breakage: fn(Log) -> Log,
) -> Option<(u64, Violation)> {
    let runtime = runtime();
    let mut bench = runtime.block_on(async { Bench::new(TestDatabase::postgres().await).await });
    seeds.into_iter().find_map(|seed| {
        let operations = all.new_tree(&mut runner(1, seed)).unwrap().current();
        let done = runtime.block_on(bench.case(&operations, breakage));
        done.err().map(|violation| (seed, violation))
    })
}

/// The same for mistakes that only a pause shows.
macro_rules! caught_by_a_pause {
    ($($name:ident: $statement:ident, $piece:literal => $by:literal, $seed:literal;)*) => {$(
        #[test]
        fn $name() {
            let others = seed();
            let seeds = std::iter::once($seed).chain((0..CASES).map(|n| others.wrapping_add(n)));
            let found = first_violation_of(
                steered_operations(),
                seeds,
                |log| broken(log, |statements| &mut statements.$statement, $piece, $by),
            );
            let (seed, violation) = found.expect("the mistake went unnoticed");
            eprintln!("found by the case of seed {seed}: {violation}");
        }
    )*};
}

caught_by_a_pause! {
    a_nack_that_forgets_a_pause: write_plan, "and p.paused_at is not null" => "and p.paused_at is null",
        1;
    a_batch_that_forgets_a_pause: commit_batch, "coalesce((select paused from fence),false)" => "false",
        1;
    a_pause_that_forgets_retries: send_away, "message_id>=(select low" => "message_id<(select low", 1;
    a_pause_that_forgets_what_is_fresh: hold, "first_id>=(select low" => "first_id<(select low", 1;
    a_resume_that_forgets_retries: bring_back, "message_id>=(select low" => "message_id<(select low", 1;
    a_resume_in_no_time: let_go, "expires_at=s.expires_at+l.passed" => "expires_at=s.expires_at", 1;
}

/// A test for each mistake that one sequence of operations can show: the statement, what is replaced
/// in it, and the seed of a case that is known to show it. A seed means another case once the
/// operations are made up differently; then others are tried, and the one that does is printed, to be
/// written here.
macro_rules! caught_by_the_model {
    ($($name:ident: $statement:ident $([$at:literal])?, $piece:literal => $by:literal, $seed:literal;)*) => {$(
        #[test]
        fn $name() {
            let others = seed();
            let seeds = std::iter::once($seed).chain((0..CASES).map(|n| others.wrapping_add(n)));
            let found = first_violation(
                seeds,
                |log| broken(log, |statements| &mut statements.$statement$([$at])?, $piece, $by),
            );
            let (seed, violation) = found.expect("the mistake went unnoticed");
            eprintln!("found by the case of seed {seed}: {violation}");
        }
    )*

    /// What shows the mistakes shows nothing where there is none.
    #[test]
    fn the_unbroken_log_passes() {
        let found = first_violation([$($seed),*], |log| log);
        assert!(found.is_none(), "{found:?}");
    }};
}

caught_by_the_model! {
    a_whole_settle_that_forgets_what_was_settled: settle_whole, "l.settled is null and " => "",
        29464527721593492;
    a_whole_settle_that_leaves_its_receipt: settle_whole,
        "delete from lease where id=any(array(select id from l))"
        => "select * from lease where id=any(array(select id from l))", 10007987542314417587;
    a_share_larger_than_asked: receive, "/$2::int)::int as consumer" => "/1000)::int as consumer",
        6929619256526362603;
    a_slice_handed_out_twice: receive,
        "greatest(before,c*$2::int)-before as at" => "0 as at", 7938365320326094220;
    a_sweep_that_leaves_the_old_receipt: write_plan,
        "delete from lease where id=any($1::uuid[])"
        => "update lease set expires_at=expires_at+1000000000 where id=any($1::uuid[])",
        16329348883268126568;
    a_sweep_that_forgets_what_was_settled: lock_expired, "l.settled," => "null::text as settled,",
        18416942976140897094;
    a_settle_that_forgets_what_was_settled: lock_leases, "l.settled," => "null::text as settled,",
        1666146777175722611;
    deliveries_placed_by_arrival: receive,
        "array_agg((m.id-l.first_id)::int)" => "array_agg((l.n-1-(m.id-l.first_id))::int)",
        6300793577960789501;
    retries_placed_by_arrival: receive,
        "array_agg((u.pos-1)::int)" => "array_agg((l.n-u.pos)::int)", 17960886583890051952;
    a_commit_by_an_old_epoch: commit_batch, "and epoch=$5 and state='ingesting'" => "",
        3828079205363035672;
    a_commit_by_old_routes: commit_batch, "and version=$3" => "", 11752063622110451638;
    a_redrive_that_leaves_the_dead_outcome: undo_deaths, "kind=2" => "kind=99", 3879668248409084231;
    a_purge_that_forgets_retries: purge,
        "from r where r.upload_id is not null or" => "from r where false and r.upload_id is not null and",
        14223679557013042304;
    a_receive_that_hands_out_held_messages: receive, "not held and " => "", 1437788961735401080;
    a_receive_before_its_time: receive, "available_at<=(select now from clock)\n    and (expires" =>
        "available_at<=(select now from clock)+60000\n    and (expires", 9947895533900299084;
    a_receive_that_counts_no_attempts: receive, "least(attempts+1,32767)::smallint order" => "attempts order",
        16615266245235120519;
    last_attempts_with_neighbours: receive,
        ", case when attempts+1>=(select max_deliveries from q) then message_id end" => "",
        3049862469518040256;
    a_lease_over_two_blocks: receive, "message_id/1000" => "message_id/1000000000",
        8729743130461023487;
    an_extend_that_extends_nothing: extend, "+coalesce(" => "+0*coalesce(", 6797554276661033792;
    an_expiry_of_what_was_handed_out: expire, "taken[next+1:size]" => "taken[1:size]",
        1863667924272195028;
    an_expiry_that_forgets_retries: expire,
        "redelivery\n  where expires_at<=" => "redelivery\n  where false and expires_at<=",
        4710764247298219;
    a_receive_of_retries_that_expired: receive,
        "and (expires_at is null or expires_at>(select now from clock)) order by available_at"
        => "order by available_at", 584364462792970204;
    a_lease_that_forgets_when_retries_expire: receive,
        "case when count(expires_at)>0 then array_agg(expires_at order by message_id) end"
        => "null::int8[]", 6510308439150727475;
    expiries_placed_by_another_order: receive,
        "array_agg(expires_at order by message_id)" => "array_agg(expires_at order by message_id desc)",
        1961187388087841007;
    a_death_that_takes_no_retention: lock_leases,
        "(select d.retention_ms from queue d where d.id=q.dead_queue_id)" => "null::int8",
        18257962843150698021;
    a_redrive_to_where_it_is_in_hands: places,
        "where l.queue_id=$2 and" => "where l.queue_id=$2 and false and", 2399696388154363792;
    a_redrive_to_where_it_waits: places,
        "join redelivery r on" => "join redelivery r on false and", 12401826809467724810;
    a_redrive_to_where_it_was_done: places, "join outcome o on" => "join outcome o on false and",
        9526962433200734281;
    a_redrive_that_counts_no_copies: count_copies, "copies=b.copies+x.n" => "copies=b.copies",
        9594801663703210593;
    a_removal_that_subtracts_no_copies: remove[1], "s.size-s.next, s.upload_id" =>
        "s.size-s.next, null::int8", 12534301012116487785;
    a_removal_that_forgets_outcomes: remove[3], "where o.queue_id=$1 and" =>
        "where o.queue_id=$1 and o.n>1 and", 17041990913047582357;
    a_settle_that_drops_the_ends_of_rows: settle_whole, "l.upload_id is not null or " => "",
        6270825644674700783;
    a_purge_that_drops_the_ends_of_rows: purge, "r.upload_id is not null or " => "",
        9472422732049313203;
    a_tidying_that_forgets_retries: ended_batches, "where d.upload_id is null" => "where false",
        16570434812795294305;
    a_tidying_that_forgets_what_is_in_hands: ended_batches,
        "where l.upload_id is null" => "where false", 9882075254106127774;
    a_tidying_of_what_ended_just_now: ended_batches,
        "o.settled_at+0>(select now from clock)-$4::int8" => "o.settled_at+0>(select now from clock)-0*$4::int8",
        11223763587911719145;
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
