//! Random operations, one at a time, on the real log and the model.
//!
//! `ROWMILL_TEST_CASES` says how many cases each database gets, `ROWMILL_TEST_SEED` repeats a run.
//! A sequence that fails is shrunk, printed, and kept beside this file to be tried first next time.

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use rowmill::store::{Store, log::Log};

use crate::operations::{Operation, steered_operations};
use crate::support::TestDatabase;
use crate::violation::{Checked, Violation};
use crate::world::World;

/// A number from the environment, or this one.
pub(crate) fn setting(name: &str, or: impl FnOnce() -> u64) -> u64 {
    std::env::var(name).map_or_else(|_| or(), |value| value.parse().unwrap())
}

/// A run's seed, printed so that it can be run again.
pub(crate) fn seed() -> u64 {
    let seed = setting("ROWMILL_TEST_SEED", || fastrand::u64(..));
    eprintln!("ROWMILL_TEST_SEED={seed}");
    seed
}

pub(crate) fn runner(cases: u64, seed: u64) -> TestRunner {
    TestRunner::new(Config {
        cases: u32::try_from(cases).unwrap(),
        rng_seed: RngSeed::Fixed(seed),
        source_file: Some(file!()),
        max_shrink_iters: 3000,
        max_shrink_time: 120_000,
        ..Config::default()
    })
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A database, its store, and the cases that are run on it one after another.
pub(crate) struct Bench {
    database: TestDatabase,
    store: Option<Store>,
}

impl Bench {
    pub(crate) async fn new(database: TestDatabase) -> Self {
        let store = Some(database.open(4).await);
        Self { database, store }
    }

    /// Runs one case on a log that `breakage` may have broken.
    pub(crate) async fn case(
        &mut self,
        operations: &[Operation],
        breakage: fn(Log) -> Log,
    ) -> Checked {
        let store = self.store.take().unwrap();
        let mut world = World::new(&self.database, store, breakage).await?;
        let done = world.run(operations).await;
        self.store = Some(world.into_store());
        done
    }
}

fn run(database: TestDatabase, runtime: &tokio::runtime::Runtime, cases: u64) {
    let cases = setting("ROWMILL_TEST_CASES", || cases);
    let bench = tokio::sync::Mutex::new(runtime.block_on(Bench::new(database)));
    let done = runner(cases, seed()).run(&steered_operations(), |operations| {
        let case = async { bench.lock().await.case(&operations, |log| log).await };
        runtime.block_on(case).map_err(|Violation(what)| TestCaseError::fail(what))
    });
    if let Err(error) = done {
        panic!("{error}");
    }
}

#[test]
fn sqlite_does_what_the_model_does() {
    run(TestDatabase::sqlite(), &runtime(), 150);
}

#[test]
fn postgres_does_what_the_model_does() {
    let runtime = runtime();
    run(runtime.block_on(TestDatabase::postgres()), &runtime, 60);
}
