//! A spool in a bucket of S3, by the object_store crate.
//!
//! - **Received** into a working file of this machine (`local`), and from there into parts of an
//!   object (`outgoing`, `sender`). Memory holds a part for each request under way, however many
//!   clients send, and the reader begins on the working file as soon as the object is whole.
//! - **Durable** when the object is complete: nothing has its name before that, and the answer waits
//!   for it.
//! - **Fetched** by a server that goes on with what another began, in ranges, and held against the
//!   recorded size and hash (`fetch`).
//! - **Given up** half-way, an object is aborted by a task of its own, for which a server waits at
//!   its end; what a crash leaves is found by any server at its start (`unfinished`).
//!
//! Requests are made again by the client itself ([`S3Limits::patience`]), once it is told which of
//! them were never sent (`unsent`). It finds credentials as AWS's own tools do but for one thing: it
//! reads no profiles.

mod faults;
mod fetch;
mod outgoing;
mod sender;
mod unfinished;
mod unsent;

use std::ffi::OsString;
use std::sync::Arc;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStoreExt, RetryConfig};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{CannotSpool, S3Limits, SpoolError, local};
use faults::failed;
pub(super) use outgoing::Outgoing;

/// What is written to see whether anything can be; all servers write the same, so that a crash leaves
/// one of it at most.
const PROBE: &str = "rowmill-probe";
/// Patience ends the tries, not their number.
const TRIES: usize = 10_000;

/// A bucket, or what is in it below a prefix.
#[derive(Debug)]
pub(super) struct Bucket {
    store: AmazonS3,
    http: reqwest::Client,
    prefix: String,
    place: String,
    limits: S3Limits,
    /// A permit for each request that holds a part in memory.
    requests: Arc<Semaphore>,
    /// When it was last seen that it can be written to.
    probed: Mutex<Option<Instant>>,
    tasks: TaskTracker,
    runtime: Handle,
}

impl Bucket {
    /// Sets a client up. Nothing is asked of the bucket yet.
    ///
    /// # Errors
    /// [`CannotSpool::Settings`].
    pub(super) fn open(
        bucket: &str,
        prefix: &str,
        limits: &S3Limits,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, CannotSpool> {
        let settings = |error: &dyn std::error::Error| CannotSpool::Settings(error.to_string());
        // An error means that one is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::new();
        for (name, value) in environment {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
            let key = name.starts_with("AWS_").then(|| name.to_ascii_lowercase().parse().ok());
            if let Some(Some(key)) = key {
                builder = builder.with_config(key, value);
            }
        }
        let endpoint = builder
            .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
            .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
        let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        let client = ClientOptions::new()
            .with_allow_http(plain)
            .with_connect_timeout(limits.connect)
            .with_timeout(limits.answer);
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: limits.again.first,
                max_backoff: limits.again.most,
                base: limits.again.factor,
            },
            max_retries: TRIES,
            retry_timeout: limits.patience,
        };
        let store = builder
            .with_bucket_name(bucket)
            .with_client_options(client)
            .with_retry(retry)
            .with_http_connector(unsent::Connector)
            .build()
            .map_err(|error| settings(&error))?;
        let http = reqwest::Client::builder()
            .connect_timeout(limits.connect)
            .timeout(limits.answer)
            .build()
            .map_err(|error| settings(&error))?;
        let slash = if prefix.is_empty() { "" } else { "/" };
        Ok(Self {
            store,
            http,
            prefix: format!("{prefix}{slash}"),
            place: format!("s3://{bucket}{slash}{prefix}"),
            requests: Arc::new(Semaphore::new(limits.requests_at_once.max(1))),
            limits: limits.clone(),
            probed: Mutex::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Where its working files lie.
    pub(super) fn directory_here(&self) -> &std::path::Path {
        &self.limits.work
    }

    /// Makes the working directory, and sees whether the bucket can be written to.
    pub(super) async fn prepare(&self) -> Result<(), SpoolError> {
        let path = &self.limits.work;
        let made = tokio::fs::create_dir_all(path).await;
        made.map_err(|source| SpoolError::Directory { path: path.clone(), source })?;
        self.probe().await
    }

    /// Writes an object and removes it, unless that was done a moment ago.
    pub(super) async fn probe(&self) -> Result<(), SpoolError> {
        let mut probed = self.probed.lock().await;
        if probed.is_some_and(|at| at.elapsed() < self.limits.probed) {
            return Ok(());
        }
        *probed = None;
        let path = self.path(PROBE);
        self.store.put(&path, "?".into()).await.map_err(failed)?;
        self.store.delete(&path).await.map_err(failed)?;
        *probed = Some(Instant::now());
        Ok(())
    }

    /// Removes an object. One that is not there is no error.
    pub(super) async fn remove(&self, name: &str) -> Result<(), SpoolError> {
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes an object soon.
    pub(super) fn discard(self: &Arc<Self>, name: &str) {
        let (bucket, name) = (Arc::clone(self), name.to_owned());
        let removing = async move {
            if let Err(error) = bucket.remove(&name).await {
                tracing::warn!(%error, name, "an object that nobody wants stays in the bucket");
            }
        };
        self.tasks.spawn_on(removing, &self.runtime);
    }

    /// Removes what processes that died left: on this machine, and in the bucket.
    pub(super) async fn sweep(&self) -> Result<usize, SpoolError> {
        let here = local::sweep(&self.limits.work).await?;
        Ok(here + self.abort_unfinished().await?)
    }

    /// Waits until nothing is tidied up any more.
    pub(super) async fn settled(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}{name}", self.prefix))
    }

    /// Waits until a part may be in memory.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, SpoolError> {
        let permit = Arc::clone(&self.requests).acquire_owned().await;
        permit.map_err(|error| SpoolError::Io(std::io::Error::other(error)))
    }
}
