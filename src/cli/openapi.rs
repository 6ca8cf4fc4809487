//! `rowmill openapi`: the description of the API on stdout, without a server.

use std::io::{self, Write};
use std::process::ExitCode;

use super::complain;
use crate::http::openapi;

/// Print the description of the API: OpenAPI 3.1, as JSON.
///
/// A running server has the same at /openapi.json, and for people at /docs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> ExitCode {
        let printed = serde_json::to_string_pretty(&openapi::document())
            .map_err(io::Error::from)
            .and_then(|text| writeln!(io::stdout().lock(), "{text}"));
        match printed {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        }
    }
}
