//! `GET /uploads`: newest first.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use futures::{StreamExt, TryStreamExt, stream};

use super::params::{Params, cursor};
use super::view::view;
use crate::api;
use crate::broker::Broker;
use crate::http::{ApiError, App};
use crate::store::log::UploadId;

/// Uploads of a page unless told.
const DEFAULT: usize = 20;

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
