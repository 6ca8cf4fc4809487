//! The carriers' conformance suite: one set of cases, every driver and the database's own broker, real
//! servers.
//!
//! `cases/` says what a carrier keeps, in terms of the contract alone. An engine's own file
//! implements [`engine::Engine`], registers itself in one line (`conformance!(crate::name::Name);`), and holds
//! beside it what is true of that engine alone. What an engine cannot do is asserted to be refused
//! with its type and in agreement with its abilities; no case is left out for anybody.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code, reason = "a build without carriers plays only what the database needs")]

mod cases;
mod engine;
mod proxy;
#[path = "../documented/python.rs"]
mod python;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod scene;
mod server;
mod sql;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqs")]
mod sqs;
