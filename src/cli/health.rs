//! `rowmill health`: whether a server answers, for health checks of images that have no curl.

use std::process::ExitCode;
use std::time::Duration;

use super::complain;

/// Ask a server whether it is well.
///
/// Exit code: 0 it is; 2 it is not, or it cannot be reached.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the server is
    #[arg(
        long,
        value_name = "URL",
        env = "ROWMILL_API_URL",
        default_value = "http://127.0.0.1:8000"
    )]
    api_url: String,

    /// How long to wait for its answer
    #[arg(long, value_name = "TIME", env = "ROWMILL_HEALTH_TIMEOUT", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
enum Unwell {
    #[error("the server cannot be reached")]
    Silent(#[from] reqwest::Error),
    #[error("the server says {0}")]
    Says(reqwest::StatusCode),
}

impl Args {
    pub(super) async fn run(self) -> ExitCode {
        match self.ask().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        }
    }

    async fn ask(&self) -> Result<(), Unwell> {
        let url = format!("{}/health", self.api_url.trim_end_matches('/'));
        let client = http_client().timeout(self.timeout).build()?;
        let status = client.get(url).send().await?.status();
        if status.is_success() { Ok(()) } else { Err(Unwell::Says(status)) }
    }
}

/// A client with the TLS provider that the database connections use too.
pub(super) fn http_client() -> reqwest::ClientBuilder {
    // An error means that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
