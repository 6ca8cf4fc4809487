//! `POST /file/upload?dry_run=true`: each file is read to its end and told of; nothing is recorded,
//! nothing is published, and the file goes with its answer.

use axum::Json;
use axum::http::StatusCode;

use super::body::Inbox;
use super::receive::{Slot, about, none_taken, not_taken};
use crate::api;
use crate::broker::Broker;
use crate::http::{ApiError, App};
use crate::ingest::taken::{Destination, Look, Spooled};
use crate::store::log::TopicId;
use crate::workbook::{AttributeColumns, HeaderRow, ReadOptions, preview};

/// What a dry run is asked for.
pub(super) struct Wanted {
    pub(super) read: ReadOptions,
    pub(super) topic: Destination,
    /// The columns that a row is known by.
    pub(super) key: AttributeColumns,
}

/// Answers 200 when at least one file can be read, with what each is; else with what is wrong.
pub(super) async fn answer<B: Broker + Clone>(
    app: &App<B>,
    mut inbox: Inbox,
    wanted: &Wanted,
) -> Result<(StatusCode, Json<api::Data<api::PreviewAnswer>>), ApiError> {
    let mut slots = vec![];
    while let Some(file) = inbox.peek() {
        let slot = match file {
            Ok(file) => {
                let looked =
                    app.intake.look(file, &wanted.read, wanted.key.clone(), wanted.topic).await;
                let outcome = match looked {
                    Ok(look) => Ok(shown(app, file, look, wanted).await),
                    Err(error) => Err(not_taken(error)),
                };
                Slot { filename: Some(file.filename.clone()), outcome }
            }
            Err(refused) => {
                Slot { filename: refused.problem.filename.clone(), outcome: Err(refused.clone()) }
            }
        };
        slots.push(slot);
        inbox.remove_next();
    }
    if slots.iter().all(|slot| slot.outcome.is_err()) {
        return Err(none_taken(slots));
    }
    let data = slots.into_iter().map(|slot| match slot.outcome {
        Ok(seen) => api::PreviewAnswer::Seen(Box::new(seen)),
        Err(refused) => api::PreviewAnswer::Refused(Box::new(about(refused, slot.filename))),
    });
    Ok((StatusCode::OK, Json(api::Data { data: data.collect() })))
}

async fn shown<B: Broker + Clone>(
    app: &App<B>,
    file: &Spooled,
    look: Look,
    wanted: &Wanted,
) -> api::Preview {
    let Look { preview, reading, corrects } = look;
    let topic = match (wanted.topic, &corrects) {
        (Destination::Usual(_), Some(upload)) => Some(upload.topic),
        (told, _) => told.plain(),
    };
    let totals = preview.totals;
    let chosen =
        |name: &str| preview.sheets.iter().any(|sheet| sheet.name.as_deref() == Some(name));
    let workbook = preview.workbook.iter().map(|sheet| api::ListedSheet {
        name: sheet.name.clone(),
        hidden: sheet.hidden,
        chosen: chosen(&sheet.name),
    });
    let duplicates = preview.duplicates;
    let twins = duplicates
        .first
        .iter()
        .map(|(again, first)| api::Twin { address: again.to_string(), first: first.to_string() });
    api::Preview {
        filename: file.filename.clone(),
        bytes: file.bytes,
        content_hash: file.content_hash.clone(),
        workbook: workbook.collect(),
        duplicates: api::Duplicates {
            key: wanted.key.names().map(str::to_owned).collect(),
            rows: duplicates.rows,
            first: twins.collect(),
            without_key: duplicates.without_key,
            complete: duplicates.complete,
        },
        sheets: preview.sheets.into_iter().map(|one| sheet(one, wanted.read.header_row)).collect(),
        counts: api::PreviewCounts {
            rows: totals.rows,
            rejected: totals.rejected_rows,
            blank: totals.blank_rows,
            warnings: totals.warnings,
        },
        findings: preview.findings.iter().map(Into::into).collect(),
        estimate: api::Estimate {
            reading_seconds: reading.as_secs_f64(),
            working_seconds: working_seconds(app, topic, totals.rows).await,
        },
        corrects: corrects.map(|upload| upload.public_id),
    }
}

fn sheet(sheet: preview::SheetPreview, asked: HeaderRow) -> api::SheetPreview {
    let first = sheet.first.into_iter().map(|one| api::FirstRow { row: one.row.0, data: one.data });
    api::SheetPreview {
        name: sheet.name,
        header_row: sheet.header_row.0,
        header_because: match asked {
            HeaderRow::Found => api::HeaderBecause::FirstFilled,
            HeaderRow::Told(_) => api::HeaderBecause::Told,
        },
        rows: sheet.rows,
        columns: sheet.columns.into_iter().map(column).collect(),
        columns_left_out: sheet.columns_left_out as u64,
        first: first.collect(),
    }
}

fn column(column: preview::ColumnPreview) -> api::ColumnPreview {
    let disagree = column
        .disagree
        .into_iter()
        .map(|(at, of)| api::Disagreeing { address: at.to_string(), kind: kind(of) });
    let dates = column.dates.map(|dates| api::TextDates {
        order: match dates.order {
            preview::DateOrder::DayFirst => api::DateOrder::DayFirst,
            preview::DateOrder::MonthFirst => api::DateOrder::MonthFirst,
            preview::DateOrder::Ambiguous => api::DateOrder::Ambiguous,
            preview::DateOrder::Mixed => api::DateOrder::Mixed,
        },
        cells: dates.cells,
        day_first: dates.day_first.map(|at| at.to_string()),
        month_first: dates.month_first.map(|at| at.to_string()),
    });
    api::ColumnPreview {
        name: column.name,
        column: column.column.to_string(),
        kind: column.kind.map(kind),
        filled: column.filled,
        blank: column.blank,
        disagreeing: column.disagreeing,
        disagree: disagree.collect(),
        numbers_as_text: column.numbers_as_text,
        dates,
    }
}

fn kind(kind: preview::Kind) -> api::CellKind {
    match kind {
        preview::Kind::Text => api::CellKind::Text,
        preview::Kind::Integer => api::CellKind::Integer,
        preview::Kind::Number => api::CellKind::Number,
        preview::Kind::Boolean => api::CellKind::Boolean,
        preview::Kind::Date => api::CellKind::Date,
        preview::Kind::DateTime => api::CellKind::DateTime,
        preview::Kind::Time => api::CellKind::Time,
        preview::Kind::Duration => api::CellKind::Duration,
    }
}

/// By the slowest of the topic's queues. A guess that cannot be made is none, and no error.
async fn working_seconds<B: Broker + Clone>(
    app: &App<B>,
    topic: Option<TopicId>,
    rows: u64,
) -> Option<f64> {
    let routes = app.store.control.routes(topic?).await.ok()?;
    let mut longest: Option<f64> = None;
    for route in routes.queues {
        let stats = app.broker.stats(&route.name).await.ok()?;
        let depth = stats.depth;
        let ahead = depth.ready + depth.delayed + depth.held + depth.in_flight;
        let seconds = (ahead + rows) as f64 / stats.ended_per_second;
        if !seconds.is_finite() {
            return None;
        }
        longest = Some(longest.map_or(seconds, |longest| longest.max(seconds)));
    }
    longest
}
