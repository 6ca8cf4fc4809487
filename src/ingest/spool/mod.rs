//! Where uploaded files lie until their upload is deleted: a directory, or a bucket of S3 that
//! several servers reach. A name in the spool is recorded with its upload, so that any server can
//! carry on an ingestion that another began.
//!
//! | | a directory (`directory`) | a bucket (`bucket`) |
//! | --- | --- | --- |
//! | received into | `NAME.part` beside the whole ones | a working file here, and from there into parts of an object |
//! | whole | renamed, the directory flushed | the object completed |
//! | read from | the file itself | the working file, or one that the object is fetched into |
//! | left by a crash | `.part` files | working files that nobody holds, objects that were never completed |
//!
//! The directory is not the `LocalFileSystem` of object_store, although that can flush: with files
//! of our own the default build has no client of any store, a full disk stays an error of its own
//! (507), and a file is hashed and counted in the same step that writes it.

#[cfg(feature = "s3")]
mod bucket;
mod directory;
mod error;
mod limits;
mod local;
mod place;
mod writing;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use error::{CannotSpool, SpoolError};
pub use limits::{PART_LEAST, PARTS_MOST, S3Limits};
pub use local::LocalFile;
pub use place::{BadPlace, Place};

use super::taken::Spooled;
#[cfg(feature = "s3")]
use bucket::{Bucket, Outgoing};

/// A spool. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Spool {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Directory(Arc<Path>),
    #[cfg(feature = "s3")]
    Bucket(Arc<Bucket>),
}

impl Spool {
    /// The spool at a place. Nothing is asked of it yet. Of the environment, a bucket takes what the
    /// AWS tools take: `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` and so on.
    ///
    /// Must be called within a runtime, which then tidies up what is given up.
    ///
    /// # Errors
    /// [`CannotSpool`].
    #[cfg_attr(not(feature = "s3"), allow(unused_variables, reason = "a directory needs neither"))]
    pub fn open(
        place: &Place,
        limits: &S3Limits,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, CannotSpool> {
        match place {
            Place::Directory(path) => Ok(Self::directory(path)),
            #[cfg(feature = "s3")]
            Place::S3 { bucket, prefix } => {
                let bucket = Bucket::open(bucket, prefix, limits, environment)?;
                Ok(Self { kind: Kind::Bucket(Arc::new(bucket)) })
            }
            #[cfg(not(feature = "s3"))]
            Place::S3 { .. } => Err(CannotSpool::NotBuilt),
        }
    }

    /// The spool in a directory.
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self { kind: Kind::Directory(path.into().into()) }
    }

    /// Where it is, for the log.
    pub fn place(&self) -> String {
        match &self.kind {
            Kind::Directory(path) => path.display().to_string(),
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket.place().to_owned(),
        }
    }

    /// A directory of this machine for files that belong to what is in the spool.
    pub fn directory_here(&self) -> &Path {
        match &self.kind {
            Kind::Directory(path) => path,
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket.directory_here(),
        }
    }

