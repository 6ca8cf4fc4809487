//! What tests of several subjects need: a database of their own.
//!
//! Every test makes its own, a SQLite file or a database in the PostgreSQL that `tests/run` starts,
//! so that tests run side by side and none depends on what another left.

#![allow(dead_code, reason = "each test that uses this file uses a part of it")]
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::str::FromStr;
use std::time::Duration;

use rowmill::store::{Store, StoreOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tempfile::TempDir;

/// Each test once on each database.
#[allow(unused_macros, reason = "as above")]
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::support::TestDatabase::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::support::TestDatabase::postgres().await).await;
            })*
        }
    };
}

/// A database that goes when this goes. One whose test fails stays on PostgreSQL, to be looked at.
pub(crate) struct TestDatabase {
    url: String,
    home: Home,
}

enum Home {
    File(#[allow(dead_code, reason = "removes the directory when it is dropped")] TempDir),
    Server { server: Box<PgConnectOptions>, name: String },
}

impl TestDatabase {
    /// A SQLite file.
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("test.db").display());
        Self { url, home: Home::File(directory) }
    }

    /// A database in the tests' PostgreSQL. No test is skipped for want of one: it fails.
    pub(crate) async fn postgres() -> Self {
        let url = std::env::var("ROWMILL_TEST_POSTGRES_URL").expect(
            "this test needs PostgreSQL: run it by `tests/run`, \
             or set ROWMILL_TEST_POSTGRES_URL to what `tests/postgres start` prints",
        );
        Self::on_server(&url).await
    }

    /// A database in the PostgreSQL at `url`.
    pub(crate) async fn on_server(url: &str) -> Self {
        let server = PgConnectOptions::from_str(url).unwrap();
        let name = format!("rowmill_test_{}", uuid::Uuid::new_v4().simple());
        run(&server, &format!("create database {name}")).await;
        let url = server.clone().database(&name).to_url_lossy().to_string();
        Self { url, home: Home::Server { server: Box::new(server), name } }
    }

    /// Where it is, for a process of its own.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Opens it with the tables of today, for `connections` at once.
    pub(crate) async fn open(&self, connections: u32) -> Store {
        self.open_by(&StoreOptions { connections, wait: Duration::from_secs(60) }).await
    }

    /// Opens it with the tables of today.
    pub(crate) async fn open_by(&self, options: &StoreOptions) -> Store {
        let store = Store::open(&self.url, options).await.unwrap();
        store.migrate().await.unwrap();
        store
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Home::Server { server, name } = &self.home else { return };
        if std::thread::panicking() {
            eprintln!("the database {name} is left for you to look at");
            return;
        }
        let (server, drop) = (server.clone(), format!("drop database {name} with (force)"));
        // A drop cannot wait on the test's runtime; a thread with one of its own can.
        let worker = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(run(&server, &drop));
        });
        worker.join().unwrap();
    }
}

async fn run(server: &PgConnectOptions, sql: &str) {
    let mut connection = PgConnection::connect_with(server).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
