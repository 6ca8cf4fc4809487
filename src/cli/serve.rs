//! `rowmill serve`: the service in one process, the API, the sweeper and the readers. Several at
//! once over one PostgreSQL are safe.

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::common::Common;
use super::delayed::Delayed;
use super::read_limits::{BadReadLimit, read_limits};
use super::{complain, signals};
use crate::broker::{AnyBroker, CannotCarry};
use crate::config::{Config, ConfigFault};
use crate::domain::units;
use crate::http::server::{Exposure, Server, ServerEnd, ServerError};
use crate::ingest::spool::{CannotSpool, Place, Spool};
use crate::store::{Store, StoreError};
use crate::worker::Stop;
use crate::worker::handler::raise_open_files;

/// The database unless told.
const DATABASE: &str = "sqlite:rowmill.db";

/// Serve the API: uploads, messages, results.
///
/// It starts with no set-up on a SQLite file. Several servers may work on one PostgreSQL, with one
/// spool that all of them reach; what one leaves undone, another takes over.
///
/// The first Ctrl-C or SIGTERM stops taking requests and lets what is under way come to a stop; the
/// second ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT)]
pub(super) struct Args {
    /// Where to listen: an address and a port; port 0 takes any that is free. 127.0.0.1:8000 unless
    /// told
    #[arg(long, value_name = "ADDRESS", env = "ROWMILL_LISTEN")]
    listen: Option<String>,

    /// Listen also beyond this machine although there is no API key: whoever can reach the server
    /// may do anything. Where there are keys (`rowmill key add`), they are asked for all the same
    #[arg(long, env = "ROWMILL_OPEN_TO_ANYONE")]
    open_to_anyone: bool,

    /// The database: postgres://… or sqlite:PATH. sqlite:rowmill.db unless told; DATABASE_URL is
    /// looked at too
    #[arg(long, value_name = "URL", env = "ROWMILL_DATABASE_URL")]
    database_url: Option<String>,

    /// What carries the messages: redis://…, amqp://… or sqs://…, as far as this program was built
    /// with it. The database unless told
    #[arg(long, value_name = "URL", env = "ROWMILL_BROKER_URL")]
    broker_url: Option<String>,

    /// Where uploaded files lie until their upload is deleted: a directory, or s3://BUCKET/PREFIX as
    /// far as this program was built with it. rowmill-spool unless told
    #[arg(long, value_name = "PLACE", env = "ROWMILL_SPOOL", value_parser = OsStringValueParser::new().try_map(Place::try_from))]
    spool: Option<Place>,

    /// Bytes of an uploaded file at most, such as 500M or 2G. 1G unless told
    #[arg(long, value_name = "BYTES", env = "ROWMILL_MAX_FILE_SIZE", value_parser = units::parse_size)]
    max_file_size: Option<u64>,

    /// A limit of reading, such as rows=100000 or memory_bytes=2000000000; may be repeated
    #[arg(long, value_name = "NAME=N", env = "ROWMILL_READ_LIMIT", value_delimiter = ',')]
    read_limit: Vec<String>,

    /// How long an ingestion stays this server's without a sign of life: then another takes it over.
    /// 15s unless told
    #[arg(long, value_name = "TIME", env = "ROWMILL_LEASE", value_parser = lease)]
    lease: Option<Duration>,

    /// How long what is under way may take to end after the first Ctrl-C. 30s unless told
    #[arg(long, value_name = "TIME", env = "ROWMILL_GRACE", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,

    /// Connections to the database at most. 12 unless told
    #[arg(long, value_name = "N", env = "ROWMILL_CONNECTIONS", value_parser = clap::value_parser!(u32).range(2..=1_000))]
    connections: Option<u32>,
}

const EXIT: &str = "\
Exit code: 0 everything under way came to a stop; 1 something was cut off; 2 it could not start.";

/// Why the service could not be started.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// A limit cannot be understood.
    #[error(transparent)]
    ReadLimit(#[from] BadReadLimit),
    /// This program cannot be found, and so no reader started.
    #[error("cannot find this program's own file: {0}")]
    Exe(std::io::Error),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] CannotSpool),
    /// The broker cannot be used.
    #[error(transparent)]
    Broker(#[from] CannotCarry),
    /// The server cannot be started.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl Args {
    pub(super) async fn run(self, common: &Common) -> ExitCode {
        common.start_log();
        let stop = Stop::default();
        let signals = tokio::spawn(signals::listen(stop.clone(), common.voice()));
        let ended = Box::pin(self.serve(common, stop)).await;
        signals.abort();
        match ended {
            Ok(ServerEnd::Drained) => ExitCode::SUCCESS,
            Ok(ServerEnd::CutOff) => ExitCode::FAILURE,
            Err(error) => complain(&error),
        }
    }

    async fn serve(self, common: &Common, stop: Stop) -> Result<ServerEnd, ServeError> {
        // Every connection holds a descriptor; the usual soft limit is soon reached.
        if let Err(error) = raise_open_files() {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
        let exposure = if self.open_to_anyone { Exposure::Anyone } else { Exposure::Loopback };
        let config = self.over(common.config()?)?;
        let url = database_url(self.database_url.clone());
        let mut options = config.store.clone();
        if url.starts_with("postgres") {
            options.wait = config.server.connection_wait;
        }
        let exe = std::env::current_exe().map_err(ServeError::Exe)?;
        let carrying = config.carrying(self.broker_url.clone());
        let intake = &config.intake;
        let spool = Spool::open(&intake.spool, &intake.s3, std::env::vars_os())?;
        let settings = config.server_settings(exe, spool, exposure);
        let store = Store::open(&url, &options).await?;
        store.migrate().await?;
        let carried = carrying.open(&store).await?;
        let chore = carried.as_ref().and_then(AnyBroker::chore);
        let carry = |sql| Delayed::new(carried.unwrap_or(AnyBroker::Sql(sql)), Duration::ZERO);
        let server = Server::open(store.clone(), carry, settings, stop).await?.keeping(chore);
        common.voice().say(&format!("listening on http://{}", server.address()));
        let ended = server.run().await;
        // What was cut off may hold connections for long; it ends with the process.
        if ended == ServerEnd::Drained {
            store.close().await;
        }
        Ok(ended)
    }

    /// The configuration, with what was said on the command line.
    fn over(&self, mut config: Config) -> Result<Config, ServeError> {
        fn set<T: Clone>(to: &mut T, said: &Option<T>) {
            if let Some(said) = said {
                to.clone_from(said);
            }
        }
        set(&mut config.server.listen, &self.listen);
        set(&mut config.server.grace, &self.grace);
        set(&mut config.intake.spool, &self.spool);
        set(&mut config.intake.lease, &self.lease);
        set(&mut config.http.file_bytes, &self.max_file_size);
        set(&mut config.store.connections, &self.connections);
        config.read = read_limits(&config.read, &self.read_limit)?;
        Ok(config)
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
