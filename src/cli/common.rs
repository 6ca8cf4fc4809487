//! What can be said to every command: where its configuration is, and how it logs.

use std::path::PathBuf;

use crate::config::{Config, ConfigFault, load};
use crate::telemetry::{self, LogFormat};

#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// A TOML file with settings; `rowmill config` prints them all
    ///
    /// Each can also be set in the environment: ROWMILL__HTTP__BODY_BYTES=32M is body_bytes in
    /// [http]. The command line wins over the environment, and that over the file.
    #[arg(long, global = true, value_name = "FILE", env = "ROWMILL_CONFIG")]
    config: Option<PathBuf>,

    /// How the log is written; how much of it is said by ROWMILL_LOG, such as info
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "ROWMILL_LOG_FORMAT",
        default_value = "human"
    )]
    log_format: LogFormat,
}

impl Common {
    /// The configuration: defaults, file, environment. The command line is for the command to add.
    pub(super) fn config(&self) -> Result<Config, ConfigFault> {
        // A variable that is no text is none of ours.
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        load(self.config.as_deref(), environment)
    }

    /// How the log is written, and whatever else is said beside it.
    pub(super) fn voice(&self) -> LogFormat {
        self.log_format
    }

    /// Starts the log of a command that runs for a while.
    pub(super) fn start_log(&self) {
        telemetry::init(self.log_format);
    }
}
