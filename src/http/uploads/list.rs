//! `GET /uploads`: newest first.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use futures::{StreamExt, TryStreamExt, stream};

use super::params::{Params, cursor};
use super::view::view;
use crate::api;
use crate::broker::Broker;
use crate::http::openapi::PROBLEM;
use crate::http::{ApiError, App};
use crate::store::log::UploadId;

/// Uploads of a page unless told.
const DEFAULT: usize = 20;

#[utoipa::path(
    get,
    path = "/uploads",
    tag = "uploads",
    summary = "Uploads, newest first",
    params(
        ("limit" = Option<u32>, Query, description = "Items on the page; 20 unless told", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "Where the page begins: what `next` of the page before says", pattern = r"^[0-9a-f]{1,16}$"),
    ),
    responses(
        (status = 200, description = "A page of them", body = api::Page<api::Upload>),
        (status = 422, description = "A parameter cannot be", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
pub(super) async fn list<B: Broker + Clone>(
    State(app): State<App<B>>,
    uri: Uri,
) -> Result<Json<api::Page<api::Upload>>, ApiError> {
    let mut params = Params::of(&uri)?;
    let limit = params.limit(DEFAULT, app.limits.page)?;
    let before = params.after::<1>()?;
    params.end()?;
    let before = before.map(|[id]| UploadId(i64::try_from(id).unwrap_or(i64::MAX)));
    let mut uploads = app.store.control.uploads(before, limit as u64 + 1).await?;
    let more = uploads.len() > limit;
    uploads.truncate(limit);
    let last = uploads.last().map(|upload| cursor([upload.id.0.cast_unsigned()]));
    let data = stream::iter(uploads)
        .map(|upload| {
            let app = app.clone();
            async move { view(&app, &upload).await }
        })
        .buffered(app.limits.uploads_at_once.max(1))
        .try_collect()
        .await?;
    Ok(Json(api::Page { data, next: last.filter(|_| more) }))
}
