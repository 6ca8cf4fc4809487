//! Why a run could not be: every layer's error, as the command line tells it. Exit code 2.

use std::path::PathBuf;

use super::results::ResultsError;
use super::workbooks::WorkbookError;
use crate::broker::BrokerError;
use crate::cli::metrics::CannotServe;
use crate::config::ConfigFault;
use crate::domain::Problem;
use crate::ingest::IngestError;
use crate::ingest::reader::CannotStart;
use crate::store::StoreError;
use crate::store::log::LogError;
use crate::worker::{HandlerError, WorkerError};

/// Why a run could not be, or could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// The metrics cannot be served.
    #[error(transparent)]
    Metrics(#[from] CannotServe),
    /// The file cannot be read as a spreadsheet; nothing was published.
    #[error("{0}")]
    File(#[from] Problem),
    /// The file is not there, or may not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The handler cannot be used on this file.
    #[error(transparent)]
    Handler(#[from] HandlerError),
    /// An option cannot be understood.
    #[error("{0}")]
    Option(String),
    /// Another process works on this run.
    #[error("another `rowmill run` is at work on {path}", path = .0.display())]
    Busy(PathBuf),
    /// It was stopped before the file was published.
    #[error("stopped before the file was read to its end; the same command goes on from here")]
    Stopped,
    /// Ingestion failed.
    #[error(transparent)]
    Ingest(IngestError),
    /// The reader's process cannot be started.
    #[error(transparent)]
    Reader(#[from] CannotStart),
    /// The worker failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The broker failed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The results could not be written.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// The workbook of results could not be written.
    #[error(transparent)]
    Workbook(#[from] WorkbookError),
}

impl From<LogError> for RunError {
    fn from(error: LogError) -> Self {
        Self::Store(error.into())
    }
}
