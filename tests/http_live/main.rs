//! Live delivery and results over HTTP: WebSocket consumers, events for dashboards, outputs as text
//! and as pages, on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../http_uploads/scene.rs"]
mod scene;
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

mod deadline;
mod events;
mod gone;
mod latency;
mod push;
mod refuse;
mod results;
mod socket;
mod verdicts;
