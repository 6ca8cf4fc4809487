//! An upload's file once more, with what became of its rows.
//!
//! The ends of the rows are written to a file beside (`gather`), which shows on the way which columns
//! their outputs need; then a child process (`rowmill export`) reads the original again, puts the two
//! together and writes the result ([`crate::workbook::export`]). Neither step holds more than a page.
//! The child limits itself as the reader does, for the same reason: a spreadsheet is a program written
//! by a stranger.

mod child;
mod gather;
mod limits;

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::domain::Problem;
use crate::ingest::spool::{Spool, SpoolError};
use crate::store::control::Upload;
use crate::store::log::LogError;
use crate::store::{Store, StoreError};
use crate::workbook::export::{ExportForm, ExportPlan, ExportWhat, Status};
use crate::workbook::{ReadLimits, ReadOptions};

pub use child::Progress;
pub(crate) use child::{Said, Told};
pub use limits::ExportLimits;

/// What is to be written, and what it takes.
#[derive(Debug)]
pub struct Job {
    /// Where the ends of rows are.
    pub store: Store,
    /// Whose results.
    pub upload: Upload,
    /// Its original.
    pub original: Original,
    /// Which rows.
    pub what: ExportWhat,
    /// In which form.
    pub form: ExportForm,
    /// Whether rows of it may still end.
    pub open: bool,
    /// What a row is of whose end nothing is known.
    pub untold: Status,
    /// The program that has `export`: this one.
    pub exe: PathBuf,
    /// How far the original is read.
    pub read: ReadLimits,
    /// How far writing goes.
    pub limits: ExportLimits,
    /// Where files lie while they are written; it is made if it is missing.
    pub directory: PathBuf,
}

/// Where an upload's file is.
#[derive(Debug)]
pub enum Original {
    /// On this machine.
    Here(PathBuf),
    /// In the spool, under the name that is recorded with the upload.
    InSpool(Spool, String),
}

/// A file that was written. It is removed when this is dropped.
#[derive(Debug)]
pub struct Built {
    /// Where.
    pub path: TempPath,
    /// How many rows are in it.
    pub rows: u64,
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Files cannot be written where they should.
    #[error("cannot write in {path}: {source}", path = path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The original is not to be had from the spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The process that writes cannot be started.
    #[error("the process that writes cannot be started: {0}")]
    Start(#[source] io::Error),
    /// The original cannot be read any more.
    #[error(transparent)]
    Read(Box<Problem>),
    /// The process that writes died, or says so.
    #[error("the results cannot be written: {0}")]
    Failed(String),
}

impl From<LogError> for BuildError {
    fn from(error: LogError) -> Self {
        Self::Store(error.into())
    }
}

/// Writes it.
///
/// Cancellation safety: what was begun is ended and removed.
///
/// # Errors
/// [`BuildError`]; nothing stays behind then.
pub async fn build(job: &Job, progress: &Progress) -> Result<Built, BuildError> {
    let writing = |source| BuildError::Write { path: job.directory.clone(), source };
    tokio::fs::create_dir_all(&job.directory).await.map_err(writing)?;
    let gathered = gather::gather(job).await?;
    // A copy of what is in a bucket goes when this goes.
    let fetched;
    let file = match &job.original {
        Original::Here(path) => path.clone(),
        Original::InSpool(spool, name) => {
            let Upload { bytes, content_hash, .. } = &job.upload;
            fetched = spool.local(name, *bytes, content_hash).await?;
            fetched.path().to_owned()
        }
    };
    let out = unfinished(&job.directory).map_err(writing)?;
    let damaged = |error: serde_json::Error| StoreError::Damaged(error.to_string());
    let options: ReadOptions = serde_json::from_str(&job.upload.options).map_err(damaged)?;
    let plan = ExportPlan {
        what: job.what,
        form: job.form,
        file,
        options,
        limits: job.read.clone(),
        ends: gathered.ends.to_path_buf(),
        rejects: gathered.rejects.to_path_buf(),
        out: out.to_path_buf(),
        upload: job.upload.public_id.to_string(),
        sheets: serde_json::from_str(&job.upload.sheets).map_err(damaged)?,
        queues: gathered.queues,
        untold: job.untold,
    };
    let rows = child::run(job, &plan, progress).await?;
    Ok(Built { path: out, rows })
}

/// A new file, which is removed unless it is kept.
fn unfinished(directory: &Path) -> io::Result<TempPath> {
    let file = tempfile::Builder::new().prefix("export-").suffix(".part").tempfile_in(directory)?;
    Ok(file.into_temp_path())
}

/// Removes what processes that died have left in a directory, if nobody has written to it for `age`.
///
/// # Errors
/// The directory cannot be read. What cannot be removed is passed over.
pub async fn sweep(directory: PathBuf, age: std::time::Duration) -> io::Result<()> {
    let mut entries = match tokio::fs::read_dir(&directory).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    while let Some(entry) = entries.next_entry().await? {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with("export-"));
        let written = entry.metadata().await.and_then(|meta| meta.modified());
        let old = written.is_ok_and(|at| at.elapsed().is_ok_and(|since| since > age));
        if ours && old {
            let _ = tokio::fs::remove_file(entry.path()).await;
        }
    }
    Ok(())
}
