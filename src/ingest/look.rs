//! A look at a file before it is sent: a reader reads it to its end and says what it is. Nothing is
//! recorded and nothing is published.

use std::sync::Arc;

use tokio::time::{Instant, timeout};

use super::intake::Intake;
use super::reader::Reader;
use super::taken::{Look, NotTaken, Spooled};
use crate::broker::Broker;
use crate::workbook::rules::OnInvalid;
use crate::workbook::{AttributeColumns, PreviewOptions, ReadOptions};

impl<B: Broker + Clone> Intake<B> {
    /// Reads a spooled file to its end and says what it is; `key` names the columns that a row is
    /// known by. It takes a reader's place like any other file.
    ///
    /// Cancellation safety: the reader ends with the call. The file stays where it is.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub async fn look(
        &self,
        file: &Spooled,
        read: &ReadOptions,
        key: AttributeColumns,
    ) -> Result<Look, NotTaken> {
        let settings = self.settings();
        let permit = timeout(settings.reader_wait, Arc::clone(self.permits()).acquire_owned());
        let Ok(Ok(_permit)) = permit.await else { return Err(NotTaken::Busy) };
        let what = PreviewOptions { key, limits: settings.look.clone() };
        let fetched;
        let path = match &file.local {
            Some(local) => local.path(),
            None => {
                fetched = settings.spool.local(&file.spool, file.bytes, &file.content_hash).await?;
                fetched.path()
            }
        };
        let began = Instant::now();
        // A look tells of every row, also where one that is not valid would be enough.
        let read = ReadOptions { on_invalid: OnInvalid::Skip, ..self.decided(read, path).await? };
        let mut reader = Reader::look(&settings.exe, path, &read, &what, &settings.read)?;
        tokio::select! {
            seen = reader.preview() => {
                let preview = seen.map_err(NotTaken::Refused)?;
                Ok(Look { preview, reading: began.elapsed() })
            }
            () = self.stopping() => Err(NotTaken::Stopping),
        }
    }
}
