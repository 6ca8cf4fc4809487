//! The words an intake speaks: what it is told, what it is given, and what comes of a file.

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::corrects::CannotCorrect;
use super::reader::CannotStart;
use super::spool::{LocalFile, Spool, SpoolError};
use super::{IngestLimits, Ingested};
use crate::domain::Problem;
use crate::store::StoreError;
use crate::store::control::{Steering, Upload};
use crate::store::log::TopicId;
use crate::workbook::{Preview, PreviewLimits, ReadLimits, ReadOptions};

/// What an intake is told.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// The program that has `read`: this one.
    pub exe: PathBuf,
    /// Where files lie until their upload is deleted. Servers of one database share it.
    pub spool: Spool,
    /// Limits of reading; `readers_at_once` is this process's.
    pub read: ReadLimits,
    /// How much is told of a file that is only looked at.
    pub look: PreviewLimits,
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
    pub topic: Destination,
    /// Whether workers may begin before it has been read to its end.
    pub stream: bool,
    /// What becomes of a file that was taken before.
    pub repeated: Repeated,
    /// How it is steered, if it is taken: not of one that was taken before.
    pub steering: Steering,
}

/// Where the rows of a file go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To this topic.
    Told(TopicId),
    /// Nothing was said: where those of the upload go that the file corrects, or else here, if there is
    /// such a topic.
    Usual(Option<TopicId>),
}

impl Destination {
    /// The topic of a file that corrects nothing.
    pub fn plain(self) -> Option<TopicId> {
        match self {
            Self::Told(topic) => Some(topic),
            Self::Usual(topic) => topic,
        }
    }
}

impl From<TopicId> for Destination {
    fn from(topic: TopicId) -> Self {
        Self::Told(topic)
    }
}

/// What becomes of a file whose bytes were taken before, for the same topic and to be read the same
/// way, by an upload that was neither withdrawn nor failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repeated {
    /// It is an upload of its own.
    #[default]
    Anew,
    /// It is answered with that upload, as long as that is not deleted.
    First,
}

impl TakeOptions {
    /// What finds the upload again that took a file first; nothing when it is not to be found.
    pub(super) fn key(&self, file: &Spooled) -> Result<Option<String>, serde_json::Error> {
        match self.repeated {
            Repeated::Anew => Ok(None),
            Repeated::First => {
                let options = Sha256::digest(serde_json::to_vec(&self.read)?);
                let options: String = options.iter().map(|byte| format!("{byte:02x}")).collect();
                let topic = self.topic.plain().map_or(0, |topic| topic.0);
                Ok(Some(format!("file:{topic}:{}:{options}", file.content_hash)))
            }
        }
    }
}

/// What a look at a file showed.
#[derive(Debug, Clone)]
pub struct Look {
    /// What it is.
    pub preview: Preview,
    /// How long it took to read.
    pub reading: Duration,
    /// The upload that it corrects.
    pub corrects: Option<Upload>,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotTaken {
    /// Something is wrong with the file.
    #[error("{0}")]
    Refused(Problem),
    /// There is no topic that its rows would go to.
    #[error("there is no topic for the rows")]
    NoTopic,
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

impl From<CannotCorrect> for NotTaken {
    fn from(error: CannotCorrect) -> Self {
        match error {
            CannotCorrect::Refused(problem) => Self::Refused(problem),
            CannotCorrect::Store(error) => Self::Store(error),
        }
    }
}

impl NotTaken {
    /// Which of them it is, in words of ours alone.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Refused(problem) => problem.kind.title(),
            Self::NoTopic => "there is no topic",
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
    /// The same file was taken before; whoever took it sees to it.
    Before,
}

/// A file that was taken.
#[derive(Debug)]
pub struct Taken {
    /// Its upload, as recorded.
    pub upload: Upload,
    /// How far it is.
    pub stage: watch::Receiver<Stage>,
}

impl Taken {
    /// Whether it was not taken before.
    pub fn is_new(&self) -> bool {
        *self.stage.borrow() != Stage::Before
    }
}
