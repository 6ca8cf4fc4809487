//! The body of an upload request: its parts, each into a file of the spool.
//!
//! Everything is received before anything is taken in, so that a request that turns out bad at its
//! end (an unknown field, a body that breaks off) has left nothing behind. A file that is too large
//! is the one fault that leaves the rest of the request alone, where what is left of it can be
//! passed over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::http::StatusCode;
use bytes::Bytes;
use multer::{Field, Multipart};
use tokio_util::sync::CancellationToken;

use super::feed::{Feed, FeedError, Meter};
use crate::domain::{Problem, ProblemKind};
use crate::http::{ApiError, HttpLimits};
use crate::ingest::spool::{Spool, SpoolError};
use crate::ingest::taken::Spooled;

/// The field that files are in.
const FIELD: &str = "files";
/// Bytes of boundaries and headers that a request may have for each file.
const FRAMING_BYTES: u64 = 64 << 10;
/// Characters that are kept of a file's name, from its end.
const FILENAME_CHARS: usize = 255;

/// What receiving goes by.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) limits: &'a HttpLimits,
    pub(super) spool: &'a Spool,
    pub(super) stop: &'a CancellationToken,
    /// What the request says of the length of its body.
    pub(super) length: Option<u64>,
}

impl Terms<'_> {
    /// Bytes of the whole body at most.
    pub(super) fn most(&self) -> u64 {
        let a_file = self.limits.file_bytes.saturating_add(FRAMING_BYTES);
        a_file.saturating_mul(self.limits.files as u64)
    }
}

/// The files of a request, in the order sent. Those that nobody has taken out go with it.
#[derive(Debug)]
pub(super) struct Inbox {
    spool: Spool,
    files: VecDeque<Result<Spooled, ApiError>>,
}

impl Inbox {
    /// The next file, or why it was not received. Whoever takes it out sees to its removal.
    pub(super) fn next(&mut self) -> Option<Result<Spooled, ApiError>> {
        self.files.pop_front()
    }

    /// The next file, which stays here, or why it was not received.
    pub(super) fn peek(&self) -> Option<&Result<Spooled, ApiError>> {
        self.files.front()
    }

    /// Removes the next file from here and from the spool.
    pub(super) fn remove_next(&mut self) {
        if let Some(Ok(file)) = self.files.pop_front() {
            self.spool.discard(&file.spool);
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        for file in self.files.iter().flatten() {
            self.spool.discard(&file.spool);
        }
    }
}

/// Receives the files of a body.
///
/// Cancellation safety: dropped half-way, it leaves nothing in the spool.
pub(super) async fn receive(
    body: &mut BodyDataStream,
    boundary: String,
    terms: &Terms<'_>,
) -> Result<Inbox, ApiError> {
    let meter = Arc::new(Meter::default());
    let feed = Feed::new(body, Arc::clone(&meter), terms.most());
    let mut parts = Parts { multipart: Multipart::new(feed, boundary), meter, terms };
    let mut inbox = Inbox { spool: terms.spool.clone(), files: VecDeque::new() };
    while let Some(field) = parts.next().await? {
        match field.name() {
            Some(FIELD) => {}
            Some(name) => return Err(ApiError::invalid(format!("there is no field `{name}`"))),
            None => return Err(ApiError::invalid("a part of the body has no name")),
        }
        let Some(filename) = field.file_name().map(plain_name) else {
            return Err(ApiError::invalid(
                "the field `files` holds a text: send files, each with its name",
            ));
        };
        // What a browser sends for a form in which no file was chosen.
        if filename.is_empty() {
            return Err(ApiError::invalid("a file of the field `files` has no name"));
        }
        if inbox.files.len() == terms.limits.files {
            return Err(too_large(format!(
                "a request may have {} files at most",
                terms.limits.files
            )));
        }
        let file = parts.file(field, &filename).await?;
        inbox.files.push_back(file);
    }
    if inbox.files.is_empty() {
        return Err(ApiError::invalid("send one or more files in the field `files`"));
    }
    Ok(inbox)
}

/// The parts of a body, as they come.
struct Parts<'a> {
    multipart: Multipart<'a>,
    meter: Arc<Meter>,
    terms: &'a Terms<'a>,
}

