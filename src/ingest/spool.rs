//! Files being received: each is written beside the others in the spool directory under a name of
//! its own that ends in `.part`, and loses that ending only when it is whole and on the disk. What
//! a crash leaves are `.part` files that nobody writes to any more; [`sweep`] removes them.
//!
//! Nothing here holds more of a file than one buffer. Writing and hashing happen on the blocking
//! pool, a buffer at a time, so that neither a slow disk nor a stream of tiny chunks costs the
//! runtime's threads anything.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::taken::Spooled;

/// What is gathered before it is written.
const BUFFER_BYTES: usize = 256 << 10;
/// How the name of a file ends that is not whole.
const PART: &str = ".part";

/// Why a file could not be received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// It has more bytes than it may.
    #[error("the file has more than {limit} bytes")]
    TooLarge {
        /// How many it may have.
        limit: u64,
    },
    /// The disk, or what this process may use of it, is full.
    #[error("the disk is full: {0}")]
    Full(#[source] io::Error),
    /// The file cannot be written.
    #[error("the spool file cannot be written: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Io(error),
        }
    }
}

/// A file being received. Dropped before [`finish`](Self::finish) has answered, it is removed.
#[derive(Debug)]
pub struct SpoolFile {
    directory: PathBuf,
    name: String,
    /// `None` while a step is under way, and for good when one was given up or failed.
    sink: Option<Sink>,
    buffer: Vec<u8>,
    bytes: u64,
    limit: u64,
    finished: bool,
}

#[derive(Debug)]
struct Sink {
    file: File,
    hash: Sha256,
}

impl SpoolFile {
    /// Begins a file of up to `limit` bytes in a directory, which is made if it is missing.
    ///
    /// # Errors
    /// [`SpoolError::Full`], [`SpoolError::Io`].
    pub async fn create(directory: &Path, limit: u64) -> Result<Self, SpoolError> {
        let directory = directory.to_owned();
        let name = Uuid::new_v4().simple().to_string();
        let spool = blocking(move || {
            let path = directory.join(format!("{name}{PART}"));
            let file = match File::create_new(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    std::fs::create_dir_all(&directory)?;
                    File::create_new(&path)?
                }
                file => file?,
            };
            let sink = Some(Sink { file, hash: Sha256::new() });
            // Made here, so that a caller who is gone by now leaves no file behind.
            Ok(Self { directory, name, sink, buffer: vec![], bytes: 0, limit, finished: false })
        });
        Ok(spool.await?)
    }

    /// How many bytes it has got so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a piece.
    ///
    /// Cancellation safety: a file of which a write was given up can only be dropped.
    ///
    /// # Errors
    /// [`SpoolError`]; the file can only be dropped then.
    pub async fn write(&mut self, piece: &Bytes) -> Result<(), SpoolError> {
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        if self.bytes > self.limit {
            return Err(SpoolError::TooLarge { limit: self.limit });
        }
        let mut rest = &piece[..];
        while !rest.is_empty() {
            if self.buffer.capacity() == 0 {
                self.buffer.reserve_exact(BUFFER_BYTES);
            }
            let (now, later) = rest.split_at(rest.len().min(BUFFER_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            rest = later;
            if self.buffer.len() == BUFFER_BYTES {
                self.step(|_| Ok(())).await?;
            }
        }
        Ok(())
    }

    /// Makes the file whole: flushes it to the disk and gives it its name, durably.
    ///
    /// # Errors
    /// [`SpoolError`]; the file is removed then.
    pub async fn finish(mut self, filename: String) -> Result<Spooled, SpoolError> {
        let (part, whole) = (self.part(), self.directory.join(&self.name));
        let directory = self.directory.clone();
        let mut unclaimed = self
            .step(move |sink| {
                sink.file.sync_all()?;
                std::fs::rename(&part, &whole)?;
                // Removed again unless the directory is on the disk too and somebody still waits.
                let unclaimed = Unclaimed(Some(whole));
                File::open(&directory)?.sync_all()?;
                Ok(unclaimed)
            })
            .await?;
        unclaimed.0 = None;
        let hash = self.sink.take().map(|sink| sink.hash.finalize()).unwrap_or_default();
        self.finished = true;
        Ok(Spooled {
            spool: std::mem::take(&mut self.name),
            filename,
            content_hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            bytes: self.bytes,
        })
    }

    /// Writes what is gathered, then does `then`.
    async fn step<T: Send + 'static>(
        &mut self,
        then: impl FnOnce(&mut Sink) -> io::Result<T> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let Some(mut sink) = self.sink.take() else {
            return Err(SpoolError::Io(io::Error::other("an earlier write failed")));
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let (sink, buffer, answer) = blocking(move || {
            sink.hash.update(&buffer);
            sink.file.write_all(&buffer)?;
            buffer.clear();
            let answer = then(&mut sink)?;
            Ok((sink, buffer, answer))
        })
        .await?;
        (self.sink, self.buffer) = (Some(sink), buffer);
        Ok(answer)
    }

    fn part(&self) -> PathBuf {
        self.directory.join(format!("{}{PART}", self.name))
    }
}

/// A whole file that goes when this goes: nobody has been told of it.
struct Unclaimed(Option<PathBuf>);

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if !self.finished {
            // A name removed is a matter of microseconds, and there may be no runtime to ask. Should
            // it fail, the sweep finds it.
            let _ = std::fs::remove_file(self.part());
        }
    }
}

