//! The relay: any carrier as rowmill's broker, with the database as its ledger. Most of it is played
//! on a carrier of the tests' own, which can be told to refuse, to fail and to deliver twice, on
//! SQLite and on PostgreSQL; what needs a real engine runs on a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "redis")]
#[path = "../support/process.rs"]
mod process;
#[cfg(feature = "redis")]
#[path = "../carriers/server.rs"]
#[allow(dead_code, reason = "it is the carriers' suite's, and has more")]
mod redis_server;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod deaths;
mod engine;
mod messages;
#[cfg(feature = "redis")]
mod redis;
mod rows;
mod scene;
