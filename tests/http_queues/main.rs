//! Topics, queues and messages over HTTP, each test on SQLite and on PostgreSQL.
//!
//! The server runs in the test's own process, so that its clock can be moved: a retention of ten
//! minutes, the shortest there is, passes at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod api;
mod by_id;
mod dead;
mod queues;
mod refuse;
mod story;
mod time;
mod topics;
