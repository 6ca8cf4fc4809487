//! Uploads over HTTP on a real port, on SQLite and on PostgreSQL, with the real reader.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/server.rs"]
mod server;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod attributes;
mod broken;
mod dates;
mod end;
mod events;
mod fair;
mod keys;
mod look;
mod pages;
mod rules;
mod scene;
mod steer;
mod take;
mod webhook;
