//! Fetches an object into a working file, for a server that goes on with what another began.

use object_store::ObjectStoreExt;

use super::super::local::Copy;
use super::super::writing::Writing;
use super::super::{LocalFile, SpoolError};
use super::Bucket;
use super::faults::failed;

/// How often an object is fetched that arrives other than it was sent: the way may be at fault.
const FETCHES: usize = 2;

impl Bucket {
    /// An object's working copy, held against its size and its SHA-256 in hex.
    ///
    /// One range after another is asked for, so that each request has its own time and its own
    /// tries, and a fetch holds one part in memory.
    ///
    /// # Errors
    /// [`SpoolError::Missing`], [`SpoolError::Damaged`], and those of the bucket and the disk.
    pub(in super::super) async fn fetch(
        &self,
        name: &str,
        bytes: u64,
        hash: &str,
    ) -> Result<LocalFile, SpoolError> {
        let damaged = |why| SpoolError::Damaged { name: name.to_owned(), why };
        let object = match self.store.head(&self.path(name)).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) => {
                let place = self.place.clone();
                return Err(SpoolError::Missing { name: name.to_owned(), place });
            }
            Err(error) => return Err(failed(error)),
        };
        if object.size != bytes {
            return Err(damaged(format!("it has {} bytes, not {bytes}", object.size)));
        }
        for _ in 0..FETCHES {
            let (copy, arrived) = self.fetch_once(name, bytes).await?;
            if arrived == hash {
                return Ok(copy.into());
            }
            tracing::warn!(name, "a file came from the spool other than it was sent there");
        }
        Err(damaged("its SHA-256 is another".to_owned()))
    }

    async fn fetch_once(&self, name: &str, bytes: u64) -> Result<(Copy, String), SpoolError> {
        let path = self.path(name);
        let (copy, file) = Copy::create(&self.limits.work).await?;
        let mut writing = Writing::new(file, bytes);
        let part = self.limits.part_bytes as u64;
        while writing.bytes() < bytes {
            let range = writing.bytes()..bytes.min(writing.bytes() + part);
            let permit = self.permit().await?;
            let piece = self.store.get_range(&path, range).await.map_err(failed)?;
            writing.write(&piece).await?;
            drop(permit);
        }
        writing.step(|_| Ok(())).await?;
        Ok((copy, writing.hash()))
    }
}
