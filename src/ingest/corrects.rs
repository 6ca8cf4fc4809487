//! A file that says it corrects an upload: what is known of that upload decides how the file is read.

use uuid::Uuid;

use super::taken::Destination;
use crate::domain::{Problem, ProblemKind};
use crate::store::StoreError;
use crate::store::control::{Control, Upload, UploadState};
use crate::workbook::rules::TextDates;
use crate::workbook::{Correction, CorrectionChoice, ReadOptions, SheetHead};

/// A correction whose upload is known.
#[derive(Debug)]
pub struct Corrects {
    /// The upload that is corrected.
    pub upload: Upload,
    /// How the file is to be read: as was asked, or else as the upload was.
    pub read: ReadOptions,
}

/// Why a file is not taken as the correction that it says it is.
#[derive(Debug, thiserror::Error)]
pub enum CannotCorrect {
    /// The upload is not there, or not one that can be corrected.
    #[error("{0}")]
    Refused(Problem),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Looks the upload up.
///
/// # Errors
/// [`CannotCorrect`].
pub async fn corrects(
    control: &Control,
    id: Uuid,
    asked: &ReadOptions,
) -> Result<Corrects, CannotCorrect> {
    let refused = |detail: String| {
        let detail = format!(
            "{detail}; with `correction=off` the file is taken as one of its own, its columns `row` \
             and `problem` too"
        );
        CannotCorrect::Refused(Problem::new(ProblemKind::NotCorrectable, detail))
    };
    let Some(upload) = control.upload_by_public_id(id).await? else {
        return Err(refused(format!(
            "the file corrects the upload {id}, which is not known here or was deleted"
        )));
    };
    match upload.state {
        UploadState::Published | UploadState::Ended => {}
        UploadState::Ingesting => {
            return Err(refused(format!(
                "the file corrects the upload {id}, which is still being read: send it when that is \
                 published"
            )));
        }
        UploadState::Failed | UploadState::Cancelled => {
            return Err(refused(format!(
                "the file corrects the upload {id}, which was withdrawn: send the whole file again"
            )));
        }
    }
    let damaged = |error: serde_json::Error| StoreError::Damaged(error.to_string());
    let heads: Vec<SheetHead> = serde_json::from_str(&upload.sheets).map_err(damaged)?;
    let before: ReadOptions = serde_json::from_str(&upload.options).map_err(damaged)?;
    // A correction of a correction corrects what that did: rows keep the numbers of the first.
    let root = before.correction.of().map_or_else(|| id.to_string(), |of| of.root.clone());
    let correction = Correction::new(id.to_string(), root, &heads);
    let or_before = |asked: &crate::workbook::AttributeColumns, before| match asked.is_empty() {
        true => before,
        false => asked.clone(),
    };
    // Where the upload's dates have an order, its corrected rows are dates in the same.
    let dates = match asked.dates {
        TextDates::Keep | TextDates::Auto if before.dates != TextDates::Keep => before.dates,
        _ => asked.dates.clone(),
    };
    let read = ReadOptions {
        dates,
        attributes: or_before(&asked.attributes, before.attributes),
        key: or_before(&asked.key, before.key),
        correction: CorrectionChoice::Of(Box::new(correction)),
        ..asked.clone()
    };
    Ok(Corrects { upload, read })
}

/// Looks the upload up, for a file that goes to `to`: where nothing was said, its rows go to the
/// upload's topic, and are checked by the rules that this has now.
///
/// # Errors
/// [`CannotCorrect`].
pub(super) async fn corrects_to(
    control: &Control,
    id: Uuid,
    asked: &ReadOptions,
    to: Destination,
) -> Result<Corrects, CannotCorrect> {
    let mut found = corrects(control, id, asked).await?;
    if let Destination::Usual(_) = to {
        let damaged = |error: serde_json::Error| StoreError::Damaged(error.to_string());
        let rules = control.topic_rules(found.upload.topic).await?;
        found.read.rules =
            rules.map(|json| serde_json::from_str(&json)).transpose().map_err(damaged)?;
    }
    Ok(found)
}
