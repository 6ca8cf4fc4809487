//! `POST /file/upload`: files in, an answer for each.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::schema::{
    Array, ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type,
};

use super::asked::{Asked, TOPIC, What, content_length};
use super::body::{self, Inbox, Terms};
use super::linger::{Linger, linger, waits_for_word};
use super::preview;
use super::view;
use crate::api;
use crate::broker::Broker;
use crate::http::openapi::PROBLEM;
use crate::http::refusals::UNSUPPORTED;
use crate::http::{ApiError, App};
use crate::ingest::Ingested;
use crate::ingest::taken::{NotTaken, Spooled, Stage, TakeOptions, Taken};

/// Seconds after which a file is to be sent again when all readers are busy.
const BUSY_SECONDS: u32 = 5;

#[utoipa::path(
    post,
    path = "/file/upload",
    tag = "uploads",
    summary = "Spreadsheets in: every row becomes a message",
    description = "Each file is checked before it is answered. One that was taken survives any crash, \
        and is published whole or, if it turns out to be damaged further down, not at all.",
    params(
        ("topic" = Option<String>, Query, description = "Where the rows are published to; `rows` unless told", pattern = r"^[A-Za-z0-9._-]{1,128}$"),
        ("sheet" = Option<String>, Query, description = "Which sheet: a name, `#2` for the second, `all`; the first visible one unless told", min_length = 1),
        ("header_row" = Option<String>, Query, description = "Which row names the columns, from 1; the first that is not empty unless told", pattern = r"^(found|[1-9][0-9]{0,8})$"),
        ("attributes" = Option<String>, Query, description = "Columns whose cells become attributes of their row's message, named by the header, with commas between them; 16 at most", min_length = 1),
        ("stream" = Option<bool>, Query, description = "Let workers begin before a file has been read to its end"),
        ("dates" = Option<String>, Query, description = "What becomes of dates that are written as text: `dmy` or `mdy` makes dates of them, the day or the month first; `auto` does it in the order that each column gives away, and refuses the file where one does not; text unless told", pattern = r"^(keep|dmy|mdy|auto)$"),
        ("on_invalid" = Option<String>, Query, description = "What becomes of a file some of whose rows are not valid: `skip` rejects these rows, `abort` publishes nothing; `skip` unless told", pattern = r"^(skip|abort)$"),
        ("wait" = Option<bool>, Query, description = "Answer when all is published, with the counts"),
        ("dedupe" = Option<bool>, Query, description = "A file that was taken before, for the same topic and to be read the same way, is answered with its first upload, unless that failed, was withdrawn or is deleted"),
        ("stop_after_failures" = Option<String>, Query, description = "Pause by itself past so many dead messages: a part of what has ended such as `5%`, once enough has, or a number", pattern = r"^([1-9][0-9]{0,14}|[1-9][0-9]?(\.[0-9]{1,5})?%|0\.[0-9]{0,4}[1-9]%)$"),
        ("webhook" = Option<String>, Query, description = "Where the upload is sent to, signed, once it has ended, failed or been cancelled", pattern = r"^https?://[^ ]+$", max_length = 2000),
        ("dry_run" = Option<bool>, Query, description = "Only look: each file is read to its end and told of, nothing is published and nothing is kept"),
        ("key" = Option<String>, Query, description = "The columns that a row is known by, with commas between them, 16 at most. A row that comes again, in the file or in another upload to the topic, is counted as a duplicate and not sent, unless the earlier one died, expired or was cancelled. A dry run looks in the file alone, and without a key at all columns", min_length = 1),
        ("correction" = Option<String>, Query, description = "What it means that a file is a table of failures (`failures.xlsx`): `found` unless told, it corrects its upload, and only its rows run; `off`, it is a file like any other", pattern = r"^(found|off)$"),
    ),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "A dry run: what each file is, in the order sent", body = api::Data<api::PreviewAnswer>),
        (status = 202, description = "At least one file was taken; what became of each, in the order sent", body = api::Data<api::UploadAnswer>),
        (status = 400, description = "The body breaks off or is no multipart/form-data", body = api::Problem, content_type = PROBLEM),
        (status = 404, description = "There is no such topic", body = api::Problem, content_type = PROBLEM),
        (status = 408, description = "The client stopped sending", body = api::Problem, content_type = PROBLEM),
        (status = 413, description = "A file, or the request, is too large", body = api::Problem, content_type = PROBLEM),
        (status = 415, description = "Not multipart/form-data, or no spreadsheet", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "A parameter or a field cannot be, or the file cannot be read so", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
        (status = 507, description = "The server's disk is full", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["publish"])),
)]
/// Answers 202 when at least one file was taken, with what became of each; else with what is wrong.
pub(super) async fn upload<B: Broker + Clone>(
    State(app): State<App<B>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let asked = match Asked::of(&app, &parts).await {
        Ok(asked) => asked,
        Err(refused) => {
            if !waits_for_word(&parts.headers) {
                linger(body, Linger::new(&app.limits, app.stop.clone()));
            }
            return refused.into_response();
        }
    };
    let terms = Terms {
        limits: &app.limits,
        spool: &app.intake.settings().spool,
        stop: &app.stop,
        length: content_length(&parts.headers),
    };
    let received = body::receive(&mut body, asked.boundary, &terms).await;
    let silent = |refused: &ApiError| refused.status() == StatusCode::REQUEST_TIMEOUT;
    if !received.as_ref().is_err_and(silent) {
        linger(body, Linger::new(&app.limits, app.stop.clone()));
    }
    let inbox = match received {
        Ok(inbox) => inbox,
        Err(refused) => return refused.into_response(),
    };
    match asked.what {
        What::Take { options, wait } => answer(&app, inbox, options, wait).await.into_response(),
        What::Look(wanted) => preview::answer(&app, inbox, &wanted).await.into_response(),
    }
}

