//! `GET` and `DELETE /uploads/{id}`, and what all requests begin and end with that are about one upload
//! and say nothing more: [`One`].

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::{Extension, Json};
use uuid::Uuid;

use super::exports::Exports;
use super::params::Params;
use super::{find, view};
use crate::api;
use crate::broker::Broker;
use crate::http::extract::PathName;
use crate::http::openapi::PROBLEM;
use crate::http::{ApiError, App};
use crate::store::control::{Upload, UploadState};

/// The upload that a path names, for a request without parameters.
pub(super) struct One<B> {
    pub(super) app: App<B>,
    pub(super) upload: Upload,
}

impl<B: Broker + Clone> FromRequestParts<App<B>> for One<B> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App<B>) -> Result<Self, ApiError> {
        let PathName(id): PathName<Uuid> = PathName::from_request_parts(parts, app).await?;
        Params::of(&parts.uri)?.end()?;
        Ok(Self { app: app.clone(), upload: find(app, id).await? })
    }
}

impl<B: Broker + Clone> One<B> {
    /// It as it is now, after something was done with it.
    pub(super) async fn now(&self) -> Result<Json<api::Upload>, ApiError> {
        let upload = find(&self.app, self.upload.public_id).await?;
        view::view(&self.app, &upload).await.map(Json)
    }
}

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
pub(super) async fn show<B: Broker + Clone>(one: One<B>) -> Result<Json<api::Upload>, ApiError> {
    view::view(&one.app, &one.upload).await.map(Json)
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
    Extension(exports): Extension<Exports>,
    One { app, upload }: One<B>,
) -> Result<StatusCode, ApiError> {
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
