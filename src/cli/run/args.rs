//! What can be said to `rowmill run`.

use std::path::PathBuf;
use std::time::Duration;

use super::error::RunError;
use crate::cli::handler::HandlerArgs;
use crate::cli::metrics::{CannotServe, MetricsArgs, Served};
use crate::cli::read_limits::read_limits;
use crate::config::Config;
use crate::domain::{QueueName, RetryPolicy};
use crate::telemetry::LogFormat;
use crate::workbook::rules::TextDates;
use crate::workbook::{
    CorrectionChoice, CsvOptions, HeaderRow, ReadLimits, ReadOptions, SheetChoice,
};
use crate::worker::{AnyHandler, HandlerError, Rate, WorkerLimits};

/// Process a spreadsheet's rows on this machine, without a server.
///
/// Every row becomes a message in a small database beside the file (FILE.rowmill.db). The handler
/// runs on many messages at once; failures are tried again; what became of each row is written to
/// FILE.results.csv and, beside the values as they stand in the file, to FILE.results.xlsx; rows that
/// were rejected or are dead to FILE.failures.xlsx.
///
/// Stopped half-way (Ctrl-C, a crash, a power cut) and started again with the same file, it goes on
/// where it was: rows that were done are not run again. Started again after the end it says so.
#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The spreadsheet: xlsx, xlsm, xlsb, xls, ods, csv or tsv
    #[arg(env = "ROWMILL_FILE")]
    pub(super) file: PathBuf,

    #[command(flatten)]
    handler: HandlerArgs,

    /// Rows processed at the same time. 16 unless told
    #[arg(long, value_name = "N", env = "ROWMILL_CONCURRENCY", value_parser = count(100_000))]
    concurrency: Option<u32>,

    /// Messages fetched at once, at most. 100 unless told
    #[arg(long, value_name = "N", env = "ROWMILL_BATCH_SIZE", value_parser = count(1_000))]
    batch_size: Option<u32>,

    /// How often a failed row is tried again before it is dead. 4 times unless told
    #[arg(long, value_name = "N", env = "ROWMILL_RETRIES", value_parser = clap::value_parser!(u16).range(0..=999))]
    retries: Option<u16>,

    /// The wait before the first retry; it doubles with each further one. 1s unless told
    #[arg(long, value_name = "TIME", env = "ROWMILL_RETRY_DELAY", value_parser = humantime::parse_duration)]
    retry_delay: Option<Duration>,

    /// How long one row may take; then its command, with all that it started, is ended. 10m unless
    /// told
    #[arg(long, value_name = "TIME", env = "ROWMILL_TIMEOUT", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,

    /// Rows started a second, at most; fractions are fine
    #[arg(long, value_name = "N", env = "ROWMILL_RATE")]
    rate: Option<Rate>,

    /// How long running rows may take to end after the first Ctrl-C. 30s unless told
    #[arg(long, value_name = "TIME", env = "ROWMILL_GRACE", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,

    #[command(flatten)]
    metrics: MetricsArgs,

    /// Which sheet: a name, #2 for the second, or all. The first visible one unless told
    #[arg(long, value_name = "SHEET", env = "ROWMILL_SHEET")]
    sheet: Option<SheetChoice>,

    /// Which row names the columns, counted from 1. The first that is not empty unless told
    #[arg(long, value_name = "ROW", env = "ROWMILL_HEADER_ROW")]
    header_row: Option<HeaderRow>,

    /// csv: what stands between two fields. Found out unless told
    #[arg(long, value_name = "CHAR", env = "ROWMILL_DELIMITER")]
    delimiter: Option<char>,

    /// csv: what encloses a field
    #[arg(long, value_name = "CHAR", env = "ROWMILL_QUOTE")]
    quote: Option<char>,

    /// csv: the encoding, such as utf-8, windows-1252 or shift_jis. Found out unless told
    #[arg(long, value_name = "NAME", env = "ROWMILL_ENCODING")]
    encoding: Option<String>,

    /// Make dates of those that are written as text: dmy for 31/12/2026, mdy for 12/31/2026, auto for
    /// the order that each column gives away. Text unless told
    #[arg(long, value_name = "ORDER", env = "ROWMILL_DATES")]
    dates: Option<TextDates>,

    /// What it means that the file is a table of failures (FILE.failures.xlsx): found, it corrects its
    /// run, and only its rows run; off, it is a file like any other. Found unless told
    #[arg(long, value_name = "WHAT", env = "ROWMILL_CORRECTION")]
    correction: Option<CorrectionChoice>,

    /// A limit of reading, such as rows=100000 or memory_bytes=2000000000; may be repeated
    #[arg(long, value_name = "NAME=N", env = "ROWMILL_READ_LIMIT", value_delimiter = ',')]
    read_limit: Vec<String>,

    /// Run the whole file again, as if it had never been run
    #[arg(long, env = "ROWMILL_AGAIN", conflicts_with = "retry_dead")]
    pub(super) again: bool,

    /// Run only the rows that are dead again
    #[arg(long, env = "ROWMILL_RETRY_DEAD")]
    pub(super) retry_dead: bool,

    /// Where the results go. FILE.results.csv unless told
    #[arg(long, value_name = "PATH", env = "ROWMILL_RESULTS")]
    pub(super) results: Option<PathBuf>,

    /// Write FILE.results.csv alone, no workbooks
    #[arg(long, env = "ROWMILL_ONLY_CSV")]
    pub(super) only_csv: bool,

    /// The database: postgres://… or sqlite:PATH. FILE.rowmill.db unless told; DATABASE_URL is
    /// looked at too
    #[arg(long, value_name = "URL", env = "ROWMILL_DATABASE_URL")]
    pub(super) database_url: Option<String>,

    /// Print the summary as JSON on stdout, and no progress bars
    #[arg(long, env = "ROWMILL_JSON")]
    pub(super) json: bool,
}

