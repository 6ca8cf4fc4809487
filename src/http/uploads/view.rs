//! An upload as it is shown, put together of what is recorded of it, of how its messages stand, and
//! of how far this process has read it, if it is the one that reads.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api;
use crate::broker::Broker;
use crate::domain::Problem;
use crate::http::time::rfc3339;
use crate::http::webhook::Address;
use crate::http::{ApiError, App};
use crate::store::StoreError;
use crate::store::control::{Told, Upload, UploadState};
use crate::store::log::{RATE_WINDOW, Standing};
use crate::workbook::Totals;

/// Corrections of an upload that are shown.
const CORRECTIONS: u64 = 10;

/// An upload as it is now, of a record of it that was just read.
pub(in crate::http) async fn view<B: Broker + Clone>(
    app: &App<B>,
    upload: &Upload,
) -> Result<api::Upload, ApiError> {
    let standing = app.store.log.standing(upload.id).await?;
    let totals: Totals = stored(upload.totals.as_deref())?.unwrap_or_default();
    let topic = app.store.control.topic_name(upload.topic).await?.unwrap_or_default();
    let mut shown = recorded(upload, topic);
    let problem: Option<Problem> = stored(upload.problem.as_deref())?;
    shown.problem = problem.as_ref().map(Into::into);
    shown.status = status(upload.state, &standing);
    shown.corrected_by = app.store.control.corrections_of(upload.public_id, CORRECTIONS).await?;
    let read = app.intake.progress(upload.id).map(|now| now.read.load(Ordering::Relaxed));
    shown.counts = counts(&standing, &totals, read.unwrap_or(0));
    let over = shown.status.is_over();
    shown.paused = shown.paused.filter(|_| !over);
    let age = app.store.clock.now_ms() - upload.created_at;
    shown.pace =
        (!over).then(|| pace(&shown, &standing, Duration::from_millis(age.max(0).cast_unsigned())));
    shown.webhook = app.store.control.webhook_of(upload.id).await?.map(webhook);
    Ok(shown)
}

/// What the record alone says: an upload of which nothing has been counted yet.
pub(super) fn recorded(upload: &Upload, topic: String) -> api::Upload {
    api::Upload {
        id: upload.public_id,
        filename: upload.filename.clone(),
        status: status_of(upload.state),
        corrects: upload.corrects,
        corrected_by: vec![],
        topic,
        bytes: upload.bytes,
        content_hash: upload.content_hash.clone(),
        counts: api::Counts::default(),
        pace: None,
        paused: upload
            .paused
            .as_ref()
            .map(|pause| api::Paused { at: rfc3339(pause.at), reason: pause.why.clone() }),
        stop_after_failures: upload.stop_after.map(|limit| limit.to_string()),
        webhook: None,
        timings: api::Timings {
            received_at: rfc3339(upload.created_at),
            published_at: upload.published_at.map(rfc3339),
            ended_at: upload.ended_at.map(rfc3339),
        },
        problem: None,
        taken_before: false,
        links: api::Links::of(upload.public_id),
    }
}

/// How fast an upload goes that was received so long ago.
fn pace(shown: &api::Upload, standing: &Standing, age: Duration) -> api::Pace {
    // What has just begun is not a minute old.
    let window = age.clamp(Duration::from_secs(1), RATE_WINDOW).as_secs_f64();
    #[allow(clippy::cast_precision_loss)] // rows of a minute
    let per_second = standing.lately as f64 / window;
    let left = standing.copies.saturating_sub(standing.ended.ended());
    #[allow(clippy::cast_precision_loss)]
    let seconds = (left as f64 / per_second).ceil();
    let known = per_second > 0.0 && shown.paused.is_none() && seconds < 1e9;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 10^9
    let seconds_left = known.then_some(seconds as u64);
    api::Pace {
        per_second: (per_second * 100.0).round() / 100.0,
        seconds_left,
        exact: shown.status != api::UploadStatus::Ingesting,
    }
}

