//! Who may ask for what, and how much anyone may ask: the real server with keys, on SQLite and on
//! PostgreSQL where the database matters, and with small limits in this process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/server.rs"]
mod server;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod commands;
mod exposure;
mod keys;
mod limits;
mod marks;
mod routes;
mod scene;
mod session;
