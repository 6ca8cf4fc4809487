//! A look at a file before it is sent: a reader reads it to its end and says what it is. Nothing is
//! recorded and nothing is published.

use std::path::Path;
use std::sync::Arc;

use tokio::time::{Instant, timeout};

use super::corrects::corrects_to;
use super::intake::Intake;
use super::reader::Reader;
use super::taken::{Destination, Look, NotTaken, Spooled};
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
        to: Destination,
    ) -> Result<Look, NotTaken> {
        let settings = self.settings();
        let permit = timeout(settings.reader_wait, Arc::clone(self.permits()).acquire_owned());
        let Ok(Ok(_permit)) = permit.await else { return Err(NotTaken::Busy) };
        let fetched;
        let path = match &file.local {
            Some(local) => local.path(),
            None => {
                fetched = settings.spool.local(&file.spool, file.bytes, &file.content_hash).await?;
                fetched.path()
            }
        };
        // What is wrong with the file is said by the look itself.
        let (reader, _) = self.first_word(path, read).await?;
        let corrects = reader.corrects();
        drop(reader);
        let (read, upload) = match corrects {
            Some(id) => {
                let corrects = corrects_to(self.control(), id, read, to).await?;
                (corrects.read, Some(corrects.upload))
            }
            None => (read.clone(), None),
        };
        let key = if key.is_empty() && upload.is_some() { read.key.clone() } else { key };
        let what = PreviewOptions { key, limits: settings.look.clone() };
        let look = self.read_through(path, read, &what).await?;
        Ok(Look { corrects: upload, ..look })
    }

    async fn read_through(
        &self,
        path: &Path,
        read: ReadOptions,
        what: &PreviewOptions,
    ) -> Result<Look, NotTaken> {
        let settings = self.settings();
        let began = Instant::now();
        // A look tells of every row, also where one that is not valid would be enough.
        let decided = self.decided(read, path).await?;
        let read = ReadOptions { on_invalid: OnInvalid::Skip, ..decided };
        let mut reader = Reader::look(&settings.exe, path, &read, what, &settings.read)?;
        tokio::select! {
            seen = reader.preview() => {
                let preview = seen.map_err(NotTaken::Refused)?;
                Ok(Look { preview, reading: began.elapsed(), corrects: None })
            }
            () = self.stopping() => Err(NotTaken::Stopping),
        }
    }
}
