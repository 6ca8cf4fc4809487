//! What makes two runs the same run, where its state is, and who has it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::args::Args;
use super::corrections::database_beside;
use super::error::RunError;
use crate::cli::digest::{self, hex};

/// The database: as said, or beside the file.
pub(super) fn database_url(args: &Args) -> String {
    let beside = || format!("sqlite:{}", database_beside(&args.file).display());
    let environment = || std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    args.database_url.clone().or_else(environment).unwrap_or_else(beside)
}

/// Locks a SQLite run against other processes, for as long as the answer lives. The system lets go
/// of it when the process dies, however it dies.
pub(super) fn lock_beside(file: &Path, url: &str) -> Result<Option<File>, RunError> {
    let Some(path) = url.strip_prefix("sqlite:") else { return Ok(None) };
    let path = PathBuf::from(format!("{}.lock", path.trim_start_matches("//")));
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| RunError::Open { path: path.clone(), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(RunError::Busy(file.to_owned())),
        Err(TryLockError::Error(source)) => Err(RunError::Open { path, source }),
    }
}

/// What finds this run again: the file's bytes and how they are read.
pub(super) fn run_key(hash: &str, args: &Args) -> Result<String, RunError> {
    let mut key = Sha256::new();
    key.update(hash.as_bytes());
    key.update(args.options_json()?.as_bytes());
    Ok(hex(&key.finalize()))
}

/// The SHA-256 of the file, in hex.
pub(super) async fn hash_file(path: &Path) -> Result<String, RunError> {
    digest::hash_file(path).await.map_err(|source| RunError::Open { path: path.to_owned(), source })
}
