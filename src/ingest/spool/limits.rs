//! Waits and sizes of a spool in S3. A directory needs none.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{RetryPolicy, units};

/// The least that a part of an object may have unless it is the last, says S3.
pub const PART_LEAST: usize = 5 << 20;
/// Parts of an object at most, says S3.
pub const PARTS_MOST: u64 = 10_000;

/// Waits and sizes of a spool in S3.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Limits {
    /// Where files lie on this machine while they are received and read. `rowmill-work`.
    pub work: PathBuf,
    /// Bytes that one request sends or fetches: 5 MiB at least, and a ten-thousandth of the largest
    /// file. 8 MiB.
    #[serde(with = "units::size")]
    pub part_bytes: usize,
    /// Such requests at once, of the whole process; each holds its bytes in memory. 8.
    pub requests_at_once: usize,
    /// How long a connection may take to be made. 5 s.
    #[serde(with = "units::time")]
    pub connect: Duration,
    /// How long one request may take, its bytes included. 30 s.
    #[serde(with = "units::time")]
    pub answer: Duration,
    /// How long a request is made again while the bucket does not answer: several times `answer`,
    /// because a try may hang so long (hyper loses one now and then: hyperium/hyper#4122). A request
    /// is signed once for all its tries, and 5 minutes is the most that a signature is good for. 90 s.
    #[serde(with = "units::time")]
    pub patience: Duration,
    /// The waits between tries.
    pub again: RetryPolicy,
    /// For how long it is believed that the bucket can be written to. 10 s.
    #[serde(with = "units::time")]
    pub probed: Duration,
    /// How old an object that was never completed is before it is taken for one that a crash left:
    /// longer than the slowest client takes to send a file. 1 day.
    #[serde(with = "units::time")]
    pub unfinished: Duration,
}

impl Default for S3Limits {
    fn default() -> Self {
        Self {
            work: "rowmill-work".into(),
            part_bytes: 8 << 20,
            requests_at_once: 8,
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            patience: Duration::from_secs(90),
            again: RetryPolicy {
                first: Duration::from_millis(100),
                factor: 2.0,
                most: Duration::from_secs(5),
            },
            probed: Duration::from_secs(10),
            unfinished: Duration::from_secs(24 * 60 * 60),
        }
    }
}
