//! A file of this machine for a reader to open: one of the spool itself, or a working copy.
//!
//! A working copy is locked by the process that made it for as long as the process wants it, and
//! removed then. A lock ends with its process, however that ended; so [`sweep`] knows what a crash
//! left from what is in use, and needs no clock for it. Several servers of one machine may share the
//! directory.

use std::path::{Path, PathBuf};

/// A file of this machine. A copy goes when this goes.
#[derive(Debug)]
pub struct LocalFile(Inner);

#[derive(Debug)]
enum Inner {
    Kept(PathBuf),
    #[cfg(feature = "s3")]
    Copy(copy::Copy),
}

impl LocalFile {
    /// A file that stays.
    pub(super) fn kept(path: PathBuf) -> Self {
        Self(Inner::Kept(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match &self.0 {
            Inner::Kept(path) => path,
            #[cfg(feature = "s3")]
            Inner::Copy(copy) => copy.path(),
        }
    }
}

#[cfg(feature = "s3")]
pub(super) use copy::{Copy, sweep};

#[cfg(feature = "s3")]
impl From<Copy> for LocalFile {
    fn from(copy: Copy) -> Self {
        Self(Inner::Copy(copy))
    }
}

#[cfg(feature = "s3")]
mod copy {
    use std::fs::{DirEntry, File};
    use std::io::{self, ErrorKind};
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use uuid::Uuid;

    use super::super::writing::{blocking, remove_where};

    /// How the name of a working copy ends.
    const WORK: &str = ".work";

    /// A working copy; its file goes when this goes.
    #[derive(Debug)]
    pub(in super::super) struct Copy {
        path: PathBuf,
        /// Holds the lock.
        _held: File,
    }

    impl Copy {
        /// Makes an empty one in a directory, which is made if it is missing, and answers the file
        /// too, to be written and read.
        ///
        /// # Errors
        /// If it cannot be made, or files cannot be locked there.
        pub(in super::super) async fn create(directory: &Path) -> io::Result<(Self, File)> {
            let directory = directory.to_owned();
            blocking(move || {
                loop {
                    let path = directory.join(format!("{}{WORK}", Uuid::new_v4().simple()));
                    let open =
                        || File::options().read(true).write(true).create_new(true).open(&path);
                    let file = match open() {
                        Err(error) if error.kind() == ErrorKind::NotFound => {
                            std::fs::create_dir_all(&directory)?;
                            open()?
                        }
                        file => file?,
                    };
                    // The lock belongs to the file as it was opened; a clone of it holds it too.
                    let copy = Self { path, _held: file.try_clone()? };
                    file.lock()?;
                    // A sweep that came between has removed it; then another is made.
                    if file.metadata()?.nlink() > 0 {
                        return Ok((copy, file));
                    }
                }
            })
            .await
        }

        pub(super) fn path(&self) -> &Path {
            &self.path
        }
    }

    impl Drop for Copy {
        fn drop(&mut self) {
            // Should it fail, the sweep finds it.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Removes the working copies that no process holds. Answers how many there were.
    ///
    /// # Errors
    /// If the directory cannot be read. What cannot be removed is passed over.
    pub(in super::super) async fn sweep(directory: &Path) -> io::Result<usize> {
        let directory = directory.to_owned();
        blocking(move || {
            remove_where(&directory, |entry, name| {
                name.ends_with(WORK) && remove_unless_held(entry).is_ok()
            })
        })
        .await
    }

    fn remove_unless_held(entry: &DirEntry) -> io::Result<()> {
        let file = File::open(entry.path())?;
        file.try_lock()?;
        // Still locked here, so that whoever has just made it waits and sees that it is gone.
        std::fs::remove_file(entry.path())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn files(directory: &Path) -> usize {
            std::fs::read_dir(directory).unwrap().count()
        }

        #[tokio::test]
        async fn a_copy_in_use_is_not_swept_and_one_that_a_crash_left_is() {
            let home = tempfile::tempdir().unwrap();
            let work = home.path().join("made/for/it");
            assert_eq!(sweep(&work).await.unwrap(), 0);
            let (copy, file) = Copy::create(&work).await.unwrap();
            std::fs::write(work.join("left.work"), "x").unwrap();
            std::fs::write(work.join("other"), "x").unwrap();
            // What was written to is held by the copy alone.
            drop(file);
            assert_eq!(sweep(&work).await.unwrap(), 1);
            assert!(copy.path().exists());
            assert_eq!(files(&work), 2);
            drop(copy);
            assert_eq!(files(&work), 1);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn a_sweep_never_takes_what_is_being_made() {
            let home = tempfile::tempdir().unwrap();
            let work = home.path().to_owned();
            let sweeping = tokio::spawn(async move {
                loop {
                    sweep(&work).await.unwrap();
                }
            });
            for _ in 0..300 {
                let (copy, _file) = Copy::create(home.path()).await.unwrap();
                assert!(copy.path().exists());
            }
            sweeping.abort();
        }
    }
}
