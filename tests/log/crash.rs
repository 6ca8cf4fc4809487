//! PostgreSQL is killed with -9 in the middle of everything, and started again: nothing that was
//! answered with success is lost, and every message is in one place.

use std::time::{Duration, Instant};

use rowmill::store::{Store, StoreOptions};

use crate::cluster::Cluster;
use crate::concurrent::on_postgres;
use crate::mill::{Mill, Size};
use crate::sequences::{runtime, seed};
use crate::support::TestDatabase;

/// How often the server is killed.
const KILLS: i64 = 3;
/// Messages that must have ended before the first kill, and between two.
const BETWEEN_KILLS: i64 = 100;

/// Waits until so many messages have their outcome: the middle of everything, however slow the
/// machine is. A server that is just coming back may refuse for a while.
async fn wait_for_outcomes(store: &Store, n: i64) {
    let until = Instant::now() + Duration::from_secs(60);
    let pool = store.postgres_pool().unwrap();
    let sql = "select coalesce(sum(n), 0)::int8 from outcome";
    while sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await.unwrap_or(0) < n {
        assert!(Instant::now() < until, "there never were {n} outcomes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn nothing_acked_is_lost_when_the_server_is_killed() {
    let (server, url) = Cluster::start("crash");
    let runtime = runtime();
    let done = runtime.block_on(async {
        let database = TestDatabase::on_server(&url).await;
        // A pool that waits long for a server that is away also tries it rarely.
        let options = StoreOptions { connections: 18, wait: Duration::from_secs(1) };
        let store = database.open_by(&options).await;
        let log = store.log.clone();
        let size = Size { publishing: Duration::from_secs(15), failing: true, ..on_postgres() };
        let mill = tokio::spawn(Mill::new(store.clone(), log, size).await?.run(seed()));
        for kill in 1..=KILLS {
            wait_for_outcomes(&store, kill * BETWEEN_KILLS).await;
            tokio::task::block_in_place(|| {
                server.run("crash");
                assert_eq!(server.run("start"), url, "it came back elsewhere");
            });
        }
        let outcomes = mill.await.unwrap();
        drop(database);
        outcomes
    });
    match done {
        Ok(outcomes) => {
            eprintln!("{outcomes} outcomes as they should be");
            let least = usize::try_from(KILLS * BETWEEN_KILLS).unwrap();
            assert!(outcomes >= least, "outcomes are missing: {outcomes} of at least {least}");
        }
        Err(violation) => panic!("{violation}"),
    }
}
