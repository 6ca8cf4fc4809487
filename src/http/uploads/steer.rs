//! `POST /uploads/{id}/pause`, `/resume`, `/cancel` and `/retry`.

use axum::Json;

use super::one::One;
use crate::api;
use crate::broker::Broker;
use crate::http::ApiError;
use crate::http::openapi::PROBLEM;
use crate::http::refusals::UNSUPPORTED;
use crate::store::control::UploadState;

/// What all of them answer.
type Answer = Result<Json<api::Upload>, ApiError>;

#[utoipa::path(
    post,
    path = "/uploads/{id}/pause",
    tag = "uploads",
    summary = "Hands out nothing of it until it is resumed",
    description = "What workers have in hands they finish; what they give back waits. Its file is read on. \
        It stays so whatever happens to the servers. One that is paused stays as it is.",
    params(("id" = Uuid, Path, description = "The upload's id")),
    responses(
        (status = 200, description = "The upload as it is then", body = api::Upload),
        (status = 404, description = "There is no such upload", body = api::Problem, content_type = PROBLEM),
        (status = 409, description = "It is over already", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The id is none, or a parameter cannot be", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
pub(super) async fn pause<B: Broker + Clone>(one: One<B>) -> Answer {
    if !one.app.broker.pause(one.upload.id).await? {
        return Err(ApiError::conflict("the upload is over: there is nothing to hold back"));
    }
    one.now().await
}

#[utoipa::path(
    post,
    path = "/uploads/{id}/resume",
    tag = "uploads",
    summary = "Goes on with a paused upload",
    description = "Time stood still for what was paused: it expires later by as long. Failures until now count \
        no more for its `stop_after_failures`. One that is not paused stays as it is.",
    params(("id" = Uuid, Path, description = "The upload's id")),
    responses(
        (status = 200, description = "The upload as it is then", body = api::Upload),
        (status = 404, description = "There is no such upload", body = api::Problem, content_type = PROBLEM),
        (status = 409, description = "It is over already", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The id is none, or a parameter cannot be", body = api::Problem, content_type = PROBLEM),
        (status = 501, description = UNSUPPORTED, body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["admin"])),
)]
pub(super) async fn resume<B: Broker + Clone>(one: One<B>) -> Answer {
    if !matches!(one.upload.state, UploadState::Ingesting | UploadState::Published) {
        return Err(ApiError::conflict("the upload is over: there is nothing to go on with"));
    }
    one.app.broker.resume(one.upload.id).await?;
    one.now().await
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
pub(super) async fn cancel<B: Broker + Clone>(one: One<B>) -> Answer {
    if !one.app.store.log.cancel(one.upload.id).await? {
        return Err(ApiError::conflict("the upload is over: there is nothing to withdraw"));
    }
    one.now().await
}

#[utoipa::path(
    post,
    path = "/uploads/{id}/retry",
    tag = "uploads",
    summary = "Its dead rows are worked on again",
    description = "Those that still are in a dead queue go back to the queue that they died in, for a new \
        life: no attempts, and no outcome until the next. Of a paused upload they wait there.",
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
pub(super) async fn retry<B: Broker + Clone>(one: One<B>) -> Answer {
    let (app, upload) = (&one.app, &one.upload);
    if matches!(upload.state, UploadState::Failed | UploadState::Cancelled) {
        return Err(ApiError::conflict("the upload was withdrawn: send its file again"));
    }
    let ended = upload.state == UploadState::Ended;
    if ended && upload.paused.is_some() {
        // It came to its end all the same, and nobody sees it as paused any more.
        app.broker.resume(upload.id).await?;
    }
    let moved = app.broker.retry_dead(upload.id).await?;
    if moved == 0 {
        return Err(ApiError::conflict("nothing of the upload is in a dead queue"));
    }
    if ended {
        app.store.control.set_ended(upload.id, false).await?;
    }
    one.now().await
}