const USAGE: &str = "\
rowmill run FILE [OPTIONS] --exec COMMAND [ARGUMENT]...
       rowmill run FILE [OPTIONS] --http URL
       rowmill run FILE [OPTIONS] --sleep TIME";

const EXAMPLES: &str = "\
Examples:
  rowmill run orders.xlsx --exec ./charge.sh {id} {amount}
  rowmill run people.csv --concurrency 50 --retries 2 --timeout 30s --exec python3 greet.py --name={name}
  rowmill run prices.xlsx --sheet 'May 2026' --header-row 3 --rate 10 --exec ./update.sh {sku}
  rowmill run leads.csv --concurrency 20 --http https://crm.example/leads
  rowmill run orders.xlsx --retry-dead --exec ./charge.sh {id} {amount}

Exit code: 0 all rows are done; 1 some are dead or were rejected; 2 it could not run;
130 it was stopped before the end (the same command goes on).";

fn count(most: i64) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=most)
}

impl Args {
    /// How the file is to be read.
    pub(super) fn read_options(&self) -> ReadOptions {
        ReadOptions {
            sheet: self.sheet.clone().unwrap_or_default(),
            header_row: self.header_row.unwrap_or_default(),
            csv: CsvOptions {
                delimiter: self.delimiter,
                quote: self.quote,
                encoding: self.encoding.clone(),
            },
            dates: self.dates.clone().unwrap_or_default(),
            correction: self.correction.clone().unwrap_or_default(),
            ..ReadOptions::default()
        }
    }

    /// The same as JSON: a part of what makes two runs the same.
    pub(super) fn options_json(&self) -> Result<String, RunError> {
        serde_json::to_string(&self.read_options())
            .map_err(|error| RunError::Option(error.to_string()))
    }

    /// The limits of reading, with those that were said on the command line.
    pub(super) fn read_limits(&self, config: &Config) -> Result<ReadLimits, RunError> {
        read_limits(&config.read, &self.read_limit)
            .map_err(|error| RunError::Option(error.to_string()))
    }

    /// The handler, for messages of `queue`.
    pub(super) fn handler(
        &self,
        queue: QueueName,
        config: &Config,
    ) -> Result<AnyHandler, HandlerError> {
        self.handler.handler(queue, config)
    }

    /// The numbers of the worker, served if that was asked for.
    pub(super) async fn serve_metrics(
        &self,
        voice: LogFormat,
    ) -> Result<Option<Served>, CannotServe> {
        self.metrics.serve(self.handler.kind(), voice).await
    }

    /// How often a row may be delivered.
    pub(super) fn deliveries(&self, config: &Config) -> u16 {
        self.retries.unwrap_or(config.run.retries).saturating_add(1)
    }

    /// When a failed row comes again.
    pub(super) fn retry(&self, config: &Config) -> RetryPolicy {
        let first = self.retry_delay.unwrap_or(config.run.retry_delay);
        RetryPolicy { first, ..RetryPolicy::default() }
    }

    /// The worker's limits.
    pub(super) fn worker_limits(&self, config: &Config) -> WorkerLimits {
        let (limits, run) = (&config.worker, &config.run);
        let said = |said: Option<u32>, limit| said.map_or(limit, |said| said as usize);
        WorkerLimits {
            concurrency: said(self.concurrency, run.concurrency),
            batch_size: said(self.batch_size, run.batch_size),
            rate: self.rate.or(limits.rate),
            timeout: self.timeout.or(limits.timeout),
            drain_grace: self.grace.unwrap_or(limits.drain_grace),
            ..limits.clone()
        }
    }
}
