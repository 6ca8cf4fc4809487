//! The server that is measured: the one that `rowmill serve` runs, in this process, on a loopback
//! port of its own; only its broker takes its time.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::super::delayed::Delayed;
use super::error::BenchError;
use super::scene::Scene;
use crate::broker::AnyBroker;
use crate::config::Config;
use crate::http::server::{Exposure, Server, ServerEnd};
use crate::ingest::IngestLimits;
use crate::ingest::spool::Spool;
use crate::worker::Stop;

/// Rows that are in creation at the same time, as in the original: what the queue between upload
/// and producers held there.
pub(super) const IN_FLIGHT: usize = 400;
/// Batches that are created at the same time.
const PRODUCERS: usize = 10;
/// How long rows may take to fill a batch: one that is not full could cost a whole turn more.
const BATCH_WAIT: Duration = Duration::from_millis(50);
/// How long an ingestion lasts without being renewed, and how long a file waits for a reader. Nobody
/// dies here, and nobody else uploads.
const LEASE: Duration = Duration::from_secs(30);
/// How long it may take to stop.
const GRACE: Duration = Duration::from_secs(10);

/// A running server. Dropped, it ends at once.
pub(super) struct Running {
    /// Where it is, such as `http://127.0.0.1:41234`.
    pub(super) url: String,
    stop: Stop,
    serving: AbortOnDropHandle<ServerEnd>,
}

impl Running {
    /// Starts one on the scene's database.
    pub(super) async fn start(scene: &Scene, delay: Duration) -> Result<Self, BenchError> {
        let exe = std::env::current_exe()
            .map_err(|source| BenchError::Io { what: "this program's own file", source })?;
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".into();
        config.server.grace = GRACE;
        config.intake.lease = LEASE;
        config.intake.reader_wait = LEASE;
        config.ingest = IngestLimits {
            queued_rows: IN_FLIGHT,
            batch_rows: IN_FLIGHT / PRODUCERS,
            batch_wait: BATCH_WAIT,
            producers: PRODUCERS,
            ..config.ingest
        };
        let spool = Spool::directory(scene.home.path().join("spool"));
        let settings = config.server_settings(exe, spool, Exposure::Loopback);
        let stop = Stop::default();
        let carry = |broker| Delayed::new(AnyBroker::Sql(broker), delay);
        let server = Server::open(scene.store.clone(), carry, settings, stop.clone()).await?;
        let url = format!("http://{}", server.address());
        Ok(Self { url, stop, serving: AbortOnDropHandle::new(tokio::spawn(server.run())) })
    }

    /// Stops it, after what it was asked has been answered.
    pub(super) async fn stop(self) -> Result<(), BenchError> {
        self.stop.drain.cancel();
        self.serving.await?;
        Ok(())
    }
}
