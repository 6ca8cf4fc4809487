//! A table of failures that comes back corrected, `FILE.failures.xlsx`: the state of the run that it
//! corrects lies beside `FILE`, and is where it runs.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::error::RunError;
use super::results::with_suffix;
use crate::ingest::corrects::{CannotCorrect, corrects};
use crate::store::control::Control;
use crate::workbook::ReadOptions;

/// How a table of failures is called beside its file.
const SUFFIX: &str = ".failures.xlsx";

/// The database beside a file; beside the file that it corrects, if that has one and this has none.
pub(super) fn database_beside(file: &Path) -> PathBuf {
    let own = with_suffix(file, ".rowmill.db");
    let corrected = file.to_str().and_then(|name| name.strip_suffix(SUFFIX));
    let corrected = corrected.map(|name| with_suffix(Path::new(name), ".rowmill.db"));
    match corrected {
        Some(corrected) if !own.exists() && corrected.exists() => corrected,
        _ => own,
    }
}

/// How a correction of the run `id` is read.
pub(super) async fn read(
    control: &Control,
    id: Uuid,
    asked: &ReadOptions,
) -> Result<ReadOptions, RunError> {
    match corrects(control, id, asked).await {
        Ok(corrects) => Ok(corrects.read),
        Err(CannotCorrect::Refused(problem)) => Err(RunError::File(problem)),
        Err(CannotCorrect::Store(error)) => Err(RunError::Store(error)),
    }
}
