//! Why there are no figures.

use crate::broker::BrokerError;
use crate::client::ClientError;
use crate::http::server::ServerError;
use crate::store::StoreError;
use crate::worker::WorkerError;

/// What went wrong while measuring.
#[derive(Debug, thiserror::Error)]
pub(super) enum BenchError {
    /// It was told to stop.
    #[error("stopped before the end")]
    Stopped,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The worker.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A task broke down, which is a defect.
    #[error("a part of the benchmark broke down: {0}")]
    Broken(#[from] tokio::task::JoinError),
    /// A file or a socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The sample workbook.
    #[error("the sample workbook cannot be made: {0}")]
    Sample(#[from] rust_xlsxwriter::XlsxError),
    /// A request.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What came out is not what must come out: the figure would mean nothing.
    #[error("nothing was measured: {0}")]
    Wrong(String),
    /// The figures cannot be written as JSON.
    #[error("the figures cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// The chart.
    #[error("the chart cannot be drawn: {0}")]
    Chart(String),
}
