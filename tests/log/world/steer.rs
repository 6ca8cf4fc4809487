//! Pausing uploads and going on with them, whether they are read still or published.

use super::*;

impl World<'_> {
    /// One that was recorded, and not taken back.
    pub(super) fn any_upload(&self, pick: u8) -> i64 {
        let all: Vec<i64> = self.model.uploads.keys().copied().collect();
        all[usize::from(pick) % all.len()]
    }

    pub(super) async fn pause(&mut self, pick: u8) -> Checked {
        let upload = self.any_upload(pick);
        let id = UploadId(upload);
        // Whoever saw it as it was before the last pause or resume changes nothing.
        let stale = PausedBy::Failures { why: "too late", steered: -1 };
        check!(!self.log.pause(id, stale).await?, "a pause by what is out of date");
        check!(self.log.pause(id, PausedBy::Hand).await?, "{id:?} cannot be paused");
        self.model.pause(upload);
        Ok(())
    }

    pub(super) async fn resume(&mut self, upload: i64) -> Checked {
        let paused = self.model.uploads[&upload].paused.is_some();
        check_eq!(self.log.resume(UploadId(upload)).await?, paused, "resumed {upload}");
        self.model.resume(upload);
        Ok(())
    }
}
