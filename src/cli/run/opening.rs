//! A file on its way to being run: how it is to be read, and its reader, which has said its first word.
//! A correction is read as that, and dates whose order the file itself is to say are decided before.

use std::path::Path;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::corrections;
use super::error::RunError;
use crate::ingest::dates::decided;
use crate::ingest::reader::Reader;
use crate::store::control::Control;
use crate::workbook::rules::TextDates;
use crate::workbook::{ReadLimits, ReadOptions, SheetHead};

/// A file that is read.
pub(super) struct Opened {
    pub(super) reader: Reader,
    pub(super) first: SheetHead,
    /// How it is read.
    pub(super) read: ReadOptions,
    /// The run that it corrects.
    pub(super) corrects: Option<Uuid>,
}

/// Opens a file; `None` when stopped.
pub(super) async fn open(
    control: &Control,
    file: &Path,
    asked: ReadOptions,
    limits: &ReadLimits,
    stop: &CancellationToken,
) -> Result<Option<Opened>, RunError> {
    let exe = std::env::current_exe()
        .map_err(|source| RunError::Open { path: "/proc/self/exe".into(), source })?;
    let mut reader = Reader::start(&exe, file, &asked, limits)?;
    let mut first = tokio::select! {
        first = reader.first_word() => first?,
        () = stop.cancelled() => return Ok(None),
    };
    let (corrects, mut read) = (reader.corrects(), asked);
    if let Some(id) = corrects {
        read = corrections::read(control, id, &read).await?;
    }
    if corrects.is_some() || read.dates == TextDates::Auto {
        read = tokio::select! {
            read = decided(&exe, file, read, limits) => read??,
            () = stop.cancelled() => return Ok(None),
        };
        reader = Reader::start(&exe, file, &read, limits)?;
        first = tokio::select! {
            first = reader.first_word() => first?,
            () = stop.cancelled() => return Ok(None),
        };
    }
    Ok(Some(Opened { reader, first, read, corrects }))
}
