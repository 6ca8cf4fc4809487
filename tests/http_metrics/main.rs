//! What a process tells of itself, over real processes: metrics, health, logs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/server.rs"]
mod server;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod health;
mod logs;
mod numbers;
mod scene;
mod scrape;
mod worker;
