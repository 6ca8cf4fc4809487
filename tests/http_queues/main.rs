//! Topics, queues and messages over HTTP, each test on SQLite and on PostgreSQL.
//!
//! The server runs in the test's own process, so that its clock can be moved: a retention of ten
//! minutes, the shortest there is, passes at once.

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

mod api;
mod by_id;
mod dead;
mod queues;
mod refuse;
mod story;
mod time;
mod topics;
