//! Writing a file while it comes: counted, hashed, limited, a buffer at a time.
//!
//! Nothing here holds more of a file than one buffer. Writing and hashing happen on the blocking
//! pool, so that neither a slow disk nor a stream of tiny chunks costs the runtime's threads
//! anything.

use std::fs::{DirEntry, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::SpoolError;

/// What is gathered before it is written.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// A file being written.
#[derive(Debug)]
pub(super) struct Writing {
    /// `None` while a step is under way, and for good when one was given up or failed.
    sink: Option<Sink>,
    buffer: Vec<u8>,
    bytes: u64,
    limit: u64,
}

#[derive(Debug)]
pub(super) struct Sink {
    pub(super) file: File,
    hash: Sha256,
}

impl Writing {
    /// Writes to a file, up to `limit` bytes.
    pub(super) fn new(file: File, limit: u64) -> Self {
        let sink = Some(Sink { file, hash: Sha256::new() });
        Self { sink, buffer: vec![], bytes: 0, limit }
    }

    /// How many bytes came so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many of them are in the file.
    #[cfg(feature = "s3")]
    pub(super) fn written(&self) -> u64 {
        self.bytes - self.buffer.len() as u64
    }

    /// Adds a piece.
    ///
    /// Cancellation safety: after a write that was given up, all that is asked fails.
    ///
    /// # Errors
    /// [`SpoolError`]; what is asked then fails too.
    pub(super) async fn write(&mut self, piece: &Bytes) -> Result<(), SpoolError> {
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

    /// Writes what is gathered, then does `then`.
    ///
    /// # Errors
    /// As [`write`](Self::write), and what `then` answers.
    pub(super) async fn step<T: Send + 'static>(
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

    /// The SHA-256 of what was written, in hex.
    pub(super) fn hash(self) -> String {
        let hash = self.sink.map(|sink| sink.hash.finalize()).unwrap_or_default();
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Does what may wait for a disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// How many of a directory's entries `removed` has removed, given each with its name. A directory that
/// is not there has none.
pub(super) fn remove_where(
    directory: &Path,
    removed: impl Fn(&DirEntry, &str) -> bool,
) -> io::Result<usize> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut count = 0;
    for entry in entries {
        let entry = entry?;
        count += usize::from(entry.file_name().to_str().is_some_and(|name| removed(&entry, name)));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_an_error_of_its_own() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut writing = Writing::new(full, 1 << 30);
        let refused = writing.write(&vec![0; BUFFER_BYTES].into()).await;
        assert!(matches!(refused, Err(SpoolError::Full(_))), "{refused:?}");
        assert!(writing.write(&vec![0; BUFFER_BYTES].into()).await.is_err(), "it went on");
    }
}
