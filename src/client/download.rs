//! Fetching files of results: streamed to the disk, never whole in memory, and in place only when they
//! are whole.

use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{Client, ClientError};

/// Which file of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownloadForm {
    /// All rows as a workbook.
    Xlsx,
    /// All rows as text with commas.
    Csv,
    /// All rows as a JSON object a line.
    Ndjson,
    /// The rows that were rejected or are dead, as a workbook.
    Failures,
}

/// What a file shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Download {
    /// Every row had ended.
    Complete,
    /// Rows had not ended yet.
    SoFar,
}

impl Client {
    /// Fetches a file of results: `GET /uploads/{id}/results.xlsx` and its like. Waits while the server
    /// writes it. What was at `path` is replaced when the new file is whole.
    ///
    /// Cancellation safety: what has arrived stays beside `path`, with `.part` behind its name.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::File`] if it cannot be written here.
    pub async fn download(
        &self,
        id: Uuid,
        form: DownloadForm,
        path: &Path,
    ) -> Result<Download, ClientError> {
        let id = id.to_string();
        let name = match form {
            DownloadForm::Xlsx => "results.xlsx",
            DownloadForm::Csv => "results.csv",
            DownloadForm::Ndjson => "results.ndjson",
            DownloadForm::Failures => "failures.xlsx",
        };
        let from = ["uploads", id.as_str(), name];
        let mut failures = 0;
        loop {
            match self.download_once(&from, path).await {
                Ok(Some(download)) => return Ok(download),
                // It is being written; the server has made us wait already.
                Ok(None) => sleep(self.limits.retry.first).await,
                Err(error) if error.was_turned_away() => {
                    failures += 1;
                    self.pause(failures, error).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn download_once(
        &self,
        from: &[&str],
        path: &Path,
    ) -> Result<Option<Download>, ClientError> {
        // The server waits for the file some seconds before it answers.
        let patience = self.limits.request_timeout + self.limits.receive_wait;
        let failed = |error: reqwest::Error| self.failed(from, &error, patience);
        let late = || ClientError::Timeout { url: self.shown(from), after: patience };
        let request = self.http.get(self.url(from)).headers(self.auth.clone()).send();
        let mut response = timeout(patience, request).await.map_err(|_| late())?.map_err(failed)?;
        if response.status() != StatusCode::OK {
            self.body_of(from, response, patience).await?;
            return Ok(None);
        }
        let complete = response.headers().get("x-rowmill-complete");
        let so_far = complete.is_some_and(|complete| complete == "false");
        let cannot = |source| ClientError::File { path: path.to_owned(), source };
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut file = File::create(&part).await.map_err(cannot)?;
        loop {
            let piece = timeout(patience, response.chunk()).await;
            match piece.map_err(|_| late())?.map_err(failed)? {
                Some(piece) => file.write_all(&piece).await.map_err(cannot)?,
                None => break,
            }
        }
        file.sync_all().await.map_err(cannot)?;
        tokio::fs::rename(&part, path).await.map_err(cannot)?;
        Ok(Some(if so_far { Download::SoFar } else { Download::Complete }))
    }
}