fn webhook(told: Told) -> api::WebhookState {
    let host = told.url.parse::<Address>().map(|address| address.to_string());
    let failed = told.last.as_ref().is_none_or(|last| last.error.is_some());
    let status = match (told.open, failed) {
        (true, _) => api::WebhookStatus::Waiting,
        (false, true) => api::WebhookStatus::GivenUp,
        (false, false) => api::WebhookStatus::Delivered,
    };
    // Of an end before the last retry nothing is told any more.
    let last = told.last.filter(|_| told.attempts > 0);
    api::WebhookState {
        host: host.unwrap_or_default(),
        status,
        attempts: told.attempts,
        last_attempt_at: last.as_ref().map(|last| rfc3339(last.at)),
        last_status: last.as_ref().and_then(|last| last.status),
        last_error: last.and_then(|last| last.error),
    }
}

fn stored<T: serde::de::DeserializeOwned>(json: Option<&str>) -> Result<Option<T>, StoreError> {
    let damaged = |error: serde_json::Error| StoreError::Damaged(error.to_string());
    json.map(serde_json::from_str).transpose().map_err(damaged)
}

fn status_of(state: UploadState) -> api::UploadStatus {
    match state {
        UploadState::Ingesting => api::UploadStatus::Ingesting,
        UploadState::Published => api::UploadStatus::Published,
        UploadState::Ended => api::UploadStatus::Ended,
        UploadState::Failed => api::UploadStatus::Failed,
        UploadState::Cancelled => api::UploadStatus::Cancelled,
    }
}

/// The end is recorded a moment after the last outcome; the numbers know it at once.
fn status(state: UploadState, standing: &Standing) -> api::UploadStatus {
    match state {
        UploadState::Published if standing.waiting() == 0 && standing.in_flight == 0 => {
            api::UploadStatus::Ended
        }
        state => status_of(state),
    }
}

/// `read` is what this process has got from the reader; whoever asks another process sees the rows
/// that are committed, which are a little fewer.
fn counts(standing: &Standing, totals: &Totals, read: u64) -> api::Counts {
    // Findings beyond their limit are counted by the reader alone, and told at the end.
    let rejected = standing.rejected.max(totals.rejected_rows);
    api::Counts {
        read: (standing.messages + standing.duplicates).max(totals.rows).max(read) + rejected,
        published: standing.messages.saturating_sub(standing.unrouted),
        rejected,
        duplicates: standing.duplicates,
        unrouted: standing.unrouted,
        blank: totals.blank_rows,
        warnings: totals.warnings,
        copies: standing.copies,
        waiting: standing.waiting(),
        in_flight: standing.in_flight,
        done: standing.ended.done,
        dead: standing.ended.dead,
        expired: standing.ended.expired,
        cancelled: standing.ended.cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::log::Counts;

    #[test]
    fn the_sums_close() {
        let standing = Standing {
            messages: 10,
            unrouted: 2,
            copies: 16,
            rejected: 3,
            duplicates: 2,
            in_flight: 4,
            lately: 0,
            ended: Counts { done: 5, dead: 1, expired: 2, cancelled: 1 },
        };
        let totals = Totals { rows: 12, rejected_rows: 5, blank_rows: 7, ..Totals::default() };
        let counts = counts(&standing, &totals, 10);
        let became = counts.published + counts.unrouted + counts.rejected + counts.duplicates;
        assert_eq!(counts.read, became);
        let ended = counts.done + counts.dead + counts.expired + counts.cancelled;
        assert_eq!(counts.copies, counts.waiting + counts.in_flight + ended);
        assert_eq!((counts.blank, counts.rejected, counts.waiting), (7, 5, 3));
    }

    #[test]
    fn what_is_read_is_the_most_that_is_known() {
        let standing = Standing { messages: 400, ..Standing::default() };
        assert_eq!(counts(&standing, &Totals::default(), 0).read, 400);
        assert_eq!(counts(&standing, &Totals::default(), 512).read, 512);
    }

    #[test]
    fn an_upload_has_ended_when_nothing_of_it_is_left() {
        let mut standing = Standing { copies: 1, ..Standing::default() };
        let published = UploadState::Published;
        assert_eq!(status(published, &standing), api::UploadStatus::Published);
        standing.in_flight = 1;
        assert_eq!(status(published, &standing), api::UploadStatus::Published);
        (standing.in_flight, standing.ended.done) = (0, 1);
        assert_eq!(status(published, &standing), api::UploadStatus::Ended);
        assert_eq!(status(UploadState::Ingesting, &standing), api::UploadStatus::Ingesting);
    }
}
