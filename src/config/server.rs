//! What a server is told, out of the configuration.

use std::path::PathBuf;

use super::Config;
use crate::http::server::{Exposure, ServerSettings};
use crate::ingest::spool::Spool;
use crate::ingest::taken::IntakeSettings;

impl Config {
    /// What a server is told that starts its readers from the program `exe`, on the spool that was
    /// opened for it.
    pub fn server_settings(self, exe: PathBuf, spool: Spool, exposure: Exposure) -> ServerSettings {
        let Self { server, http, intake, ingest, read, look, broker, .. } = self;
        ServerSettings {
            listen: server.listen,
            limits: http,
            broker,
            intake: IntakeSettings {
                exe,
                spool,
                read,
                look,
                ingest,
                lease: intake.lease,
                claim_every: intake.claim_every.min(intake.lease / 3),
                reader_wait: intake.reader_wait,
            },
            grace: server.grace,
            exposure,
        }
    }
}
