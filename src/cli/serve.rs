//! `rowmill serve`: the service in one process, the API, the sweeper and the readers. Several at
//! once over one PostgreSQL are safe.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::read_limits::{BadReadLimit, read_limits};
use super::{complain, signals};
use crate::http::HttpLimits;
use crate::http::server::{Exposure, Server, ServerEnd, ServerError, ServerSettings};
use crate::ingest::IngestLimits;
use crate::ingest::intake::IntakeSettings;
use crate::store::{Store, StoreError, StoreOptions};
use crate::worker::Stop;
use crate::worker::handler::raise_open_files;

/// How long a file waits for a free reader before it is told to come again.
const READER_WAIT: Duration = Duration::from_secs(10);
/// How long a request waits for a connection to a server. A pool that waits long for one that is
/// away tries it rarely, and would notice late that it is back.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// The database unless told.
const DATABASE: &str = "sqlite:rowmill.db";

/// Serve the API: uploads, messages, results.
///
/// It starts with no set-up on a SQLite file. Several servers may work on one PostgreSQL, with one
/// spool directory that all of them reach; what one leaves undone, another takes over.
///
/// The first Ctrl-C or SIGTERM stops taking requests and lets what is under way come to a stop; the
/// second ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT)]
pub(super) struct Args {
    /// Where to listen: an address and a port; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", env = "ROWMILL_LISTEN", default_value = "127.0.0.1:8000")]
    listen: String,

    /// Listen also beyond this machine although there is no API key: whoever can reach the server
    /// may do anything. Where there are keys (`rowmill key add`), they are asked for all the same
    #[arg(long, env = "ROWMILL_OPEN_TO_ANYONE")]
    open_to_anyone: bool,

    /// The database: postgres://… or sqlite:PATH. sqlite:rowmill.db unless told; DATABASE_URL is
    /// looked at too
    #[arg(long, value_name = "URL", env = "ROWMILL_DATABASE_URL")]
    database_url: Option<String>,

    /// Where uploaded files lie until their upload is deleted
    #[arg(long, value_name = "DIR", env = "ROWMILL_SPOOL", default_value = "rowmill-spool")]
    spool: PathBuf,

    /// Bytes of an uploaded file at most, such as 500M or 2G
    #[arg(long, value_name = "BYTES", env = "ROWMILL_MAX_FILE_SIZE", default_value = "1G", value_parser = bytes)]
    max_file_size: u64,

    /// A limit of reading, such as rows=100000 or memory_bytes=2000000000; may be repeated
    #[arg(long, value_name = "NAME=N", env = "ROWMILL_READ_LIMIT", value_delimiter = ',')]
    read_limit: Vec<String>,

    /// How long an ingestion stays this server's without a sign of life: then another takes it over
    #[arg(long, value_name = "TIME", env = "ROWMILL_LEASE", default_value = "15s", value_parser = lease)]
    lease: Duration,

    /// How long what is under way may take to end after the first Ctrl-C
    #[arg(long, value_name = "TIME", env = "ROWMILL_GRACE", default_value = "30s", value_parser = humantime::parse_duration)]
    grace: Duration,

    /// Connections to the database at most
    #[arg(long, value_name = "N", env = "ROWMILL_CONNECTIONS", default_value_t = 12, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    connections: u32,
}

const EXIT: &str = "\
Exit code: 0 everything under way came to a stop; 1 something was cut off; 2 it could not start.";

/// Why the service could not be started.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// A limit cannot be understood.
    #[error(transparent)]
    ReadLimit(#[from] BadReadLimit),
    /// This program cannot be found, and so no reader started.
    #[error("cannot find this program's own file: {0}")]
    Exe(std::io::Error),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server cannot be started.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl Args {
    pub(super) async fn run(self) -> ExitCode {
        crate::telemetry::init();
        let stop = Stop::default();
        let signals = tokio::spawn(signals::listen(stop.clone()));
        let ended = self.serve(stop).await;
        signals.abort();
        match ended {
            Ok(ServerEnd::Drained) => ExitCode::SUCCESS,
            Ok(ServerEnd::CutOff) => ExitCode::FAILURE,
            Err(error) => complain(&error),
        }
    }

    #[allow(clippy::print_stderr)] // who starts it waits for this line
    async fn serve(self, stop: Stop) -> Result<ServerEnd, ServeError> {
        // Every connection holds a descriptor; the usual soft limit is soon reached.
        if let Err(error) = raise_open_files() {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
        let settings = self.settings()?;
        let url = database_url(self.database_url.clone());
        let mut options = StoreOptions { connections: self.connections, ..StoreOptions::default() };
        if url.starts_with("postgres") {
            options.wait = CONNECTION_WAIT;
        }
        let store = Store::open(&url, &options).await?;
        store.migrate().await?;
        let server = Server::open(store.clone(), |broker| broker, settings, stop).await?;
        eprintln!("rowmill: listening on http://{}", server.address());
        let ended = server.run().await;
        // What was cut off may hold connections for long; it ends with the process.
        if ended == ServerEnd::Drained {
            store.close().await;
        }
        Ok(ended)
    }

    fn settings(&self) -> Result<ServerSettings, ServeError> {
        Ok(ServerSettings {
            listen: self.listen.clone(),
            limits: HttpLimits { file_bytes: self.max_file_size, ..HttpLimits::default() },
            intake: IntakeSettings {
                exe: std::env::current_exe().map_err(ServeError::Exe)?,
                spool: self.spool.clone(),
                read: read_limits(&self.read_limit)?,
                ingest: IngestLimits::default(),
                lease: self.lease,
                claim_every: self.lease / 3,
                reader_wait: READER_WAIT,
            },
            grace: self.grace,
            exposure: if self.open_to_anyone { Exposure::Anyone } else { Exposure::Loopback },
        })
    }
}

/// The database that is meant: the one said, or the one of the environment, or a file here.
pub(super) fn database_url(said: Option<String>) -> String {
    let environment = || std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    said.or_else(environment).unwrap_or_else(|| DATABASE.to_owned())
}

/// A lease too short could not be renewed in time by a busy server.
fn lease(text: &str) -> Result<Duration, String> {
    let lease = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if lease < Duration::from_secs(1) {
        return Err("a lease lasts 1s at least".into());
    }
    Ok(lease)
}

/// A number of bytes: `1048576`, `500M`, `2G`; the letters stand for powers of 1,024.
fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a number of bytes, such as 1048576, 500M or 2G");
    let number = text.trim_end_matches(['K', 'M', 'G', 'k', 'm', 'g']);
    let unit: u64 = match text[number.len()..].to_ascii_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_with_or_without_a_unit() {
        for (text, n) in [("1", 1), ("10k", 10 << 10), ("500M", 500 << 20), ("2G", 2 << 30)] {
            assert_eq!(bytes(text), Ok(n));
        }
        for bad in ["", "G", "0", "-1", "1GG", "1 G", "1T", "99999999999999G", "é"] {
            assert!(bytes(bad).is_err(), "{bad:?} was taken");
        }
    }
}
