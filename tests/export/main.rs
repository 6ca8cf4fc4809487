//! Results as files: what openpyxl reads in them is what it reads in the originals, and nothing that a
//! user wrote becomes more than text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../documented/python.rs"]
#[allow(dead_code)]
mod python;
#[path = "../http_uploads/scene.rs"]
#[allow(dead_code)]
mod scene;
#[path = "../support/server.rs"]
mod server;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod book;
mod corpus;
mod download;
mod harm;
mod mended;
