//! `rowmill health`: whether a server answers, for health checks of images that have no curl.

use std::process::ExitCode;
use std::time::Duration;

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
}

impl Args {
    pub(super) async fn run(self) -> ExitCode {
        match self.ask().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
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
