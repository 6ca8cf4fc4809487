//! The log of messages, tried against what it promises.
//!
//! * [`sequences`]: random operations on the real log and on [`model`], a map; after each one the
//!   tables are read, every message must be in exactly one place ([`tables`]), and in the place
//!   where the model has it.
//! * [`concurrent`]: many publishers, consumers and sweepers at once, by the real clock, with the
//!   one-place invariant looked at all the while and every outcome compared at the end.
//! * [`crash`]: the same while the server is killed with -9 and started again.
//! * [`mutants`]: the log with one statement broken, to show that the two above would notice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says its seed"
)]

#[path = "../support/cluster.rs"]
mod cluster;
mod concurrent;
mod crash;
mod ledger;
mod mill;
mod model;
mod mutants;
mod operations;
mod sequences;
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod violation;
mod world;
