//! Uploads: sending files, watching them being read and worked off, reading their rows, ending
//! them.

mod asked;
mod body;
mod download;
mod events;
mod exports;
mod feed;
pub(super) mod linger;
mod list;
mod one;
mod params;
mod preview;
mod receive;
mod rejects;
mod rows;
mod steer;
mod view;
mod watchers;

pub(super) use view::view;

use axum::routing::{get, post};
use axum::{Extension, Router};
use utoipa::OpenApi;
use uuid::Uuid;

use super::{ApiError, App};
use crate::broker::Broker;
use crate::store::control::Upload;

/// The routes of uploads. The body of `POST /file/upload` is bounded here, by
/// [`HttpLimits::file_bytes`](super::HttpLimits::file_bytes) and
/// [`HttpLimits::files`](super::HttpLimits::files), and by no layer above.
pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new()
        .route("/file/upload", post(receive::upload::<B>))
        .route("/uploads", get(list::list::<B>))
        .route("/uploads/{id}", get(one::show::<B>).delete(one::delete::<B>))
        .route("/uploads/{id}/pause", post(steer::pause::<B>))
        .route("/uploads/{id}/resume", post(steer::resume::<B>))
        .route("/uploads/{id}/cancel", post(steer::cancel::<B>))
        .route("/uploads/{id}/retry", post(steer::retry::<B>))
        .route("/uploads/{id}/rows", get(rows::rows::<B>))
        .route("/uploads/{id}/rejects", get(rejects::rejects::<B>))
        .route("/uploads/{id}/events", get(events::events::<B>))
        .route("/uploads/{id}/results.xlsx", get(download::results_xlsx::<B>))
        .route("/uploads/{id}/results.csv", get(download::results_csv::<B>))
        .route("/uploads/{id}/results.ndjson", get(download::results_ndjson::<B>))
        .route("/uploads/{id}/failures.xlsx", get(download::failures_xlsx::<B>))
        .layer(Extension(exports::Exports::default()))
        .layer(Extension(watchers::Watchers::default()))
}

#[derive(OpenApi)]
#[openapi(paths(
    receive::upload,
    list::list,
    one::show,
    one::delete,
    steer::pause,
    steer::resume,
    steer::cancel,
    steer::retry,
    rows::rows,
    rejects::rejects,
    events::events,
    download::results_xlsx,
    download::results_csv,
    download::results_ndjson,
    download::failures_xlsx,
))]
struct Docs;

/// What these files add to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

/// The upload that a path names.
async fn find<B: Broker + Clone>(app: &App<B>, id: Uuid) -> Result<Upload, ApiError> {
    let found = app.store.control.upload_by_public_id(id).await?;
    found.ok_or_else(|| ApiError::missing("upload", id))
}
