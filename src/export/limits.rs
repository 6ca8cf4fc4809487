//! What bounds the writing of results.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// The limits of writing results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportLimits {
    /// Where they lie; inside the spool if it is empty.
    pub directory: PathBuf,
    /// Written at the same time by one process. 2.
    pub at_once: usize,
    /// Waiting for that, at most; more are told to come again. 16.
    pub waiting: usize,
    /// How long a request waits for its file unless it says so. 20 s.
    #[serde(with = "units::time")]
    pub wait: Duration,
    /// The longest that it may say. 30 s.
    #[serde(with = "units::time")]
    pub wait_most: Duration,
    /// How long a file is kept for whoever asks for the same. 10 min.
    #[serde(with = "units::time")]
    pub kept: Duration,
    /// Keys of outputs that get a column of their own, a queue. 100.
    pub columns: usize,
    /// Bytes of a file. 8 GiB.
    #[serde(with = "units::size")]
    pub file_bytes: u64,
    /// Batches whose ends are read from the database at a time. 20: some ten thousand rows.
    pub batches: u32,
}

impl Default for ExportLimits {
    fn default() -> Self {
        Self {
            directory: PathBuf::new(),
            at_once: 2,
            waiting: 16,
            wait: Duration::from_secs(20),
            wait_most: Duration::from_secs(30),
            kept: Duration::from_secs(600),
            columns: 100,
            file_bytes: 8 << 30,
            batches: 20,
        }
    }
}