/// The body.
#[derive(serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it is described, and received part by part")]
pub(super) struct UploadForm {
    /// xlsx, xlsm, xlsb, xls, ods, csv or tsv, each with its name; 1 GiB each at most.
    #[schema(schema_with = files)]
    files: Vec<Vec<u8>>,
}

fn files() -> Array {
    let file = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
        .content_media_type("application/octet-stream");
    ArrayBuilder::new().items(file).min_items(Some(1)).max_items(Some(20)).build()
}

/// A file, and what became of it.
pub(super) struct Slot<T> {
    pub(super) filename: Option<String>,
    pub(super) outcome: Result<T, ApiError>,
}

async fn answer<B: Broker + Clone>(
    app: &App<B>,
    inbox: Inbox,
    take: TakeOptions,
    wait: bool,
) -> Result<(StatusCode, Json<api::Data<api::UploadAnswer>>), ApiError> {
    let mut slots = take_all(app, inbox, take).await;
    if wait {
        for slot in &mut slots {
            let Ok(taken) = &mut slot.outcome else { continue };
            if let Some(fault) = fault(&mut taken.stage, &app.stop).await {
                slot.outcome = Err(fault);
            }
        }
    }
    if slots.iter().all(|slot| slot.outcome.is_err()) {
        return Err(none_taken(slots));
    }
    let mut data = Vec::with_capacity(slots.len());
    for slot in slots {
        data.push(match slot.outcome {
            Ok(taken) => api::UploadAnswer::Taken(Box::new(shown(app, taken, wait).await)),
            Err(refused) => api::UploadAnswer::Refused(Box::new(about(refused, slot.filename))),
        });
    }
    Ok((StatusCode::ACCEPTED, Json(api::Data { data })))
}

async fn take_all<B: Broker + Clone>(
    app: &App<B>,
    mut inbox: Inbox,
    options: TakeOptions,
) -> Vec<Slot<Taken>> {
    let mut slots = vec![];
    while let Some(file) = inbox.next() {
        slots.push(match file {
            Ok(file) => {
                let filename = Some(file.filename.clone());
                Slot { filename, outcome: take(app, file, options.clone()).await }
            }
            Err(refused) => {
                Slot { filename: refused.problem.filename.clone(), outcome: Err(refused) }
            }
        });
    }
    slots
}

async fn take<B: Broker + Clone>(
    app: &App<B>,
    file: Spooled,
    options: TakeOptions,
) -> Result<Taken, ApiError> {
    app.intake.take(file, options).await.map_err(not_taken)
}

/// How it is answered that a file was not taken.
pub(super) fn not_taken(error: NotTaken) -> ApiError {
    match error {
        NotTaken::Refused(problem) => problem.into(),
        NotTaken::NoTopic => ApiError::missing("topic", TOPIC),
        NotTaken::Busy => {
            ApiError::unavailable("all readers are busy; send the file again", BUSY_SECONDS)
        }
        NotTaken::Stopping => ApiError::unavailable("the server is stopping", 1),
        NotTaken::Spool(error) => {
            tracing::error!(%error, "a file cannot be read from the spool");
            ApiError::unavailable("the server cannot read its spool", BUSY_SECONDS)
        }
        NotTaken::Store(error) => error.into(),
        NotTaken::CannotStart(error) => {
            tracing::error!(%error, "a file cannot be read");
            ApiError::unavailable("the server cannot start a reader", BUSY_SECONDS)
        }
    }
}

