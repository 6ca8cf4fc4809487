//! Everything at once, by the real clock: see [`crate::mill`].
//!
//! `ROWMILL_TEST_SECONDS` says how long messages are published; the seed is printed, though it
//! repeats what is tried, not how it interleaves.

use std::time::Duration;

use rowmill::store::Store;

use crate::mill::{Mill, Size};
use crate::sequences::{runtime, seed, setting};
use crate::support::TestDatabase;

/// What the concurrent tests do on PostgreSQL.
pub(crate) fn on_postgres() -> Size {
    Size {
        publishers: 3,
        consumers: 8,
        sweepers: 2,
        publishing: Duration::from_secs(setting("ROWMILL_TEST_SECONDS", || 12)),
        failing: false,
    }
}

fn run(open: impl Future<Output = (TestDatabase, Store)>, size: Size) {
    let runtime = runtime();
    let (_database, store) = runtime.block_on(open);
    let done = runtime.block_on(async {
        let log = store.log.clone();
        Mill::new(store, log, size).await?.run(seed()).await
    });
    match done {
        Ok(outcomes) => eprintln!("{outcomes} outcomes as they should be"),
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn postgres_keeps_every_message_in_one_place() {
    let open = async {
        let database = TestDatabase::postgres().await;
        let store = database.open(18).await;
        (database, store)
    };
    run(open, on_postgres());
}

#[test]
fn sqlite_keeps_every_message_in_one_place() {
    let open = async {
        let database = TestDatabase::sqlite();
        let store = database.open(4).await;
        (database, store)
    };
    let size = Size { publishers: 2, consumers: 4, sweepers: 1, ..on_postgres() };
    run(open, Size { publishing: size.publishing / 2, ..size });
}
