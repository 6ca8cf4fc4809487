//! The relay: any carrier as rowmill's broker, with the database as its ledger. Most of it is played
//! on a carrier of the tests' own, which can be told to refuse, to fail and to deliver twice, on
//! SQLite and on PostgreSQL; what needs a real engine runs on a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../carriers/server.rs"]
#[allow(dead_code, reason = "it is the carriers' suite's, and has more")]
mod engine_server;
#[path = "../support/process.rs"]
mod process;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod deaths;
mod engine;
mod messages;
mod rows;
mod scene;
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "a build without engines plays it on none"
)]
mod story;

#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqs")]
mod sqs;
