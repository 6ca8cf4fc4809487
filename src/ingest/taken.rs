//! The words an intake speaks: what it is told, what it is given, and what comes of a file.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::reader::CannotStart;
use super::spool::{LocalFile, Spool, SpoolError};
use super::{IngestLimits, Ingested};
use crate::domain::Problem;
use crate::store::StoreError;
use crate::store::control::Upload;
use crate::store::log::TopicId;
use crate::workbook::{ReadLimits, ReadOptions};

/// What an intake is told.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// The program that has `read`: this one.
    pub exe: PathBuf,
    /// Where files lie until their upload is deleted. Servers of one database share it.
    pub spool: Spool,
    /// Limits of reading; `readers_at_once` is this process's.
    pub read: ReadLimits,
    /// Sizes and waits of ingestion.
    pub ingest: IngestLimits,
    /// How long an ingestion stays a server's without being renewed, which is done every third of it.
    pub lease: Duration,
    /// How often to look for uploads whose server died.
    pub claim_every: Duration,
    /// How long a file waits for a free reader before it is told to come again.
    pub reader_wait: Duration,
}

/// A file in the spool, whole and durable.
#[derive(Debug)]
pub struct Spooled {
    /// Its name in the spool.
    pub spool: String,
    /// The name it was sent under.
    pub filename: String,
    /// SHA-256, in hex.
    pub content_hash: String,
    /// Its size.
    pub bytes: u64,
    /// What can be read of it on this machine; `None` if that is still to be asked of the spool.
    pub local: Option<LocalFile>,
}

/// How a file is to be taken in.
#[derive(Debug, Clone)]
pub struct TakeOptions {
    /// How it is read.
    pub read: ReadOptions,
    /// Where its rows go.
    pub topic: TopicId,
    /// Whether workers may begin before it has been read to its end.
    pub stream: bool,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotTaken {
    /// Something is wrong with the file.
    #[error("{0}")]
    Refused(Problem),
    /// Too many files are being read.
    #[error("all readers are busy")]
    Busy,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The reader could not be started.
    #[error(transparent)]
    CannotStart(#[from] CannotStart),
    /// The file cannot be read from the spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NotTaken {
    /// Which of them it is, in words of ours alone.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Refused(problem) => problem.kind.title(),
            Self::Busy => "all readers are busy",
            Self::Stopping => "the server is stopping",
            Self::CannotStart(_) => "the reader could not be started",
            Self::Spool(_) => "the spool failed",
            Self::Store(_) => "the database failed",
        }
    }
}

/// How far an ingestion of this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Under way.
    Running,
    /// It came to its end.
    Ended(Ingested),
    /// It stopped before the end; another attempt will go on from there.
    Stopped(String),
}

/// A file that was taken.
#[derive(Debug)]
pub struct Taken {
    /// Its upload, as recorded.
    pub upload: Upload,
    /// How far it is.
    pub stage: watch::Receiver<Stage>,
}
