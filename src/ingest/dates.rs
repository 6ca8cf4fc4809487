//! Dates that are written as text, where the file itself is to say in what order: decided before the
//! file is taken, so that who sent it can be asked, and what was decided is recorded with the upload.

use std::path::Path;

use super::intake::Intake;
use super::reader::{CannotStart, Reader};
use super::taken::NotTaken;
use crate::broker::Broker;
use crate::domain::Problem;
use crate::workbook::rules::TextDates;
use crate::workbook::{ReadLimits, ReadOptions};

impl<B: Broker + Clone> Intake<B> {
    /// The options with every order decided. The file is read to its end if something has to be. The
    /// caller holds a reader's permit.
    ///
    /// Cancellation safety: the reader ends with the call.
    ///
    /// # Errors
    /// [`NotTaken`]: also when the order of some column cannot be told.
    pub(super) async fn decided(
        &self,
        options: ReadOptions,
        file: &Path,
    ) -> Result<ReadOptions, NotTaken> {
        let settings = self.settings();
        tokio::select! {
            decided = decided(&settings.exe, file, options, &settings.read) => {
                decided?.map_err(NotTaken::Refused)
            }
            () = self.stopping() => Err(NotTaken::Stopping),
        }
    }
}

/// The options with every order decided, by a reader of its own if something has to be; `exe` is the
/// program that has `read`.
///
/// Cancellation safety: the reader ends with the call.
///
/// # Errors
/// The reader cannot be started; or the file's refusal, also when the order of some column cannot be told.
pub async fn decided(
    exe: &Path,
    file: &Path,
    options: ReadOptions,
    limits: &ReadLimits,
) -> Result<Result<ReadOptions, Problem>, CannotStart> {
    if options.dates != TextDates::Auto {
        return Ok(Ok(options));
    }
    let decided = Reader::decide(exe, file, &options, limits)?.decided().await;
    Ok(decided.map(|decided| ReadOptions { dates: TextDates::Decided(decided), ..options }))
}
