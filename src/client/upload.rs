//! Sending a file: streamed from the disk, with its progress told, and never whole in memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt;
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};
use tokio_util::io::ReaderStream;

use super::{Client, ClientError};
use crate::api::{Data, Upload, UploadAnswer};

const PATH: &[&str] = &["file", "upload"];

/// How a file is to be taken in; what is not said is the server's to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadOptions {
    /// Which sheet: a name, `#2`, `all`.
    pub sheet: Option<String>,
    /// Which row names the columns, from 1.
    pub header_row: Option<String>,
    /// Where its rows go.
    pub topic: Option<String>,
    /// Columns whose cells become attributes, named by the header: `country,city`.
    pub attributes: Option<String>,
    /// What becomes of dates that are written as text: `dmy`, `mdy`, `auto`.
    pub dates: Option<String>,
    /// What becomes of a file some of whose rows are not valid: `skip`, `abort`.
    pub on_invalid: Option<String>,
    /// Columns that a row is known by, named by the header: `order_id`.
    pub key: Option<String>,
    /// `off` for a table of failures that is no correction.
    pub correction: Option<String>,
    /// Let workers begin before the file has been read to its end.
    pub stream: bool,
    /// Answer when all is published, not when the file has been accepted.
    pub wait: bool,
}

impl UploadOptions {
    fn query(&self) -> Vec<(&'static str, &str)> {
        let mut query = vec![];
        query.extend(self.sheet.as_deref().map(|sheet| ("sheet", sheet)));
        query.extend(self.header_row.as_deref().map(|row| ("header_row", row)));
        query.extend(self.topic.as_deref().map(|topic| ("topic", topic)));
        query.extend(self.attributes.as_deref().map(|columns| ("attributes", columns)));
        query.extend(self.dates.as_deref().map(|dates| ("dates", dates)));
        query.extend(self.on_invalid.as_deref().map(|what| ("on_invalid", what)));
        query.extend(self.key.as_deref().map(|columns| ("key", columns)));
        query.extend(self.correction.as_deref().map(|what| ("correction", what)));
        query.extend(self.stream.then_some(("stream", "true")));
        query.extend(self.wait.then_some(("wait", "true")));
        query
    }
}

impl Client {
    /// Uploads a file: `POST /file/upload`. `sent` counts its bytes as they go; it begins anew when
    /// the upload does, which is when a server that was away or busy is tried again.
    ///
    /// Cancellation safety: a file sent only in part leaves nothing at the server; one that was sent
    /// whole may have been taken.
    ///
    /// # Errors
    /// [`ClientError::Problem`] is the refusal of the file, [`ClientError::File`] that it cannot be
    /// read here. After any other, the file may have been taken.
    pub async fn upload(
        &self,
        file: &Path,
        options: &UploadOptions,
        sent: &Arc<AtomicU64>,
    ) -> Result<Upload, ClientError> {
        let mut failures = 0;
        loop {
            match self.upload_once(file, options, sent).await {
                Err(error) if error.was_turned_away() => {
                    failures += 1;
                    self.pause(failures, error).await?;
                }
                answer => return answer,
            }
        }
    }

    async fn upload_once(
        &self,
        file: &Path,
        options: &UploadOptions,
        sent: &Arc<AtomicU64>,
    ) -> Result<Upload, ClientError> {
        let cannot = |source| ClientError::File { path: file.to_owned(), source };
        let opened = File::open(file).await.map_err(cannot)?;
        let metadata = opened.metadata().await.map_err(cannot)?;
        if metadata.is_dir() {
            return Err(cannot(std::io::ErrorKind::IsADirectory.into()));
        }
        let length = metadata.len();
        sent.store(0, Ordering::Relaxed);
        let counter = Arc::clone(sent);
        let stream = ReaderStream::with_capacity(opened.take(length), self.limits.upload_chunk)
            .inspect_ok(move |chunk| {
                counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            });
        let part =
            Part::stream_with_length(Body::wrap_stream(stream), length).file_name(name(file));
        let answer = self
            .http
            .post(self.url(PATH))
            .query(&options.query())
            .headers(self.auth.clone())
            .multipart(Form::new().part("files", part))
            .send();
        let response = tokio::select! {
            answer = answer => answer.map_err(|e| self.failed(PATH, &e, self.limits.upload_answer))?,
            after = self.no_answer(length, options.wait, sent) => {
                return Err(ClientError::Timeout { url: self.shown(PATH), after });
            }
        };
        let limit = self.limits.request_timeout;
        let body = timeout(limit, self.body_of(PATH, response, limit))
            .await
            .map_err(|_| ClientError::Timeout { url: self.shown(PATH), after: limit })??;
        let answers: Data<UploadAnswer> = self.read(PATH, &body)?;
        match answers.data.into_iter().next() {
            Some(UploadAnswer::Taken(upload)) => Ok(*upload),
            Some(UploadAnswer::Refused(problem)) => {
                Err(ClientError::Problem { url: self.shown(PATH), problem, retry_after: None })
            }
            None => Err(ClientError::BadAnswer {
                url: self.shown(PATH),
                detail: "it does not speak of the file".into(),
            }),
        }
    }

    /// Ends when the server has taken nothing for too long, or does not answer once it has all.
    async fn no_answer(&self, length: u64, waits: bool, sent: &AtomicU64) -> std::time::Duration {
        let mut before = 0;
        loop {
            sleep(self.limits.upload_silence).await;
            match sent.load(Ordering::Relaxed) {
                all if all >= length => break,
                none if none == before => return self.limits.upload_silence,
                more => before = more,
            }
        }
        if waits {
            // However long publishing takes; a server that died ends the connection.
            return std::future::pending().await;
        }
        sleep(self.limits.upload_answer).await;
        self.limits.upload_answer
    }
}

/// The file's name as it is sent: what would break a header is left out.
fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.chars().map(|c| if c.is_control() { '_' } else { c }).collect()
}
