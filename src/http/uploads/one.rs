//! `GET`, `DELETE /uploads/{id}`, and `POST /uploads/{id}/cancel` and `/retry`.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Extension, Json};
use uuid::Uuid;

use super::exports::Exports;
use super::params::Params;
use super::{find, view};
use crate::api;
use crate::broker::Broker;
use crate::http::extract::PathName;
use crate::http::openapi::PROBLEM;
use crate::http::refusals::UNSUPPORTED;
use crate::http::{ApiError, App};
use crate::store::control::UploadState;

#[utoipa::path(
    get,
    path = "/uploads/{id}",
    tag = "uploads",
    summary = "An upload as it is now",
    params(("id" = Uuid, Path, description = "The upload's id")),
    responses(
        (status = 200, description = "The upload", body = api::Upload),
        (status = 404, description = "There is no such upload", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The id is none, or a parameter cannot be", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
pub(super) async fn show<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(id): PathName<Uuid>,
    uri: Uri,
) -> Result<Json<api::Upload>, ApiError> {
    Params::of(&uri)?.end()?;
    let upload = find(&app, id).await?;
    view::view(&app, &upload).await.map(Json)
}

#[utoipa::path(
    post,
    path = "/uploads/{id}/cancel",
    tag = "uploads",
    summary = "Withdraws what has not been delivered",
    params(("id" = Uuid, Path, description = "The upload's id")),
    responses(
        (status = 200, description = "The upload as it is then", body = api::Upload),
        (status = 404, description = "There is no such upload", body = api::Problem, content_type = PROBLEM),
        (status = 409, description = "It is over already", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The id is none, or a parameter cannot be", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
pub(super) async fn cancel<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(id): PathName<Uuid>,
    uri: Uri,
) -> Result<Json<api::Upload>, ApiError> {
    Params::of(&uri)?.end()?;
    let upload = find(&app, id).await?;
    if !app.store.log.cancel(upload.id).await? {
        return Err(ApiError::conflict("the upload is over: there is nothing to withdraw"));
    }
    let upload = find(&app, id).await?;
    view::view(&app, &upload).await.map(Json)
}

#[utoipa::path(
    post,
    path = "/uploads/{id}/retry",
    tag = "uploads",
    summary = "Its dead rows are worked on again",
    description = "Those that still are in a dead queue go back to the queue that they died in, for a new \
        life: no attempts, and no outcome until the next.",
    params(("id" = Uuid, Path, description = "The upload's id")),
    responses(
        (status = 200, description = "The upload as it is then", body = api::Upload),
        (status = 404, description = "There is no such upload", body = api::Problem, content_type = PROBLEM),
        (status = 409, description = "There is nothing dead to retry, or the upload was withdrawn", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The id is none, or a parameter cannot be", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
pub(super) async fn retry<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(id): PathName<Uuid>,
    uri: Uri,
) -> Result<Json<api::Upload>, ApiError> {
    Params::of(&uri)?.end()?;
    let upload = find(&app, id).await?;
    if matches!(upload.state, UploadState::Failed | UploadState::Cancelled) {
        return Err(ApiError::conflict("the upload was withdrawn: send its file again"));
    }
    let moved = app.broker.retry_dead(upload.id).await?;
    if moved == 0 {
        return Err(ApiError::conflict("nothing of the upload is in a dead queue"));
    }
    if upload.state == UploadState::Ended {
        app.store.control.set_ended(upload.id, false).await?;
    }
    let upload = find(&app, id).await?;
    view::view(&app, &upload).await.map(Json)
}

#[utoipa::path(
    delete,
    path = "/uploads/{id}",
    tag = "uploads",
    summary = "Deletes an upload that is over, with its file and its results",
    params(("id" = Uuid, Path, description = "The upload's id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such upload", body = api::Problem, content_type = PROBLEM),
        (status = 409, description = "It is not over: cancel it first", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The id is none, or a parameter cannot be", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
/// Deletes an upload that is over. Its file goes last: a crash before that leaves a file, not an
/// upload that cannot be read.
pub(super) async fn delete<B: Broker + Clone>(
    State(app): State<App<B>>,
    Extension(exports): Extension<Exports>,
    PathName(id): PathName<Uuid>,
    uri: Uri,
) -> Result<StatusCode, ApiError> {
    Params::of(&uri)?.end()?;
    let upload = find(&app, id).await?;
    if upload.state == UploadState::Published {
        // Its end may not have been recorded yet, although it is shown.
        app.store.log.end_uploads().await?;
    }
    if !app.store.log.delete_upload(upload.id).await? {
        return Err(ApiError::conflict(
            "the upload is not over: cancel it first, and let workers end what they have in hands",
        ));
    }
    exports.forget(upload.id);
    if let Some(name) = upload.spool
        && let Err(error) = app.intake.settings().spool.remove(&name).await
    {
        tracing::warn!(%error, file = name, "the file of a deleted upload stays in the spool");
    }
    Ok(StatusCode::NO_CONTENT)
}
