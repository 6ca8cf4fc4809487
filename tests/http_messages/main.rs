//! Messages over HTTP, as a program in any language sends and fetches them: the real server, on
//! SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/server.rs"]
mod server;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod api;
mod life;
mod publish;
mod refuse;
mod results;
mod settle;
