//! A spool in a directory: each file is written beside the others under a name of its own that ends
//! in `.part`, and loses that ending only when it is whole and on the disk. What a crash leaves are
//! `.part` files that nobody writes to any more; [`sweep`] removes them.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use super::writing::{Writing, blocking, remove_where};
use super::{LocalFile, SpoolError};
use crate::ingest::taken::Spooled;

/// How the name of a file ends that is not whole.
const PART: &str = ".part";

/// A file being received. Dropped before [`finish`](Self::finish) has answered, it is removed.
#[derive(Debug)]
pub(super) struct Part {
    directory: PathBuf,
    name: String,
    writing: Option<Writing>,
}

impl Part {
    /// Begins a file of up to `limit` bytes in a directory, which is made if it is missing.
    ///
    /// # Errors
    /// [`SpoolError::Full`], [`SpoolError::Io`].
    pub(super) async fn create(directory: &Path, limit: u64) -> Result<Self, SpoolError> {
        let directory = directory.to_owned();
        let name = Uuid::new_v4().simple().to_string();
        let part = blocking(move || {
            let path = directory.join(format!("{name}{PART}"));
            let file = match File::create_new(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    std::fs::create_dir_all(&directory)?;
                    File::create_new(&path)?
                }
                file => file?,
            };
            // Made here, so that a caller who is gone by now leaves no file behind.
            Ok(Self { directory, name, writing: Some(Writing::new(file, limit)) })
        });
        Ok(part.await?)
    }

    /// How many bytes it has got so far.
    pub(super) fn bytes(&self) -> u64 {
        self.writing.as_ref().map_or(0, Writing::bytes)
    }

    /// Adds a piece.
    pub(super) async fn write(&mut self, piece: &Bytes) -> Result<(), SpoolError> {
        match &mut self.writing {
            Some(writing) => writing.write(piece).await,
            None => Ok(()),
        }
    }

    /// Makes the file whole: flushes it to the disk and gives it its name, durably.
    pub(super) async fn finish(mut self, filename: String) -> Result<Spooled, SpoolError> {
        let (part, whole) = (self.part(), self.directory.join(&self.name));
        let (directory, path) = (self.directory.clone(), whole.clone());
        let Some(writing) = &mut self.writing else {
            return Err(SpoolError::Io(io::Error::other("it is whole already")));
        };
        let mut unclaimed = writing
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
        let bytes = writing.bytes();
        let content_hash = self.writing.take().map(Writing::hash).unwrap_or_default();
        let spool = std::mem::take(&mut self.name);
        Ok(Spooled { spool, filename, content_hash, bytes, local: Some(LocalFile::kept(path)) })
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

impl Drop for Part {
    fn drop(&mut self) {
        if self.writing.is_some() {
            // A name removed is a matter of microseconds, and there may be no runtime to ask. Should
            // it fail, the sweep finds it.
            let _ = std::fs::remove_file(self.part());
        }
    }
}

/// Makes the directory.
pub(super) async fn make(directory: &Path) -> Result<(), SpoolError> {
    let made = tokio::fs::create_dir_all(directory).await;
    made.map_err(|source| SpoolError::Directory { path: directory.to_owned(), source })
}

/// Where a file is.
pub(super) async fn find(directory: &Path, name: &str) -> Result<LocalFile, SpoolError> {
    let path = directory.join(name);
    match tokio::fs::metadata(&path).await {
        Ok(_) => Ok(LocalFile::kept(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let place = directory.display().to_string();
            Err(SpoolError::Missing { name: name.to_owned(), place })
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes a file. One that is not there is no error.
pub(super) async fn remove(directory: &Path, name: &str) -> Result<(), SpoolError> {
    match tokio::fs::remove_file(directory.join(name)).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Removes a file at once.
pub(super) fn discard(directory: &Path, name: &str) {
    let _ = std::fs::remove_file(directory.join(name));
}

/// Removes the unfinished files that nobody has written to for `age`. Answers how many there were.
pub(super) async fn sweep(directory: &Path, age: Duration) -> Result<usize, SpoolError> {
    let directory = directory.to_owned();
    let swept = blocking(move || {
        remove_where(&directory, |entry, name| {
            let old = name.ends_with(PART) && is_older(entry, age);
            old && std::fs::remove_file(entry.path()).is_ok()
        })
    });
    Ok(swept.await?)
}

/// Writes a file and removes it again.
pub(super) async fn probe(directory: &Path) -> Result<(), SpoolError> {
    // Should this process die in between, the sweep finds it.
    let path = directory.join(format!("{}{PART}", Uuid::new_v4().simple()));
    let probed = blocking(move || {
        let written = File::create_new(&path).and_then(|mut file| file.write_all(b"?"));
        // What was not made cannot be removed, and its error is the one to be told.
        let removed = std::fs::remove_file(&path);
        written.and(removed)
    });
    Ok(probed.await?)
}

fn is_older(entry: &std::fs::DirEntry, age: Duration) -> bool {
    let written = entry.metadata().and_then(|meta| meta.modified());
    written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|since| since >= age))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_file_is_a_part_until_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let spool = home.path().join("made/for/it");
        let mut part = Part::create(&spool, 1 << 30).await.unwrap();
        assert!(names(&spool)[0].ends_with(PART));
        part.write(&Bytes::from_static(b"id\n1\n")).await.unwrap();
        let done = part.finish("a.csv".into()).await.unwrap();
        assert_eq!(names(&spool), [done.spool.as_str()]);
        assert_eq!(done.local.unwrap().path(), spool.join(&done.spool));
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_is_told() {
        let home = tempfile::NamedTempFile::new().unwrap();
        let refused = Part::create(&home.path().join("below"), 1).await;
        assert!(matches!(refused, Err(SpoolError::Io(_))), "{refused:?}");
        let refused = make(&home.path().join("below")).await.unwrap_err();
        assert!(refused.to_string().starts_with("cannot make the spool directory"), "{refused}");
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
