//! Who may ask for what, and how much anyone may ask: the real server with keys, on SQLite and on
//! PostgreSQL where the database matters, and with small limits in this process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;

/// Each test once on each database.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::TestDatabase::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::TestDatabase::postgres().await).await;
            })*
        }
    };
}

mod commands;
mod exposure;
mod keys;
mod limits;
mod marks;
mod routes;
mod scene;
mod session;
