//! Why a producer could not go on: every layer's error, as the command line tells it. Exit code 2.

use std::path::PathBuf;

use crate::client::ClientError;
use crate::domain::Problem;
use crate::ingest::reader::CannotStart;

/// Why not every row could be published.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProduceError {
    /// The file cannot be read as a spreadsheet. What came before the fault is published.
    #[error("{0}")]
    File(#[from] Problem),
    /// The reader ended without a word.
    #[error("the reader ended before the file did")]
    Cut,
    /// The file is not there, or may not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The reader's process cannot be started.
    #[error(transparent)]
    Reader(#[from] CannotStart),
    /// The server refused, or could not be spoken to for too long.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A row or the options have no JSON form.
    #[error("what the reader said is not JSON: {0}")]
    Words(#[from] serde_json::Error),
}
