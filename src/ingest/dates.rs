//! Dates that are written as text, where the file itself is to say in what order: decided before the
//! file is taken, so that who sent it can be asked, and what was decided is recorded with the upload.

use std::path::Path;

use super::intake::Intake;
use super::reader::Reader;
use super::taken::NotTaken;
use crate::broker::Broker;
use crate::workbook::ReadOptions;
use crate::workbook::rules::TextDates;

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
        if options.dates != TextDates::Auto {
            return Ok(options);
        }
        let settings = self.settings();
        let mut reader = Reader::decide(&settings.exe, file, &options, &settings.read)?;
        tokio::select! {
            decided = reader.decided() => {
                let dates = TextDates::Decided(decided.map_err(NotTaken::Refused)?);
                Ok(ReadOptions { dates, ..options })
            }
            () = self.stopping() => Err(NotTaken::Stopping),
        }
    }
}
