//! `FILE.results.xlsx` and `FILE.failures.xlsx`: the file once more with what became of its rows, and
//! the rows that can be corrected. The second is there only when there are such rows.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::results::with_suffix;
use crate::config::Config;
use crate::export::{self, BuildError, Job, Progress, build};
use crate::store::Store;
use crate::store::control::Upload;
use crate::workbook::ReadLimits;
use crate::workbook::export::{ExportForm, ExportWhat, Status};

/// Why a workbook could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkbookError {
    /// It could not be built.
    #[error("the workbook of results was not written: {0}")]
    Build(#[from] BuildError),
    /// It could not be put in its place.
    #[error("cannot write {path}: {source}", path = path.display())]
    Place {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Which of them were written.
#[derive(Debug, Default)]
pub(super) struct Workbooks {
    pub(super) results: Option<PathBuf>,
    pub(super) failures: Option<PathBuf>,
}

/// What they are written of.
pub(super) struct Original<'a> {
    pub(super) store: &'a Store,
    pub(super) upload: &'a Upload,
    pub(super) file: &'a Path,
    pub(super) read: ReadLimits,
    pub(super) config: &'a Config,
    pub(super) exe: PathBuf,
}

/// Writes both beside the file.
pub(super) async fn write(original: &Original<'_>) -> Result<Workbooks, WorkbookError> {
    let (results, _) = one(original, ExportWhat::Results, ".results.xlsx").await?;
    let (failures, rows) = one(original, ExportWhat::Failures, ".failures.xlsx").await?;
    if rows == 0 {
        // One of an earlier run would tell of rows that are done by now.
        match std::fs::remove_file(&failures) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(WorkbookError::Place { path: failures, source });
            }
            _ => return Ok(Workbooks { results: Some(results), failures: None }),
        }
    }
    Ok(Workbooks { results: Some(results), failures: Some(failures) })
}

async fn one(
    original: &Original<'_>,
    what: ExportWhat,
    suffix: &str,
) -> Result<(PathBuf, u64), WorkbookError> {
    let path = with_suffix(original.file, suffix);
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let job = Job {
        store: original.store.clone(),
        upload: original.upload.clone(),
        original: export::Original::Here(original.file.to_owned()),
        what,
        form: ExportForm::Xlsx,
        open: false,
        untold: Status::Unrouted,
        exe: original.exe.clone(),
        read: original.read.clone(),
        limits: original.config.http.exports.clone(),
        directory: beside.unwrap_or(Path::new(".")).to_owned(),
    };
    let built = build(&job, &Progress::default()).await?;
    let placed = built.path.persist(&path);
    placed.map_err(|error| WorkbookError::Place { path: path.clone(), source: error.error })?;
    // Made for its owner alone, as all unfinished files are; this one is for whoever reads the file.
    if let Ok(meta) = std::fs::metadata(original.file) {
        let _ = std::fs::set_permissions(&path, meta.permissions());
    }
    Ok((path, built.rows))
}
