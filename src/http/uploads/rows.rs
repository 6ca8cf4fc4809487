//! `GET /uploads/{id}/rows`: the rows in their order, each with its message in every queue that
//! takes it.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use uuid::Uuid;

use super::find;
use super::params::{Params, cursor};
use crate::api;
use crate::broker::Broker;
use crate::domain::RowNumber;
use crate::http::extract::PathName;
use crate::http::openapi::PROBLEM;
use crate::http::{ApiError, App, kept_json};
use crate::store::StoreError;
use crate::store::control::{Route, sheet_names};
use crate::store::log::{CopyState, OutcomeKind, RowAt, UploadRow};

/// Rows of a page unless told.
const DEFAULT: usize = 100;

#[utoipa::path(
    get,
    path = "/uploads/{id}/rows",
    tag = "uploads",
    summary = "Its rows in their order, each with its message in every queue that takes it",
    params(
        ("id" = Uuid, Path, description = "The upload's id"),
        ("limit" = Option<u32>, Query, description = "Items on the page; 100 unless told", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "Where the page begins: what `next` of the page before says", pattern = r"^[0-9a-f]{1,16}-[0-9a-f]{1,16}$"),
    ),
    responses(
        (status = 200, description = "A page of them", body = api::Page<api::Row>),
        (status = 404, description = "There is no such upload", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The id is none, or a parameter cannot be", body = api::Problem, content_type = PROBLEM),
    ),
    security(("key" = ["read"])),
)]
pub(super) async fn rows<B: Broker + Clone>(
    State(app): State<App<B>>,
    PathName(id): PathName<Uuid>,
    uri: Uri,
) -> Result<Json<api::Page<api::Row>>, ApiError> {
    let mut params = Params::of(&uri)?;
    let limit = params.limit(DEFAULT, app.limits.page)?;
    let after = params.after::<2>()?.map(|[sheet, row]| row_at(sheet, row));
    params.end()?;
    let upload = find(&app, id).await?;
    let log = &app.store.log;
    let page = log.upload_rows(upload.id, after, limit, app.limits.page_bytes).await?;
    let ids: Vec<i64> = page.rows.iter().map(|row| row.id).collect();
    let mut queues = vec![];
    if !ids.is_empty() {
        for route in app.store.control.routes(upload.topic).await?.queues {
            let copies = log.copies(route.queue, &ids).await?;
            queues.push((route, copies));
        }
    }
    let damaged = |error: serde_json::Error| StoreError::Damaged(error.to_string());
    let names = sheet_names(&upload.sheets).map_err(damaged)?;
    let last = page.rows.last().map(|row| cursor([row.at.sheet.into(), row.at.row.0.into()]));
    let mut data = Vec::with_capacity(page.rows.len());
    for row in page.rows {
        data.push(api::Row {
            sheet: names.get(usize::from(row.at.sheet)).cloned().flatten(),
            row: row.at.row.0,
            messages: messages(&app, &queues, &row),
            data: kept_json(row.data)?,
        });
    }
    Ok(Json(api::Page { data, next: last.filter(|_| page.more) }))
}

/// A cursor that nobody was given may hold any number.
pub(super) fn row_at(sheet: u64, row: u64) -> RowAt {
    RowAt {
        sheet: u16::try_from(sheet).unwrap_or(u16::MAX >> 1),
        row: RowNumber(u32::try_from(row).unwrap_or(u32::MAX >> 1)),
    }
}

fn messages<B: Broker + Clone>(
    app: &App<B>,
    queues: &[(Route, HashMap<i64, CopyState>)],
    row: &UploadRow,
) -> Vec<api::RowCopy> {
    let held = queues.iter().filter_map(|(route, copies)| Some((route, *copies.get(&row.id)?)));
    held.map(|(route, state)| api::RowCopy {
        id: app.key.id(route.queue.0.cast_unsigned(), row.id.cast_unsigned()).to_string(),
        queue: route.name.to_string(),
        state: match state {
            None => api::State::Waiting,
            Some(OutcomeKind::Done) => api::State::Done,
            Some(OutcomeKind::Dead) => api::State::Dead,
            Some(OutcomeKind::Expired) => api::State::Expired,
            Some(OutcomeKind::Cancelled) => api::State::Cancelled,
        },
    })
    .collect()
}
