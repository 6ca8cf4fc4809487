//! Uploads over HTTP on a real port, on SQLite and on PostgreSQL, with the real reader.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;

/// Each test once on each database.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(crate::support::TestDatabase::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(crate::support::TestDatabase::postgres().await).await;
            })*
        }
    };
}

mod attributes;
mod broken;
mod end;
mod events;
mod pages;
mod scene;
mod take;
