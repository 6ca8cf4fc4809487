//! `rowmill health`: whether a server answers, for health checks of images that have no curl.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::api_args::ApiArgs;
use super::complain;
use crate::client::{ClientError, ClientLimits};

/// Ask a server whether it is well.
///
/// Exit code: 0 it is; 2 it is not, or it cannot be reached.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    api: ApiArgs,

    /// How long to wait for its answer
    #[arg(long, value_name = "TIME", env = "ROWMILL_HEALTH_TIMEOUT", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// Say it on stdout as JSON: {"healthy": true}, or false and why
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,
}

impl Args {
    #[allow(clippy::print_stdout)] // its answer
    pub(super) async fn run(self) -> ExitCode {
        match self.ask().await {
            Ok(()) => {
                if self.json {
                    println!("{}", json!({ "healthy": true }));
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                if self.json {
                    println!("{}", json!({ "healthy": false, "why": error.to_string() }));
                }
                complain(&error)
            }
        }
    }

    /// One try: whoever asks will ask again.
    async fn ask(&self) -> Result<(), ClientError> {
        let limits = ClientLimits {
            connect_timeout: self.timeout,
            request_timeout: self.timeout,
            retries: 0,
            ..ClientLimits::default()
        };
        self.api.client(limits)?.health().await
    }
}
