//! A database that a command works on as it is: one that is there, with the tables of this version.

use std::path::{Path, PathBuf};

use crate::store::{Store, StoreError, StoreOptions};

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The SQLite file is not there.
    #[error("there is no database {path}: `rowmill serve` or `rowmill migrate` makes it", path = .0.display())]
    NoFile(PathBuf),
    /// The tables are missing, or of an earlier version.
    #[error("the database's tables lack {0} changes of this version: run `rowmill migrate` first")]
    Tables(usize),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens a database; makes and changes nothing.
pub(super) async fn open(url: &str, options: &StoreOptions) -> Result<Store, OpenError> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        // Opening it would make it.
        if !Path::new(path).exists() {
            return Err(OpenError::NoFile(path.into()));
        }
    }
    let store = Store::open(url, options).await?;
    match store.pending().await? {
        0 => Ok(store),
        pending => Err(OpenError::Tables(pending)),
    }
}
