//! A spool of a test's own, and what can be seen of it from outside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rowmill::ingest::spool::{Place, S3Limits, Spool, SpoolError};
use rowmill::ingest::taken::Spooled;
use tempfile::TempDir;

use crate::s3::{TestBucket, environment};

/// A part of an object, as small as S3 allows.
pub(crate) const PART: usize = 5 << 20;
/// A prefix.
pub(crate) const PREFIX: &str = "up/loads";

/// A spool.
pub(crate) struct Scene {
    pub(crate) spool: Spool,
    home: TempDir,
    bucket: Option<TestBucket>,
}

impl Scene {
    /// In a directory.
    pub(crate) fn directory() -> Self {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::directory(home.path().join("spool"));
        Self { spool, home, bucket: None }
    }

    /// In a bucket.
    pub(crate) async fn bucket() -> Self {
        let bucket = TestBucket::new().await;
        let endpoint = bucket.endpoint().to_owned();
        Self::bucket_at(bucket, &endpoint, |_| {})
    }

    /// In a bucket that is found at an endpoint.
    pub(crate) fn bucket_at(
        bucket: TestBucket,
        endpoint: &str,
        limit: impl FnOnce(&mut S3Limits),
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut limits = limits(&home.path().join("work"));
        limit(&mut limits);
        let place = Place::try_from(bucket.place(PREFIX)).unwrap();
        let spool = Spool::open(&place, &limits, environment(endpoint)).unwrap();
        Self { spool, home, bucket: Some(bucket) }
    }

    /// The bucket's server side.
    pub(crate) fn behind(&self) -> &TestBucket {
        self.bucket.as_ref().unwrap()
    }

    /// Where a bucket's files lie on this machine.
    pub(crate) fn work(&self) -> PathBuf {
        self.home.path().join("work")
    }

    /// All that there is of files, whole and not, in the spool and on this machine.
    pub(crate) async fn all(&self) -> Vec<String> {
        let mut all = vec![];
        for directory in ["spool", "work"] {
            let entries = std::fs::read_dir(self.home.path().join(directory));
            all.extend(entries.into_iter().flatten().map(|entry| {
                format!("{directory}/{}", entry.unwrap().file_name().to_str().unwrap())
            }));
        }
        if let Some(bucket) = &self.bucket {
            all.extend(bucket.objects().await);
            let unfinished = bucket.unfinished().await;
            all.extend(unfinished.into_iter().map(|name| format!("{name}, unfinished")));
        }
        all
    }

    /// Puts a file there, in pieces of many sizes.
    pub(crate) async fn put(&self, bytes: &Bytes) -> Result<Spooled, SpoolError> {
        let mut file = self.spool.create(bytes.len() as u64).await?;
        for piece in pieces(bytes) {
            file.write(&piece).await?;
        }
        assert_eq!(file.bytes(), bytes.len() as u64);
        file.finish("a.csv".into()).await
    }
}

/// Limits under which nothing takes long.
pub(crate) fn limits(work: &Path) -> S3Limits {
    S3Limits { work: work.to_owned(), part_bytes: PART, requests_at_once: 2, ..S3Limits::default() }
}

/// Bytes of which no two parts are the same.
pub(crate) fn content(size: usize) -> Bytes {
    (0..size).map(|n| (n % 251) as u8 ^ (n >> 16) as u8).collect()
}

/// Pieces on both sides of every edge.
pub(crate) fn pieces(bytes: &Bytes) -> Vec<Bytes> {
    let mut rest = bytes.clone();
    let mut pieces = vec![];
    let mut sizes = [1, (256 << 10) - 1, 0, 7, 1 << 20, 3].into_iter().cycle();
    while let (false, Some(size)) = (rest.is_empty(), sizes.next()) {
        pieces.push(rest.split_to(rest.len().min(size)));
    }
    pieces
}

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