/// Removes a file from the spool. One that is not there is no error.
///
/// # Errors
/// Whatever kept it from being removed.
pub async fn remove(directory: &Path, name: &str) -> io::Result<()> {
    let path = directory.join(name);
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the unfinished files that nobody has written to for `age`: those of processes that died.
/// Other servers may be receiving into the same directory, so `age` has to be longer than a client
/// may be silent. Answers how many there were.
///
/// # Errors
/// If the directory cannot be read. What cannot be removed is passed over.
pub async fn sweep(directory: &Path, age: Duration) -> io::Result<usize> {
    let directory = directory.to_owned();
    blocking(move || {
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        let mut removed = 0;
        for entry in entries {
            let entry = entry?;
            let is_part = entry.file_name().to_str().is_some_and(|name| name.ends_with(PART));
            if is_part && is_older(&entry, age) && std::fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    })
    .await
}

/// Whether files can be written to the spool: one is, and removed again.
///
/// # Errors
/// Whatever keeps it from being written, as that there is no such directory.
pub async fn probe(directory: &Path) -> io::Result<()> {
    // Should this process die in between, the sweep finds it.
    let path = directory.join(format!("{}{PART}", Uuid::new_v4().simple()));
    blocking(move || {
        let written = File::create_new(&path).and_then(|mut file| file.write_all(b"?"));
        // What was not made cannot be removed, and its error is the one to be told.
        let removed = std::fs::remove_file(&path);
        written.and(removed)
    })
    .await
}

fn is_older(entry: &std::fs::DirEntry, age: Duration) -> bool {
    let written = entry.metadata().and_then(|meta| meta.modified());
    written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|since| since >= age))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_file_is_counted_hashed_and_whole_under_its_name() {
        let home = tempfile::tempdir().unwrap();
        let spool = home.path().join("made/for/it");
        let mut file = SpoolFile::create(&spool, 1 << 30).await.unwrap();
        assert!(names(&spool)[0].ends_with(PART));
        // Pieces on both sides of the buffer's edge, and one of several buffers.
        let mut sent = vec![];
        for size in [1, BUFFER_BYTES - 1, 0, 7, 3 * BUFFER_BYTES, 5] {
            let piece: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            sent.extend_from_slice(&piece);
            file.write(&piece.into()).await.unwrap();
        }
        let done = file.finish("a.xlsx".into()).await.unwrap();
        assert_eq!((done.bytes, done.filename.as_str()), (sent.len() as u64, "a.xlsx"));
        assert_eq!(names(&spool), [done.spool.as_str()]);
        assert!(std::fs::read(spool.join(&done.spool)).unwrap() == sent, "other bytes");
        let hash: String = Sha256::digest(&sent).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(done.content_hash, hash);
        remove(&spool, &done.spool).await.unwrap();
        remove(&spool, &done.spool).await.unwrap();
        assert!(names(&spool).is_empty());
    }

    #[tokio::test]
    async fn an_empty_file_is_a_file() {
        let home = tempfile::tempdir().unwrap();
        let file = SpoolFile::create(home.path(), 0).await.unwrap();
        let done = file.finish("empty.csv".into()).await.unwrap();
        assert_eq!(done.bytes, 0);
        assert!(done.content_hash.starts_with("e3b0c442"), "{}", done.content_hash);
    }

    #[tokio::test]
    async fn a_file_over_its_limit_is_refused_at_the_first_byte_too_many() {
        let home = tempfile::tempdir().unwrap();
        let mut file = SpoolFile::create(home.path(), 4).await.unwrap();
        file.write(&Bytes::from_static(b"1234")).await.unwrap();
        let refused = file.write(&Bytes::from_static(b"5")).await;
        assert!(matches!(refused, Err(SpoolError::TooLarge { limit: 4 })), "{refused:?}");
        drop(file);
        assert!(names(home.path()).is_empty(), "it was left behind");
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error_of_its_own() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut file = SpoolFile::create(home.path(), 1 << 30).await.unwrap();
        if let Some(sink) = &mut file.sink {
            sink.file = full;
        }
        let refused = file.write(&vec![0; BUFFER_BYTES].into()).await;
        assert!(matches!(refused, Err(SpoolError::Full(_))), "{refused:?}");
        assert!(file.write(&vec![0; BUFFER_BYTES].into()).await.is_err(), "it went on");
        drop(file);
        assert!(names(home.path()).is_empty(), "it was left behind");
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_is_told() {
        let home = tempfile::NamedTempFile::new().unwrap();
        let refused = SpoolFile::create(&home.path().join("below"), 1).await;
        assert!(matches!(refused, Err(SpoolError::Io(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn the_sweep_removes_what_nobody_writes_to() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(sweep(&home.path().join("none"), Duration::ZERO).await.unwrap(), 0);
        for name in ["old.part", "new.part", "whole"] {
            std::fs::write(home.path().join(name), "x").unwrap();
        }
        let hours = Duration::from_secs(7_200);
        for name in ["old.part", "whole"] {
            let file = File::options().write(true).open(home.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - hours).unwrap();
        }
        assert_eq!(sweep(home.path(), hours / 2).await.unwrap(), 1);
        let mut left = names(home.path());
        left.sort();
        assert_eq!(left, ["new.part", "whole"]);
    }
}
