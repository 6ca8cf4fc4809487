//! `rowmill work`: a worker on a queue, over HTTP or straight on the database, until it is stopped.
//!
//! The worker is the one of `rowmill run`; only the source differs, and it does not know which it
//! has. A server that is away is waited for, so workers may be started before it.

mod error;
mod report;
mod watched;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

use super::complain;
use super::database::open;
use super::handler::HandlerArgs;
use crate::broker::keeper::Keeper;
use crate::broker::{Source, SqlBroker, SqlBrokerLimits};
use crate::client::{Client, ClientLimits, RemoteSource};
use crate::domain::QueueName;
use crate::worker::handler::raise_open_files;
use crate::worker::{self, AnyHandler, Rate, Stop, WorkerLimits};
use error::WorkError;
use report::{Report, Tally};
use watched::Watched;

/// Where a server listens unless told.
const API_URL: &str = "http://127.0.0.1:8000";

/// Process the messages of a queue.
///
/// Any number of workers, on any machines, may work on one queue: each message is in the hands of
/// one of them at a time. Ctrl-C lets what runs finish within --grace, and hands the rest back.
#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The queue
    #[arg(long, value_name = "NAME", env = "ROWMILL_QUEUE", default_value = "rows")]
    queue: QueueName,

    /// The server whose queue it is. http://127.0.0.1:8000 unless told [env: ROWMILL_API_URL]
    // Read from the environment by hand: what is said here wins over a database named there.
    #[arg(long, value_name = "URL", conflicts_with = "database_url")]
    api_url: Option<String>,

    /// Work straight on the database instead, without a server [env: ROWMILL_DATABASE_URL]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,

    #[command(flatten)]
    handler: HandlerArgs,

    /// Messages fetched at once, at most
    #[arg(long, value_name = "N", env = "ROWMILL_BATCH_SIZE", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batch_size: u32,

    /// Messages processed at the same time
    #[arg(long, value_name = "N", env = "ROWMILL_CONCURRENCY", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,

    /// Fetch one message, process it, fetch the next: as --batch-size 1 --concurrency 1
    #[arg(long, env = "ROWMILL_ONE_BY_ONE")]
    one_by_one: bool,

    /// How long one message may take; then its handler is ended, and it is tried again
    #[arg(long, value_name = "TIME", env = "ROWMILL_TIMEOUT", default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// Messages started a second, at most; fractions are fine
    #[arg(long, value_name = "N", env = "ROWMILL_RATE")]
    rate: Option<Rate>,

    /// How long running messages may take to end after the first Ctrl-C
    #[arg(long, value_name = "TIME", env = "ROWMILL_GRACE", default_value = "30s", value_parser = humantime::parse_duration)]
    grace: Duration,

    /// End when nothing is in hand and nothing has come for a few seconds
    ///
    /// What waits for a retry, or is in another worker's hands, is not waited for.
    #[arg(long, env = "ROWMILL_UNTIL_EMPTY")]
    until_empty: bool,

    /// Print the summary as JSON on stdout, and no progress
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,
}

const USAGE: &str = "\
rowmill work [OPTIONS] --exec COMMAND [ARGUMENT]...
       rowmill work [OPTIONS] --http URL
       rowmill work [OPTIONS] --sleep TIME";

const EXAMPLES: &str = "\
Examples:
  rowmill work --api-url http://mill.example:8000 --exec ./charge.sh {id} {amount}
  rowmill work --one-by-one --sleep 5s
  rowmill work --database-url postgres://mill@db.example/rows --concurrency 200 --http http://127.0.0.1:9000/rows

Exit code: 0 it was stopped, or has ended by --until-empty; 2 it could not run.";

/// Where the queue is.
enum Place {
    Server(String),
    Database(String),
}

impl Args {
    pub(super) async fn run(self) -> ExitCode {
        crate::telemetry::init();
        let stop = Stop::default();
        let signals = tokio::spawn(super::signals::listen(stop.clone()));
        let worked = Box::pin(self.work(&stop)).await;
        signals.abort();
        let printed = match worked {
            Ok(report) => report.print(self.json),
            Err(error) => return complain(&error),
        };
        printed.map_or_else(|error| complain(&error), |()| ExitCode::SUCCESS)
    }

    async fn work(&self, stop: &Stop) -> Result<Report, WorkError> {
        // Each running command holds a few descriptors; the usual soft limit is soon reached.
        if let Err(error) = raise_open_files() {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
        let handler = Arc::new(self.handler.handler(self.queue.clone())?);
        match self.place()? {
            Place::Server(url) => {
                let client = Client::new(&url, ClientLimits::default())?;
                self.work_on(RemoteSource::new(client, self.queue.clone()), handler, stop).await
            }
            Place::Database(url) => {
                let store = open(&url).await?;
                let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await?;
                // Servers keep order too, but there need not be one. Several do not disturb each other.
                let keeper = Keeper::new(broker.clone());
                let keeper = AbortOnDropHandle::new(tokio::spawn(keeper.run()));
                let report = self.work_on(broker, handler, stop).await;
                drop(keeper);
                store.close().await;
                report
            }
        }
    }

    fn place(&self) -> Result<Place, WorkError> {
        let environment = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
        match (&self.api_url, &self.database_url) {
            (Some(url), _) => return Ok(Place::Server(url.clone())),
            (None, Some(url)) => return Ok(Place::Database(url.clone())),
            (None, None) => {}
        }
        match (environment("ROWMILL_API_URL"), environment("ROWMILL_DATABASE_URL")) {
            (Some(_), Some(_)) => Err(WorkError::TwoPlaces),
            (None, Some(url)) => Ok(Place::Database(url)),
            (url, None) => Ok(Place::Server(url.unwrap_or_else(|| API_URL.to_owned()))),
        }
    }

    async fn work_on<S: Source>(
        &self,
        source: S,
        handler: Arc<AnyHandler>,
        stop: &Stop,
    ) -> Result<Report, WorkError> {
        let begun = Instant::now();
        let tally = Arc::new(Tally::default());
        let line = (!self.json).then(|| report::draw(&tally));
        let finished = self.until_empty.then(|| stop.finished.clone());
        let summary = worker::run(
            Arc::new(Watched::new(source, finished)),
            self.queue.clone(),
            handler,
            self.limits(),
            stop.clone(),
            tally,
        )
        .await?;
        drop(line);
        let stopped = stop.drain.is_cancelled();
        Ok(Report::new(&self.queue, stopped, &summary, begun.elapsed()))
    }

    fn limits(&self) -> WorkerLimits {
        let (concurrency, batch_size) =
            if self.one_by_one { (1, 1) } else { (self.concurrency, self.batch_size) };
        WorkerLimits {
            concurrency: concurrency as usize,
            batch_size: batch_size as usize,
            rate: self.rate,
            timeout: Some(self.timeout),
            drain_grace: self.grace,
            ..WorkerLimits::default()
        }
    }
}
