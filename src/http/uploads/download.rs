//! `GET /uploads/{id}/results.xlsx`, its other forms, and `failures.xlsx`: the file once more, with what
//! became of its rows. The first request starts the writing; one that waited in vain asks again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::exports::{Exports, Key, Running, Stage};
use super::find;
use super::params::Params;
use crate::api;
use crate::broker::Broker;
use crate::export::{BuildError, Job, Original};
use crate::http::extract::PathName;
use crate::http::openapi::PROBLEM;
use crate::http::{ApiError, App};
use crate::store::control::{Upload, UploadState};
use crate::store::log::Standing;
use crate::workbook::export::{ExportForm, ExportWhat, Status};

/// Says whether every row had its end when the file was begun.
const COMPLETE: HeaderName = HeaderName::from_static("x-rowmill-complete");
/// Bytes of a file that are read at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Seconds after which to ask again for a file that is being written.
const AGAIN: u32 = 1;

macro_rules! downloads {
    ($($name:ident, $path:literal, $what:ident, $form:ident, $kind:literal, $summary:literal;)*) => {$(
        #[utoipa::path(
            get,
            path = $path,
            tag = "uploads",
            summary = $summary,
            params(
                ("id" = Uuid, Path, description = "The upload's id"),
                ("wait" = Option<u32>, Query, description = "Seconds to wait for the file; 20 unless told", minimum = 0, maximum = 30),
            ),
            responses(
                (status = 200, description = "The file; `X-Rowmill-Complete: false` while rows may still end",
                    content_type = $kind, body = String),
                (status = 202, description = "It is being written: ask again", body = api::Building),
                (status = 404, description = "There is no such upload", body = api::Problem, content_type = PROBLEM),
                (status = 409, description = "The upload failed, or its file is not kept", body = api::Problem, content_type = PROBLEM),
                (status = 422, description = "The id is none, a parameter cannot be, or the file cannot be read again", body = api::Problem, content_type = PROBLEM),
                (status = 503, description = "Too many are being written, or the disk is full", body = api::Problem, content_type = PROBLEM),
            ),
            security(("key" = ["read"])),
        )]
        pub(super) async fn $name<B: Broker + Clone>(
            State(app): State<App<B>>,
            Extension(exports): Extension<Exports>,
            PathName(id): PathName<Uuid>,
            uri: Uri,
        ) -> Result<Response, ApiError> {
            let asked = (ExportWhat::$what, ExportForm::$form, $kind);
            download(&app, &exports, id, &uri, asked).await
        }
    )*};
}

downloads! {
    results_xlsx, "/uploads/{id}/results.xlsx", Results, Xlsx,
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "The file once more, with what became of each row";
    results_csv, "/uploads/{id}/results.csv", Results, Csv, "text/csv",
        "The same as text with commas";
    results_ndjson, "/uploads/{id}/results.ndjson", Results, Ndjson, "application/x-ndjson",
        "The same as a JSON object a line";
    failures_xlsx, "/uploads/{id}/failures.xlsx", Failures, Xlsx,
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "The rows that were rejected or are dead, with what is wrong and where";
}

async fn download<B: Broker + Clone>(
    app: &App<B>,
    exports: &Exports,
    id: Uuid,
    uri: &Uri,
    (what, form, kind): (ExportWhat, ExportForm, &'static str),
) -> Result<Response, ApiError> {
    let limits = &app.limits.exports;
    let mut params = Params::of(uri)?;
    let wait = params.take::<u32>("wait")?.map(|seconds| Duration::from_secs(seconds.into()));
    params.end()?;
    let wait = wait.unwrap_or(limits.wait.min(limits.wait_most));
    if wait > limits.wait_most {
        let most = limits.wait_most.as_secs();
        return Err(ApiError::invalid(format!("`wait` is 0 to {most} seconds")));
    }
    let upload = find(app, id).await?;
    if upload.state == UploadState::Failed {
        return Err(ApiError::conflict("the upload failed: there are no results"));
    }
    let Some(spool) = upload.spool.clone() else {
        return Err(ApiError::conflict("the upload's file is not kept by this server"));
    };
    let standing = app.store.log.standing(upload.id).await?;
    let open = is_open(&upload, &standing);
    let filename = format!("{}.{what}.{form}", stem(&upload.filename));
    let total = standing.messages + standing.rejected;
    let key = Key { upload: upload.id, what, form };
    let version = format!("{:?} {:?} {:?}", upload.state, upload.ended_at, standing.ended);
    let job = || job(app, upload, &spool, (what, form), open);
    let Ok(mut running) = exports.file(key, version, job) else {
        return Err(ApiError::unavailable("too many files of results are being written", 5));
    };
    let ended = |stage: &Stage| !matches!(stage, Stage::Building);
    let stage = tokio::select! {
        stage = tokio::time::timeout(wait, running.stage.wait_for(ended)) => match stage {
            Ok(Ok(stage)) => stage.clone(),
            // The upload was deleted.
            Ok(Err(_)) => return Err(ApiError::missing("upload", id)),
            Err(_) => Stage::Building,
        },
        () = app.stop.cancelled() => {
            return Err(ApiError::unavailable("the server is stopping", AGAIN));
        }
    };
    match stage {
        Stage::Building => Ok(building(&running, total)),
        Stage::Failed(error) => Err(refusal(&error)),
        Stage::Built(built) => {
            let opened = tokio::fs::File::open(&built.path).await;
            exports.given(key, &running);
            let gone = |_| ApiError::unavailable("the file is gone: ask again", AGAIN);
            let file = opened.map_err(gone)?;
            let length = file.metadata().await.map_err(gone)?.len();
            let stream = ReaderStream::with_capacity(file, PIECE_BYTES);
            let complete = if running.open { "false" } else { "true" };
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
                (header::CONTENT_LENGTH, length.into()),
                (header::CONTENT_DISPOSITION, disposition(&filename)),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                (COMPLETE, HeaderValue::from_static(complete)),
            ];
            Ok((headers, Body::from_stream(stream)).into_response())
        }
    }
}

