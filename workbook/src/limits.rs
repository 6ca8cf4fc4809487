//! Every limit of reading, by name. Nothing is ever sized by what a file claims: a reader counts
//! what it meets and stops with [`ProblemKind::TooLarge`] where a limit is passed.

use serde::{Deserialize, Serialize};

use rowmill_domain::{Problem, ProblemKind, units};

/// The limits of reading one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadLimits {
    /// Bytes that all parts of a container may inflate to.
    #[serde(with = "units::size")]
    pub inflated_bytes: u64,
    /// How many bytes one byte of a part may inflate to, once the part is over `ratio_from_bytes`.
    pub ratio: u64,
    /// The inflated size from which on `ratio` is looked at: small parts compress well.
    #[serde(with = "units::size")]
    pub ratio_from_bytes: u64,
    /// Parts of a container.
    pub parts: usize,
    /// Bytes that the shared strings of a workbook may take.
    #[serde(with = "units::size")]
    pub shared_string_bytes: usize,
    /// Rows that become messages, all sheets together.
    pub rows: u64,
    /// Columns of a sheet; 16,384 is what spreadsheet programs know.
    pub columns: u32,
    /// Bytes of one cell as JSON. A row with a longer one is rejected.
    #[serde(with = "units::size")]
    pub cell_bytes: usize,
    /// Bytes of one row as JSON. A longer one is rejected.
    #[serde(with = "units::size")]
    pub row_bytes: usize,
    /// Findings reported; the rest is counted.
    pub findings: u64,
    /// Bytes that the reader may write.
    #[serde(with = "units::size")]
    pub output_bytes: u64,
    /// Address space of the reader's process.
    #[serde(with = "units::size")]
    pub memory_bytes: u64,
    /// Processor time of the reader's process, in seconds.
    pub cpu_seconds: u64,
    /// How long the reader may say nothing while somebody waits for it, in seconds.
    pub silence_seconds: u64,
    /// Bytes of rows gathered before a frame is written.
    #[serde(with = "units::size")]
    pub frame_bytes: usize,
    /// Readers that run at the same time in one process. The caller holds the semaphore.
    pub readers_at_once: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            inflated_bytes: 4 << 30,
            ratio: 300,
            ratio_from_bytes: 16 << 20,
            parts: 10_000,
            shared_string_bytes: 384 << 20,
            rows: 10_000_000,
            columns: 16_384,
            cell_bytes: 256 << 10,
            row_bytes: 4 << 20,
            findings: 1_000,
            output_bytes: 16 << 30,
            memory_bytes: 1 << 30,
            cpu_seconds: 900,
            silence_seconds: 60,
            frame_bytes: 64 << 10,
            readers_at_once: 4,
        }
    }
}

/// The refusal of a file that passes a limit.
pub(crate) fn too_large(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::TooLarge, detail)
}

/// The refusal of a file that is damaged or says something that cannot be.
pub(crate) fn unreadable(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::Unreadable, detail)
}