/// Waits until an ingestion is over, or the server stops; answers the fault of the file.
async fn fault(stage: &mut watch::Receiver<Stage>, stop: &CancellationToken) -> Option<ApiError> {
    let stage = tokio::select! {
        over = stage.wait_for(|stage| *stage != Stage::Running) => over.ok()?.clone(),
        () = stop.cancelled() => return None,
    };
    let Stage::Ended(Ingested::Failed(problem)) = stage else { return None };
    let mut fault = ApiError::from(problem);
    // The request was well formed and its file was taken: what is in it was the fault.
    fault.problem.status = StatusCode::UNPROCESSABLE_ENTITY.as_u16();
    Some(fault)
}

/// A file that was taken is told so, whatever becomes of looking at its numbers.
async fn shown<B: Broker + Clone>(app: &App<B>, taken: Taken, wait: bool) -> api::Upload {
    let taken_before = !taken.is_new();
    if (wait || taken_before)
        && let Ok(now) = app.store.control.upload(taken.upload.id).await
        && let Ok(now) = view::view(app, &now).await
    {
        return api::Upload { taken_before, ..now };
    }
    let topic = app.store.control.topic_name(taken.upload.topic).await;
    view::recorded(&taken.upload, topic.ok().flatten().unwrap_or_default())
}

pub(super) fn about(refused: ApiError, filename: Option<String>) -> api::Problem {
    api::Problem { filename, ..refused.problem }
}

/// The problem of the only file; or one that lists those of all, with their status if they share it.
pub(super) fn none_taken<T>(slots: Vec<Slot<T>>) -> ApiError {
    let mut refused: Vec<(ApiError, Option<String>)> =
        slots.into_iter().filter_map(|slot| Some((slot.outcome.err()?, slot.filename))).collect();
    if refused.len() == 1
        && let Some((mut only, filename)) = refused.pop()
    {
        only.problem.filename = filename;
        return only;
    }
    let retry_after = refused.iter().filter_map(|(error, _)| error.retry_after).max();
    let status = refused.first().map(|(error, _)| error.status()).unwrap_or_default();
    let shared = refused.iter().all(|(error, _)| error.status() == status);
    let status = if shared { status } else { StatusCode::UNPROCESSABLE_ENTITY };
    let detail = format!("none of the {} files was taken; `files` says why", refused.len());
    let mut all = ApiError::new(status, "no-file-taken", "No file was taken", detail);
    all.retry_after = retry_after.filter(|_| status == StatusCode::SERVICE_UNAVAILABLE);
    all.problem.files =
        refused.into_iter().map(|(error, filename)| about(error, filename)).collect();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Problem, ProblemKind};

    fn slots(errors: Vec<ApiError>) -> Vec<Slot<Taken>> {
        let slot = |(n, error)| Slot { filename: Some(format!("{n}.xlsx")), outcome: Err(error) };
        errors.into_iter().enumerate().map(slot).collect()
    }

    fn refused(kind: ProblemKind) -> ApiError {
        Problem::new(kind, "x").into()
    }

    #[test]
    fn one_file_answers_by_its_own_problem() {
        let error = none_taken(slots(vec![refused(ProblemKind::WrongKind)]));
        assert_eq!(error.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(error.problem.filename.as_deref(), Some("0.xlsx"));
        assert!(error.problem.files.is_empty());
    }

    #[test]
    fn several_files_answer_by_the_status_they_share() {
        let both = vec![refused(ProblemKind::WrongKind), refused(ProblemKind::WrongKind)];
        let error = none_taken(slots(both));
        assert_eq!(error.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let names: Vec<_> = error.problem.files.iter().map(|file| file.filename.clone()).collect();
        assert_eq!(names, [Some("0.xlsx".into()), Some("1.xlsx".into())]);
        let mixed = vec![refused(ProblemKind::WrongKind), ApiError::unavailable("busy", 5)];
        let error = none_taken(slots(mixed));
        assert_eq!((error.status(), error.retry_after), (StatusCode::UNPROCESSABLE_ENTITY, None));
        let busy = vec![ApiError::unavailable("busy", 5), ApiError::unavailable("busy", 7)];
        assert_eq!(none_taken(slots(busy)).retry_after, Some(7));
    }
}