    /// Makes it ready: directories that are missing are made, a bucket is written to.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub async fn prepare(&self) -> Result<(), SpoolError> {
        match &self.kind {
            Kind::Directory(path) => directory::make(path).await,
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket.prepare().await,
        }
    }

    /// Begins a file of up to `limit` bytes.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub async fn create(&self, limit: u64) -> Result<SpoolFile, SpoolError> {
        Ok(SpoolFile(match &self.kind {
            Kind::Directory(path) => {
                Receiving::Part(Box::new(directory::Part::create(path, limit).await?))
            }
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => {
                Receiving::Outgoing(Box::new(Outgoing::create(bucket, limit).await?))
            }
        }))
    }

    /// A file of this machine with what is in the spool under a name: the file itself, or a copy of
    /// so many `bytes` with this SHA-256 in hex, fetched now and gone with the answer.
    ///
    /// # Errors
    /// [`SpoolError::Missing`]; [`SpoolError::Damaged`] if it is not what was put there.
    #[cfg_attr(not(feature = "s3"), allow(unused_variables, reason = "a directory fetches none"))]
    pub async fn local(&self, name: &str, bytes: u64, hash: &str) -> Result<LocalFile, SpoolError> {
        match &self.kind {
            Kind::Directory(path) => directory::find(path, name).await,
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket.fetch(name, bytes, hash).await,
        }
    }

    /// Removes a file. One that is not there is no error.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub async fn remove(&self, name: &str) -> Result<(), SpoolError> {
        match &self.kind {
            Kind::Directory(path) => directory::remove(path, name).await,
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket.remove(name).await,
        }
    }

    /// Removes a file that nobody was told of, by somebody who cannot wait: at once, or soon.
    pub fn discard(&self, name: &str) {
        match &self.kind {
            Kind::Directory(path) => directory::discard(path, name),
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket.discard(name),
        }
    }

    /// Whether files can be written to it: one is, and removed again. What was found of a bucket is
    /// good for [`S3Limits::probed`], because each look costs requests and anybody may ask.
    ///
    /// # Errors
    /// Whatever keeps it from being written.
    pub async fn probe(&self) -> Result<(), SpoolError> {
        match &self.kind {
            Kind::Directory(path) => directory::probe(path).await,
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket.probe().await,
        }
    }

    /// Removes what processes that died had not finished. Other servers may be receiving into the
    /// same spool: in a directory, `age` is how long nobody has written to a file, and has to be
    /// longer than a client may be silent; in a bucket, [`S3Limits::unfinished`] says how old an
    /// object that was never completed has to be. Answers how many there were.
    ///
    /// # Errors
    /// If it cannot be looked for. What cannot be removed is passed over.
    pub async fn sweep(&self, age: Duration) -> Result<usize, SpoolError> {
        match &self.kind {
            Kind::Directory(path) => directory::sweep(path, age).await,
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket.sweep().await,
        }
    }

    /// Waits until what was given up or discarded is tidied up.
    pub async fn settled(&self) {
        match &self.kind {
            Kind::Directory(_) => {}
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket.settled().await,
        }
    }
}

/// A file being received. Dropped before [`finish`](Self::finish) has answered, it leaves nothing.
#[derive(Debug)]
pub struct SpoolFile(Receiving);

#[derive(Debug)]
enum Receiving {
    Part(Box<directory::Part>),
    #[cfg(feature = "s3")]
    Outgoing(Box<Outgoing>),
}

impl SpoolFile {
    /// How many bytes it has got so far.
    pub fn bytes(&self) -> u64 {
        match &self.0 {
            Receiving::Part(part) => part.bytes(),
            #[cfg(feature = "s3")]
            Receiving::Outgoing(outgoing) => outgoing.bytes(),
        }
    }

    /// Adds a piece.
    ///
    /// Cancellation safety: a file of which a write was given up can only be dropped.
    ///
    /// # Errors
    /// [`SpoolError`]; the file can only be dropped then.
    pub async fn write(&mut self, piece: &Bytes) -> Result<(), SpoolError> {
        match &mut self.0 {
            Receiving::Part(part) => part.write(piece).await,
            #[cfg(feature = "s3")]
            Receiving::Outgoing(outgoing) => outgoing.write(piece).await,
        }
    }

    /// Makes the file whole under its name, durably.
    ///
    /// Cancellation safety: given up, it leaves nothing.
    ///
    /// # Errors
    /// [`SpoolError`]; nothing is left of the file then.
    pub async fn finish(self, filename: String) -> Result<Spooled, SpoolError> {
        match self.0 {
            Receiving::Part(part) => part.finish(filename).await,
            #[cfg(feature = "s3")]
            Receiving::Outgoing(outgoing) => outgoing.finish(filename).await,
        }
    }
}
