//! `rowmill config`: the configuration as it counts.

use std::process::ExitCode;

use super::common::Common;
use super::complain;
use crate::config::print;

/// Print every setting as it counts here: defaults, --config FILE, environment.
///
/// What it prints is a file for --config. Options of single commands, such as --connections, are not
/// known here.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As JSON
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,
}

impl Args {
    #[allow(clippy::print_stdout)] // its answer
    pub(super) fn run(self, common: &Common) -> ExitCode {
        let config = match common.config() {
            Ok(config) => config,
            Err(error) => return complain(&error),
        };
        let text = match self.json {
            true => serde_json::to_string_pretty(&config).map(|text| text + "\n"),
            false => print(&config),
        };
        match text {
            Ok(text) => print!("{text}"),
            Err(error) => return complain(&error),
        }
        ExitCode::SUCCESS
    }
}
