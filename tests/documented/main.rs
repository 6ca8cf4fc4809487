//! The description of the API is true, guarded against accidental change, and valid; the programs
//! shown in the documentation work.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;

mod example;
mod pages;
mod python;
mod schemathesis;
mod snapshot;