fn building(running: &Running, total: u64) -> Response {
    let body = api::Building {
        state: api::BuildState::Building,
        rows_done: running.progress.rows.load(Ordering::Relaxed),
        rows_total: total,
    };
    let again = [(header::RETRY_AFTER, HeaderValue::from(AGAIN))];
    (StatusCode::ACCEPTED, again, Json(body)).into_response()
}

fn job<B: Broker + Clone>(
    app: &App<B>,
    upload: Upload,
    spool: &str,
    (what, form): (ExportWhat, ExportForm),
    open: bool,
) -> Job {
    let settings = app.intake.settings();
    let limits = app.limits.exports.clone();
    let directory = match limits.directory.as_os_str().is_empty() {
        true => settings.spool.directory_here().join("exports"),
        false => limits.directory.clone(),
    };
    Job {
        store: app.store.clone(),
        original: Original::InSpool(settings.spool.clone(), spool.to_owned()),
        what,
        form,
        open,
        untold: match upload.state {
            UploadState::Ingesting => Status::Pending,
            UploadState::Cancelled => Status::Cancelled,
            _ => Status::Unrouted,
        },
        upload,
        exe: settings.exe.clone(),
        read: settings.read.clone(),
        limits,
        directory,
    }
}

/// Whether rows may still end.
fn is_open(upload: &Upload, standing: &Standing) -> bool {
    upload.state == UploadState::Ingesting || standing.waiting() > 0 || standing.in_flight > 0
}

fn refusal(error: &BuildError) -> ApiError {
    match error {
        BuildError::Read(problem) => {
            let mut refusal = ApiError::invalid(String::new());
            refusal.problem = problem.as_ref().into();
            refusal
        }
        other => ApiError::unavailable(other.to_string(), 5),
    }
}

/// A file's name without what says its kind.
fn stem(filename: &str) -> &str {
    let name = filename.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem).trim();
    if stem.is_empty() { "rows" } else { stem }
}

/// The name that the file is to be saved under: in ASCII, with everything else as `_`, and as it is
/// (RFC 6266), without what would end a name or lead out of a directory.
fn disposition(filename: &str) -> HeaderValue {
    use std::fmt::Write as _;
    let safe = |c: char| !c.is_control() && !matches!(c, '/' | '\\' | '"');
    let name: String = filename.chars().map(|c| if safe(c) { c } else { '_' }).collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
    let ascii: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            encoded.push(char::from(byte));
        } else {
            // Writing to memory does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    HeaderValue::try_from(format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}"))
        .unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_saved_as_they_are_and_end_no_header() {
        assert_eq!(stem("orders.2026.xlsx"), "orders.2026");
        assert_eq!(stem("../../etc/passwd"), "passwd");
        assert_eq!(stem(".xlsx"), "rows");
        let header = disposition("Bücher \"=1+1\"\r\nX: y.results.xlsx");
        assert_eq!(
            header.to_str().unwrap(),
            "attachment; filename=\"B_cher __1_1___X_ y.results.xlsx\"; \
             filename*=UTF-8''B%C3%BCcher%20_%3D1%2B1___X%3A%20y.results.xlsx"
        );
    }
}
