//! The server that is measured: all of it, in this process, on a loopback port of its own; only its
//! broker takes its time.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::delayed::Delayed;
use super::error::BenchError;
use super::scene::Scene;
use crate::broker::{SqlBroker, SqlBrokerLimits};
use crate::http::{App, HttpLimits, Parts};
use crate::ingest::IngestLimits;
use crate::ingest::intake::{Intake, IntakeSettings};
use crate::workbook::ReadLimits;

/// Rows that are in creation at the same time, as in the original: what the queue between upload
/// and producers held there.
pub(super) const IN_FLIGHT: usize = 400;
/// Batches that are created at the same time.
const PRODUCERS: usize = 10;
/// How long rows may take to fill a batch: a batch that is not full would cost a whole turn.
const BATCH_WAIT: Duration = Duration::from_millis(50);
/// How long an ingestion lasts without being renewed, how often to look for others' that are not,
/// and how long a file waits for a reader. Nothing dies here and nobody else uploads.
const LEASE: Duration = Duration::from_secs(30);

fn io(what: &'static str) -> impl Fn(std::io::Error) -> BenchError {
    move |source| BenchError::Io { what, source }
}

/// A running server. It stops, unawaited, when this is dropped.
pub(super) struct Server {
    /// Where it is, such as `http://127.0.0.1:41234`.
    pub(super) url: String,
    stop: DropGuard,
    serving: JoinHandle<std::io::Result<()>>,
    taking_in: JoinHandle<()>,
}

impl Server {
    /// Starts it on the scene's database.
    pub(super) async fn start(scene: &Scene, delay: Duration) -> Result<Self, BenchError> {
        let store = scene.store.clone();
        let spool = scene.home.path().join("spool");
        tokio::fs::create_dir_all(&spool).await.map_err(io("the spool"))?;
        let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await?;
        let broker = Delayed::new(broker, delay);
        let stop = CancellationToken::new();
        let settings = IntakeSettings {
            exe: std::env::current_exe().map_err(io("this program's own file"))?,
            spool,
            read: ReadLimits::default(),
            ingest: IngestLimits {
                queued_rows: IN_FLIGHT,
                batch_rows: IN_FLIGHT / PRODUCERS,
                batch_wait: BATCH_WAIT,
                producers: PRODUCERS,
                ..IngestLimits::default()
            },
            lease: LEASE,
            claim_every: LEASE,
            reader_wait: LEASE,
        };
        let intake = Intake::new(store.clone(), broker.clone(), settings, stop.clone());
        let key = store.control.message_key().await?;
        let app = App::new(Parts {
            store,
            broker,
            key,
            intake: intake.clone(),
            limits: HttpLimits::default(),
            stop: stop.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(io("a port"))?;
        let url = format!("http://{}", listener.local_addr().map_err(io("a port"))?);
        let until = stop.clone().cancelled_owned();
        let serving =
            axum::serve(listener, app.router()).with_graceful_shutdown(until).into_future();
        Ok(Self {
            url,
            stop: stop.drop_guard(),
            serving: tokio::spawn(serving),
            taking_in: tokio::spawn(async move { intake.run().await }),
        })
    }

    /// Stops it, after what it was asked has been answered.
    pub(super) async fn stop(self) -> Result<(), BenchError> {
        drop(self.stop);
        self.taking_in.await?;
        self.serving.await?.map_err(io("the server"))
    }
}
