//! A file being received for a bucket: written to a working file, from which a sender's task takes
//! it to the bucket meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::super::SpoolError;
use super::super::local::Copy;
use super::super::writing::Writing;
use super::Bucket;
use super::sender::Sending;
use crate::ingest::taken::Spooled;

/// A file being received. Dropped before [`finish`](Self::finish) has answered, it is removed here
/// at once, and soon in the bucket.
#[derive(Debug)]
pub(in super::super) struct Outgoing {
    name: String,
    copy: Copy,
    writing: Writing,
    sending: Sending,
}

impl Outgoing {
    /// Begins a file of up to `limit` bytes.
    pub(in super::super) async fn create(
        bucket: &Arc<Bucket>,
        limit: u64,
    ) -> Result<Self, SpoolError> {
        let name = Uuid::new_v4().simple().to_string();
        let (copy, file) = Copy::create(&bucket.limits.work).await?;
        let sending = Sending::begin(Arc::clone(bucket), name.clone(), file.try_clone()?);
        Ok(Self { name, copy, writing: Writing::new(file, limit), sending })
    }

    pub(in super::super) fn bytes(&self) -> u64 {
        self.writing.bytes()
    }

    /// Adds a piece. What has failed in the bucket is told here, so that a client need not send all
    /// of a file that cannot be kept.
    pub(in super::super) async fn write(&mut self, piece: &Bytes) -> Result<(), SpoolError> {
        self.writing.write(piece).await?;
        self.sending.advance(self.writing.written())
    }

    /// Waits until the object is whole.
    pub(in super::super) async fn finish(
        mut self,
        filename: String,
    ) -> Result<Spooled, SpoolError> {
        // The working file is not flushed to the disk: after a crash the object is what counts.
        self.writing.step(|_| Ok(())).await?;
        let bytes = self.writing.bytes();
        self.sending.finish(bytes).await?.claim();
        let content_hash = self.writing.hash();
        let local = Some(self.copy.into());
        Ok(Spooled { spool: self.name, filename, content_hash, bytes, local })
    }
}
