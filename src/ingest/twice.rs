//! A file that is to be published whole or not at all, over a broker that holds nothing back, or of
//! which nothing is to be published if one row is not valid: it is read to its end first, by a reader
//! whose rows nobody takes, and only then read and published.
//!
//! What was published by an earlier attempt shows that the file was read to its end before.

use tokio_util::sync::CancellationToken;

use super::feed::died;
use super::patient::Patient;
use super::reader::Reader;
use super::{IngestError, IngestLimits};
use crate::broker::{Broker, BrokerError};
use crate::domain::{Problem, ProblemKind};
use crate::store::control::Upload;
use crate::store::log::Fence;
use crate::workbook::rules::OnInvalid;
use crate::workbook::{Frame, ReadOptions};

/// Whether a file is read to its end before anything of it is published.
///
/// # Errors
/// [`IngestError::Words`] when its options cannot be read.
pub(super) fn is_due(upload: &Upload, broker_holds: bool) -> Result<bool, IngestError> {
    let options: ReadOptions = serde_json::from_str(&upload.options)?;
    Ok(!upload.stream && !broker_holds || options.on_invalid == OnInvalid::Abort)
}

/// Reads to the end; answers the file's fault, if it has one.
///
/// # Errors
/// [`IngestError::Stopped`].
pub(super) async fn fault(
    mut reader: Reader,
    stop: &CancellationToken,
) -> Result<Option<Problem>, IngestError> {
    loop {
        let frame = tokio::select! {
            frame = reader.next_frame() => frame,
            () = stop.cancelled() => return Err(IngestError::Stopped),
        };
        match frame {
            Ok(Some(Frame::Rows(_) | Frame::Sheet(_))) => {}
            Ok(Some(Frame::End(totals))) => {
                tracing::info!(step = "checked", rows = totals.rows, "a file is whole");
                return Ok(None);
            }
            Ok(Some(Frame::Fault(problem))) | Err(problem) => return Ok(Some(problem)),
            Ok(Some(Frame::Preview(_) | Frame::Corrects(_)) | None) => {
                return Ok(Some(died("it ended before the file did")));
            }
        }
    }
}

/// Records the fault of a file, as patiently as everything is done.
///
/// # Errors
/// [`IngestError`].
pub(super) async fn fail<B: Broker>(
    broker: B,
    fence: Fence,
    problem: &Problem,
    limits: &IngestLimits,
    stop: &CancellationToken,
) -> Result<(), IngestError> {
    // What the problem says may be the file's own words.
    tracing::info!(step = "failed", why = problem.kind.title(), "a file has a fault");
    let json = serde_json::to_string(problem)?;
    Patient::new(broker, limits.outage, stop.clone()).discard(fence, &json).await
}

/// The fault of a file that the broker can carry only in part, if that is why an ingestion ended.
pub(super) fn not_carried(error: &IngestError) -> Option<Problem> {
    match error {
        IngestError::Broker(error @ BrokerError::Unsupported { .. }) => {
            Some(Problem::new(ProblemKind::TooLarge, error.to_string()))
        }
        _ => None,
    }
}
