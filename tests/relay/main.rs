//! The relay: any carrier as rowmill's broker, with the database as its ledger. Most of it is played
//! on a carrier of the tests' own, which can be told to refuse, to fail and to deliver twice, on
//! SQLite and on PostgreSQL; what needs a real engine runs on a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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

mod deaths;
mod engine;
mod messages;
mod rows;
mod scene;
