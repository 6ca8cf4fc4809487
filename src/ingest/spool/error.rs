//! What can go wrong with a spool.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Why a spool was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CannotSpool {
    /// This build was made without it.
    #[error("this program was built without `s3`: build it with --features s3")]
    NotBuilt,
    /// What the environment says of the bucket cannot be used.
    #[error("the bucket cannot be used: {0}")]
    Settings(String),
}

/// What failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The file has more bytes than it may.
    #[error("the file has more than {limit} bytes")]
    TooLarge {
        /// How many it may have.
        limit: u64,
    },
    /// The disk, or what this process may use of it, is full.
    #[error("the disk is full: {0}")]
    Full(#[source] io::Error),
    /// A file of this machine cannot be written or read.
    #[error("the spool file cannot be written: {0}")]
    Io(#[source] io::Error),
    /// A directory cannot be made.
    #[error("cannot make the spool directory {path}: {source}", path = path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such file in the spool.
    #[error("{name} is not in the spool {place}")]
    Missing {
        /// Its name.
        name: String,
        /// Where it is not.
        place: String,
    },
    /// What is in the spool under the name is not what was put there.
    #[error("{name} is not what was put into the spool: {why}")]
    Damaged {
        /// Its name.
        name: String,
        /// How that is known.
        why: String,
    },
    /// The bucket fails.
    #[error("the bucket fails: {source}")]
    Bucket {
        /// In words that anybody may read.
        why: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SpoolError {
    /// Why, in words that tell nobody where the spool is.
    pub fn why(&self) -> String {
        match self {
            Self::Full(error) | Self::Io(error) | Self::Directory { source: error, .. } => {
                error.kind().to_string()
            }
            Self::TooLarge { .. } => "a file is too large".to_owned(),
            Self::Missing { .. } => "a file is missing".to_owned(),
            Self::Damaged { .. } => "a file is damaged".to_owned(),
            Self::Bucket { why, .. } => (*why).to_owned(),
        }
    }
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Io(error),
        }
    }
}
