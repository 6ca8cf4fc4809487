//! Live delivery and results over HTTP: WebSocket consumers, events for dashboards, outputs as text
//! and as pages, on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../http_uploads/scene.rs"]
mod scene;
#[path = "../support/server.rs"]
mod server;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod deadline;
mod events;
mod gone;
mod latency;
mod push;
mod refuse;
mod results;
mod socket;
mod verdicts;
