//! Sends a working file to the bucket while it is being written.
//!
//! A task of its own follows the writing: as soon as a part lies in the file and one more request may
//! be made, the part is read from it and sent. A file that is whole before it has more than one part
//! goes in a single request. Neither making, completing nor aborting an object is ever cut off by
//! somebody who went away: the task sees that nobody waits, and takes back what it did.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use object_store::{MultipartUpload, ObjectStoreExt};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::super::SpoolError;
use super::super::writing::blocking;
use super::Bucket;
use super::faults::{failed, unanswered};

/// How far a file is written.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    bytes: u64,
    whole: bool,
}

/// A file being sent. Dropped before [`finish`](Self::finish) has answered, it is taken back.
#[derive(Debug)]
pub(super) struct Sending {
    written: watch::Sender<Written>,
    ended: oneshot::Receiver<Result<Unclaimed, SpoolError>>,
}

impl Sending {
    /// Begins to send `file` as the object `name`.
    pub(super) fn begin(bucket: Arc<Bucket>, name: String, file: File) -> Self {
        let (written, seen) = watch::channel(Written::default());
        let (tell, ended) = oneshot::channel();
        let tasks = bucket.tasks.clone();
        let sending = async move {
            let mut sender = Sender {
                bucket: Arc::clone(&bucket),
                name: name.clone(),
                file: Arc::new(file),
                seen,
                tell: &tell,
                sent: 0,
                upload: None,
                parts: JoinSet::new(),
            };
            let sent = sender.send().await;
            if sent.is_err() {
                sender.take_back().await;
            }
            drop(sender);
            // Whoever went away at the last moment leaves an answer that nobody claims.
            let _ = tell.send(sent.map(|()| Unclaimed { bucket: Some(bucket), name }));
        };
        tasks.spawn(sending);
        Self { written, ended }
    }

    /// Says how much is written.
    ///
    /// # Errors
    /// What has failed meanwhile.
    pub(super) fn advance(&mut self, bytes: u64) -> Result<(), SpoolError> {
        self.written.send_replace(Written { bytes, whole: false });
        match self.ended.try_recv() {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(TryRecvError::Empty) => Ok(()),
            Err(TryRecvError::Closed) => Err(died()),
        }
    }

    /// Says that all is written, and waits until the object is whole.
    ///
    /// # Errors
    /// What failed; there is no object then.
    pub(super) async fn finish(self, bytes: u64) -> Result<Unclaimed, SpoolError> {
        self.written.send_replace(Written { bytes, whole: true });
        self.ended.await.unwrap_or_else(|_| Err(died()))
    }
}

/// A whole object that goes when this goes: nobody has been told of it.
#[derive(Debug)]
pub(super) struct Unclaimed {
    bucket: Option<Arc<Bucket>>,
    name: String,
}

impl Unclaimed {
    /// Lets it stay.
    pub(super) fn claim(mut self) {
        self.bucket = None;
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(bucket) = &self.bucket {
            bucket.discard(&self.name);
        }
    }
}

struct Sender<'a> {
    bucket: Arc<Bucket>,
    name: String,
    file: Arc<File>,
    seen: watch::Receiver<Written>,
    /// Closed when nobody waits any more.
    tell: &'a oneshot::Sender<Result<Unclaimed, SpoolError>>,
    /// Bytes that were given to requests.
    sent: u64,
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<object_store::Result<()>>,
}

impl Sender<'_> {
    async fn send(&mut self) -> Result<(), SpoolError> {
        let part = self.bucket.limits.part_bytes as u64;
        let bytes = loop {
            let written = self.next(part).await?;
            if written.whole && self.upload.is_none() && written.bytes <= part {
                return self.send_whole(written.bytes).await;
            }
            match written.bytes - self.sent {
                // Only of a file that is whole is there nothing more to come.
                0 => break written.bytes,
                rest => self.send_part(rest.min(part)).await?,
            }
        };
        while let Some(sent) = self.parts.join_next().await {
            sent.map_err(unanswered)?.map_err(failed)?;
        }
        self.complete(bytes).await
    }

    /// Waits for a part to be written, or the end; sees to the requests under way meanwhile.
    async fn next(&mut self, part: u64) -> Result<Written, SpoolError> {
        let sent = self.sent;
        loop {
            let ready = |now: &Written| now.whole || now.bytes.saturating_sub(sent) >= part;
            tokio::select! {
                now = async { self.seen.wait_for(ready).await.map(|now| *now) } => {
                    return match now {
                        Ok(now) if !self.tell.is_closed() => Ok(now),
                        _ => Err(nobody_waits()),
                    };
                }
                Some(sent) = self.parts.join_next() => sent.map_err(unanswered)?.map_err(failed)?,
            }
        }
    }

    async fn send_whole(&mut self, bytes: u64) -> Result<(), SpoolError> {
        let permit = self.bucket.permit().await?;
        let all = self.read(bytes).await?;
        let path = self.bucket.path(&self.name);
        let put = self.bucket.store.put(&path, all.into()).await;
        drop(permit);
        put.map_err(failed)?;
        Ok(())
    }

    async fn send_part(&mut self, bytes: u64) -> Result<(), SpoolError> {
        let permit = self.bucket.permit().await?;
        let data = self.read(bytes).await?;
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let path = self.bucket.path(&self.name);
                none.insert(self.bucket.store.put_multipart(&path).await.map_err(failed)?)
            }
        };
        let put = upload.put_part(data.into());
        self.parts.spawn(async move {
            let put = put.await;
            drop(permit);
            put
        });
        self.sent += bytes;
        Ok(())
    }

    /// Reads what comes next in the file.
    async fn read(&mut self, bytes: u64) -> Result<Vec<u8>, SpoolError> {
        let (file, at) = (Arc::clone(&self.file), self.sent);
        let read = blocking(move || {
            let mut data = vec![0; usize::try_from(bytes).map_err(std::io::Error::other)?];
            file.read_exact_at(&mut data, at)?;
            Ok(data)
        });
        Ok(read.await?)
    }

    async fn complete(&mut self, bytes: u64) -> Result<(), SpoolError> {
        let Some(upload) = &mut self.upload else { return Err(died()) };
        let Err(error) = upload.complete().await else { return Ok(()) };
        // When the answer to a completion gets lost, it is made again and there is nothing to
        // complete. Only this task has the object's name: if it is there, it is what was sent.
        match self.bucket.store.head(&self.bucket.path(&self.name)).await {
            Ok(object) if object.size == bytes => Ok(()),
            _ => Err(failed(error)),
        }
    }

    /// Removes what is in the bucket of an object that is not to be.
    async fn take_back(&mut self) {
        // A part that arrives after the abort would stay: each must have come to its end.
        while self.parts.join_next().await.is_some() {}
        let name = &self.name;
        if let Some(mut upload) = self.upload.take()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%error, name, "an unfinished object stays until a sweep finds it");
        }
        // A single request may have arrived although its answer did not.
        if let Err(error) = self.bucket.remove(name).await {
            tracing::warn!(%error, name, "an object that nobody wants may stay in the bucket");
        }
    }
}

fn nobody_waits() -> SpoolError {
    SpoolError::Io(std::io::Error::other("nobody waits for the file any more"))
}

fn died() -> SpoolError {
    SpoolError::Io(std::io::Error::other("the task that sends the file died"))
}
