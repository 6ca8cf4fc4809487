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

use super::api_args::{API_URL, KeyArgs};
use super::common::Common;
use super::complain;
use super::database::open;
use super::handler::HandlerArgs;
use super::metrics::{MetricsArgs, Served};
use crate::broker::keeper::Keeper;
use crate::broker::{AnyBroker, Source, SqlBroker};
use crate::client::RemoteSource;
use crate::config::Config;
use crate::domain::QueueName;
use crate::worker::handler::raise_open_files;
use crate::worker::{self, AnyHandler, Rate, Stop, WorkerLimits};
use error::WorkError;
use report::{Report, Tally};
use watched::Watched;

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

    #[command(flatten)]
    key: KeyArgs,

    /// The name by which the server tells it from other workers. The machine and the process unless
    /// told
    #[arg(long, value_name = "NAME", env = "ROWMILL_WORKER_NAME")]
    name: Option<String>,

    /// Work straight on the database instead, without a server [env: ROWMILL_DATABASE_URL]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,

    /// What carries the messages, when it works on the database: as for the servers. The database
    /// unless told
    #[arg(long, value_name = "URL", env = "ROWMILL_BROKER_URL")]
    broker_url: Option<String>,

    #[command(flatten)]
    handler: HandlerArgs,

    /// Messages fetched at once, at most. 50 unless told
    #[arg(long, value_name = "N", env = "ROWMILL_BATCH_SIZE", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batch_size: Option<u32>,

    /// Messages processed at the same time. 50 unless told
    #[arg(long, value_name = "N", env = "ROWMILL_CONCURRENCY", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: Option<u32>,

    /// Fetch one message, process it, fetch the next: as --batch-size 1 --concurrency 1
    #[arg(long, env = "ROWMILL_ONE_BY_ONE")]
    one_by_one: bool,

    /// How long one message may take; then its handler is ended, and it is tried again. 10m unless
    /// told
    #[arg(long, value_name = "TIME", env = "ROWMILL_TIMEOUT", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,

    /// Messages started a second, at most; fractions are fine
    #[arg(long, value_name = "N", env = "ROWMILL_RATE")]
    rate: Option<Rate>,

    /// How long running messages may take to end after the first Ctrl-C. 30s unless told
    #[arg(long, value_name = "TIME", env = "ROWMILL_GRACE", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,

    #[command(flatten)]
    metrics: MetricsArgs,

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

/// The machine's name, as far as it is known, and the process.
fn own_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let told = told.or_else(|| std::env::var("HOSTNAME").ok());
    let machine = told.as_deref().map(str::trim).filter(|name| !name.is_empty());
    format!("{}:{}", machine.unwrap_or("worker"), std::process::id())
}

/// Where the queue is.
enum Place {
    Server(String),
    Database(String),
}

impl Args {
    pub(super) async fn run(self, common: &Common) -> ExitCode {
        common.start_log();
        let stop = Stop::default();
        let signals = tokio::spawn(super::signals::listen(stop.clone(), common.voice()));
        let worked = Box::pin(self.work(common, &stop)).await;
        signals.abort();
        let printed = match worked {
            Ok(report) => report.print(self.json),
            Err(error) => return complain(&error),
        };
        printed.map_or_else(|error| complain(&error), |()| ExitCode::SUCCESS)
    }

    async fn work(&self, common: &Common, stop: &Stop) -> Result<Report, WorkError> {
        // Each running command holds a few descriptors; the usual soft limit is soon reached.
        if let Err(error) = raise_open_files() {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
        let config = common.config()?;
        let handler = Arc::new(self.handler.handler(self.queue.clone(), &config)?);
        let metrics = self.metrics.serve(self.handler.kind(), common.voice()).await?;
        let job = Job { handler, limits: self.limits(&config), metrics };
        match self.place()? {
            Place::Server(url) => {
                let client = self.key.client(&url, config.client)?;
                let client = client.named(&self.name.clone().unwrap_or_else(own_name));
                self.work_on(RemoteSource::new(client, self.queue.clone()), job, stop).await
            }
            Place::Database(url) => {
                let store = open(&url, &config.store).await?;
                let carrying = config.carrying(self.broker_url.clone());
                let sql = SqlBroker::new(store.clone(), config.broker).await?;
                let broker = carrying.open(&store).await?.unwrap_or(AnyBroker::Sql(sql.clone()));
                // Servers keep order too, but there need not be one. Several do not disturb each other.
                let keeper = Keeper::new(sql).and(broker.chore());
                let keeper = AbortOnDropHandle::new(tokio::spawn(keeper.run()));
                let report = self.work_on(broker, job, stop).await;
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
        job: Job,
        stop: &Stop,
    ) -> Result<Report, WorkError> {
        let begun = Instant::now();
        let tally = Arc::new(Tally::default());
        let line = (!self.json).then(|| report::draw(&tally));
        let finished = self.until_empty.then(|| stop.finished.clone());
        let summary = worker::run(
            Arc::new(Watched::new(source, finished)),
            self.queue.clone(),
            job.handler,
            job.limits,
            stop.clone(),
            Arc::new((tally, job.metrics.as_ref().map(|served| Arc::clone(&served.worker)))),
        )
        .await?;
        drop(line);
        let stopped = stop.drain.is_cancelled();
        Ok(Report::new(&self.queue, stopped, &summary, begun.elapsed()))
    }

    fn limits(&self, config: &Config) -> WorkerLimits {
        let limits = &config.worker;
        let said = |said: Option<u32>, limit: usize| match said {
            _ if self.one_by_one => 1,
            Some(said) => said as usize,
            None => limit,
        };
        WorkerLimits {
            concurrency: said(self.concurrency, limits.concurrency),
            batch_size: said(self.batch_size, limits.batch_size),
            rate: self.rate.or(limits.rate),
            timeout: self.timeout.or(limits.timeout),
            drain_grace: self.grace.unwrap_or(limits.drain_grace),
            ..limits.clone()
        }
    }
}

/// What a worker is to do, wherever its queue is.
struct Job {
    handler: Arc<AnyHandler>,
    limits: WorkerLimits,
    metrics: Option<Served>,
}