impl<'a> Parts<'a> {
    async fn next(&mut self) -> Result<Option<Field<'a>>, ApiError> {
        self.meter.found();
        wait(self.multipart.next_field(), self.terms).await
    }

    async fn piece(&self, field: &mut Field<'a>) -> Result<Option<Bytes>, ApiError> {
        self.meter.found();
        wait(field.chunk(), self.terms).await
    }

    /// Receives a file. The inner error is the file's alone: what comes after it can be read.
    async fn file(
        &self,
        mut field: Field<'a>,
        filename: &str,
    ) -> Result<Result<Spooled, ApiError>, ApiError> {
        let limit = self.terms.limits.file_bytes;
        let mut file = self.terms.spool.create(limit).await.map_err(not_stored)?;
        while let Some(piece) = self.piece(&mut field).await? {
            match file.write(&piece).await {
                Ok(()) => {}
                Err(error @ SpoolError::TooLarge { .. }) => {
                    drop(file);
                    let mut refused = too_large(error.to_string());
                    refused.problem.filename = Some(filename.to_owned());
                    let passed = self.skip(&mut field).await?;
                    return if passed { Ok(Err(refused)) } else { Err(refused) };
                }
                Err(error) => return Err(not_stored(error)),
            }
        }
        Ok(Ok(file.finish(filename.to_owned()).await.map_err(not_stored)?))
    }

    /// Passes over the rest of a field; `false` when there is too much of it.
    async fn skip(&self, field: &mut Field<'a>) -> Result<bool, ApiError> {
        let come = self.meter.total();
        let mut left = self.terms.limits.passed_bytes;
        if self.terms.length.is_some_and(|length| length.saturating_sub(come) > left) {
            return Ok(false);
        }
        while let Some(piece) = self.piece(field).await? {
            let Some(less) = left.checked_sub(piece.len() as u64) else { return Ok(false) };
            left = less;
        }
        Ok(true)
    }
}

/// Waits for the client, no longer than it may be silent.
async fn wait<T>(
    what: impl Future<Output = multer::Result<T>>,
    terms: &Terms<'_>,
) -> Result<T, ApiError> {
    let silence = terms.limits.upload_silence;
    tokio::select! {
        come = tokio::time::timeout(silence, what) => match come {
            Ok(come) => come.map_err(not_read),
            Err(_) => Err(silent(silence)),
        },
        () = terms.stop.cancelled() => Err(ApiError::unavailable("the server is stopping", 1)),
    }
}

fn silent(silence: Duration) -> ApiError {
    let detail = format!("nothing of the body came for {} s", silence.as_secs_f64());
    let title = "The client stopped sending";
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "client-silent", title, detail)
}

pub(super) fn too_large(detail: impl Into<String>) -> ApiError {
    Problem::new(ProblemKind::TooLarge, detail).into()
}

pub(super) fn malformed(detail: impl Into<String>) -> ApiError {
    let title = "The body cannot be understood";
    ApiError::new(StatusCode::BAD_REQUEST, "malformed-body", title, detail)
}

fn not_stored(error: SpoolError) -> ApiError {
    tracing::error!(%error, "a file cannot be received");
    match error {
        SpoolError::Full(_) => {
            let title = "There is no room for the file";
            let detail = "the server's disk is full; nothing was taken";
            ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", title, detail)
        }
        _ => ApiError::unavailable("the server cannot store the file", 5),
    }
}

fn not_read(error: multer::Error) -> ApiError {
    use multer::Error;
    match error {
        Error::StreamReadFailed(error) => match error.downcast_ref::<FeedError>() {
            Some(FeedError::TooLarge(most)) => {
                too_large(format!("the request has more than {most} bytes"))
            }
            Some(FeedError::NoEnd) => malformed("a header of a part has no end"),
            Some(FeedError::Body(error)) => malformed(format!("the body broke off: {error}")),
            None => malformed("the body broke off"),
        },
        Error::IncompleteStream | Error::IncompleteHeaders | Error::IncompleteFieldData { .. } => {
            malformed("the body ends before its last boundary")
        }
        error => malformed(error.to_string()),
    }
}

/// The last part of what may be a path, as some clients send it, without control characters.
fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: Vec<char> = last.chars().filter(|c| !c.is_control()).collect();
    // The end says what kind of file it is.
    clean[clean.len().saturating_sub(FILENAME_CHARS)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        for (sent, kept) in [
            ("orders.xlsx", "orders.xlsx"),
            ("../../etc/passwd", "passwd"),
            (r"C:\Users\me\Aufträge.xlsx", "Aufträge.xlsx"),
            ("a\r\nb\0.csv", "ab.csv"),
            ("dir/", ""),
        ] {
            assert_eq!(plain_name(sent), kept);
        }
        let long = plain_name(&("x".repeat(1_000) + ".xlsx"));
        assert!(long.ends_with("x.xlsx") && long.chars().count() == FILENAME_CHARS);
    }
}
