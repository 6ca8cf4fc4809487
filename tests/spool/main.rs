//! The spool, in a directory and in a bucket of a real S3 server, alone and below real servers.

#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/s3.rs"]
mod s3;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;

mod bucket;
mod cases;
mod proxy;
mod scene;
mod servers;
