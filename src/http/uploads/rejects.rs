//! `GET /uploads/{id}/rejects`: rejected rows and warnings, each with its address.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use uuid::Uuid;

use super::find;
use super::params::{Params, cursor};
use super::rows::row_at;
use crate::api;
use crate::broker::Broker;
use crate::domain::Finding;
use crate::http::extract::PathName;
use crate::http::openapi::PROBLEM;
use crate::http::{ApiError, App};
use crate::store::StoreError;
use crate::store::log::FindingAt;

/// Findings of a page unless told.
const DEFAULT: usize = 100;

#[utoipa::path(
    get,
    path = "/uploads/{id}/rejects",
    tag = "uploads",
    summary = "Its rejected rows and warnings, each with its address",
    params(
        ("id" = Uuid, Path, description = "The upload's id"),
        ("limit" = Option<u32>, Query, description = "Items on the page; 100 unless told", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "Where the page begins: what `next` of the page before says", pattern = r"^[0-9a-f]{1,16}-[0-9a-f]{1,16}-[0-9a-f]{1,16}$"),
    ),
    responses(
        (status = 200, description = "A page of them", body = api::Page<api::Finding>),
        (status = 404, description = "There is no such upload", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The id is none, or a parameter cannot be", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
pub(super) async fn rejects<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(id): PathName<Uuid>,
    uri: Uri,
) -> Result<Json<api::Page<api::Finding>>, ApiError> {
    let mut params = Params::of(&uri)?;
    let limit = params.limit(DEFAULT, app.limits.page)?;
    let after = params.after::<3>()?.map(|[sheet, row, ordinal]| FindingAt {
        at: row_at(sheet, row),
        ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX >> 1),
    });
    params.end()?;
    let upload = find(&app, id).await?;
    let mut found = app.store.log.findings_after(upload.id, after, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found
        .last()
        .map(|(last, _)| cursor([last.at.sheet.into(), last.at.row.0.into(), last.ordinal.into()]));
    let mut data = Vec::with_capacity(found.len());
    for (_, json) in found {
        let finding: Finding = serde_json::from_str(&json)
            .map_err(|error| StoreError::Damaged(format!("a finding: {error}")))?;
        data.push(api::Finding::from(&finding));
    }
    Ok(Json(api::Page { data, next: last.filter(|_| more) }))
}
