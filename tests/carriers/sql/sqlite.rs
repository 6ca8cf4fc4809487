//! SQLite: a file, which no server stands before.
//!
//! What takes a server's place is the process that has the file open. A view here is such a process:
//! a runtime and connections of its own, like several `rowmill` on one file. It lives as long as its
//! *line*, a connection to the engine's address over which nothing is ever said: when that breaks,
//! all that the process does stops at once, wherever it stands, without a word to the database; the
//! next call begins another. So the cases cut, kill and refuse here what they do elsewhere.
//!
//! A crash ends every process, and leaves what a power cut would: the file, and beside it the log that
//! was not yet merged into it. That is a copy, made while nobody can write; the cases go on with it.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowmill::broker::carrier::{
    Abilities, Carrier, CarrierDepth, CarrierError, CarrierQueue, Each, Handle, Parcel, Taken,
};
use rowmill::domain::QueueName;
use rowmill::store::{Store, StoreOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Executor};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::carrier::{ABILITIES, SqlCarrier};
use crate::engine::Engine;

crate::cases::conformance!(crate::sql::sqlite::Sqlite);

/// How long a process waits for the lock of others.
const WAIT: Duration = Duration::from_secs(60);

/// A file with rowmill's tables.
pub(crate) struct Sqlite {
    home: TempDir,
    address: SocketAddr,
    /// The file; another after each crash.
    file: Arc<Mutex<PathBuf>>,
    /// Holds the lines.
    power: Mutex<Option<AbortOnDropHandle<()>>>,
    /// Has the file open, so that its log is not merged when a process ends; one for each file.
    witnesses: tokio::sync::Mutex<Vec<SqliteConnection>>,
}

fn url_of(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

/// Takes lines, and holds them until it is dropped.
fn power(listener: TcpListener) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut lines = vec![];
        while let Ok((mut line, _)) = listener.accept().await {
            if line.write_all(b"!").await.is_ok() {
                lines.push(line);
            }
        }
    }))
}

async fn witness(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(WAIT);
    let mut witness = options.connect().await.unwrap();
    witness.execute("select count(*) from sqlite_master").await.unwrap();
    witness
}

impl Sqlite {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("0.db");
        let store = Store::open(&url_of(&file), &StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        store.close().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            power: Mutex::new(Some(power(listener))),
            witnesses: tokio::sync::Mutex::new(vec![witness(&file).await]),
            file: Arc::new(Mutex::new(file)),
            home,
        }
    }
}

impl Engine for Sqlite {
    type Carrier = Processes;

    const CAPACITY: bool = false;
    const DIES_IN_PLACE: bool = true;
    const REDRIVES_ALL: bool = true;

    async fn shared() -> Self {
        Self::new().await
    }

    async fn own() -> Self {
        Self::new().await
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn connect(&self, at: SocketAddr) -> Result<Processes, CarrierError> {
        let processes =
            Processes { file: Arc::clone(&self.file), at, now: tokio::sync::Mutex::default() };
        processes.now().await.map(|_| processes)
    }

    async fn crash(&self) {
        let power = self.power.lock().unwrap().take().expect("it is up");
        power.abort();
        let _ = power.await;
        let mut witnesses = self.witnesses.lock().await;
        // From here on nobody commits to this file; what was confirmed has been committed.
        witnesses.last_mut().unwrap().execute("begin immediate").await.unwrap();
        let before = self.file.lock().unwrap().clone();
        let after = self.home.path().join(format!("{}.db", witnesses.len()));
        let log = |file: &Path| file.with_extension("db-wal");
        tokio::fs::copy(&before, &after).await.unwrap();
        let logged = tokio::fs::copy(log(&before), log(&after)).await.unwrap();
        assert!(logged > 0, "all of the log was merged already, and nothing is shown");
        *self.file.lock().unwrap() = after;
    }

    async fn start(&self) {
        let file = self.file.lock().unwrap().clone();
        self.witnesses.lock().await.push(witness(&file).await);
        let listener = TcpListener::bind(self.address).await.unwrap();
        *self.power.lock().unwrap() = Some(power(listener));
    }
}

/// One process after another, each begun when there is something to do.
pub(crate) struct Processes {
    file: Arc<Mutex<PathBuf>>,
    at: SocketAddr,
    now: tokio::sync::Mutex<Option<Arc<Process>>>,
}

/// A process, as far as one can be within another.
struct Process {
    runtime: Own,
    carrier: Arc<SqlCarrier>,
    /// Its line has broken.
    ended: CancellationToken,
}

struct Own(Option<Runtime>);

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn away(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CarrierError {
    CarrierError::Outage(error.into())
}

impl Own {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self(Some(builder.worker_threads(1).enable_all().build().unwrap()))
    }

    async fn run<T: Send + 'static>(
        &self,
        what: impl Future<Output = Result<T, CarrierError>> + Send + 'static,
    ) -> Result<T, CarrierError> {
        let runs = self.0.as_ref().expect("it is there until it is dropped").spawn(what);
        match AbortOnDropHandle::new(runs).await {
            Ok(answer) => answer,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(ended) => Err(away(ended)),
        }
    }
}

impl Process {
    async fn begin(file: PathBuf, at: SocketAddr) -> Result<Self, CarrierError> {
        let (runtime, ended) = (Own::new(), CancellationToken::new());
        let ends = ended.clone();
        let begins = runtime.run(async move {
            let mut line = TcpStream::connect(at).await.map_err(away)?;
            line.read_u8().await.map_err(away)?;
            tokio::spawn(async move {
                let _ = line.read_u8().await;
                ends.cancel();
            });
            SqlCarrier::open(&url_of(&file), WAIT).await
        });
        let carrier = Arc::new(begins.await?);
        Ok(Self { runtime, carrier, ended })
    }
}

impl Processes {
    async fn now(&self) -> Result<Arc<Process>, CarrierError> {
        let mut now = self.now.lock().await;
        if let Some(process) = now.as_ref().filter(|process| !process.ended.is_cancelled()) {
            return Ok(Arc::clone(process));
        }
        *now = None;
        let file = self.file.lock().unwrap().clone();
        let process = Arc::new(Process::begin(file, self.at).await?);
        Ok(Arc::clone(now.insert(process)))
    }

    /// Has the process do something, unless it dies of its line.
    async fn ask<T: Send + 'static, F>(
        &self,
        what: impl FnOnce(Arc<SqlCarrier>) -> F,
    ) -> Result<T, CarrierError>
    where
        F: Future<Output = Result<T, CarrierError>> + Send + 'static,
    {
        let process = self.now().await?;
        let answers = process.runtime.run(what(Arc::clone(&process.carrier)));
        tokio::select! {
            biased;
            () = process.ended.cancelled() => Err(away("its process has died")),
            answer = answers => answer,
        }
    }
}

impl Carrier for Processes {
    fn abilities(&self) -> Abilities {
        ABILITIES
    }

    async fn ensure(&self, queue: &CarrierQueue) -> Result<(), CarrierError> {
        let queue = queue.clone();
        self.ask(|carrier| async move { carrier.ensure(&queue).await }).await
    }

    async fn remove(&self, queue: &QueueName) -> Result<(), CarrierError> {
        let queue = queue.clone();
        self.ask(|carrier| async move { carrier.remove(&queue).await }).await
    }

    async fn send(
        &self,
        queue: &QueueName,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<Each>, CarrierError> {
        let queue = queue.clone();
        self.ask(|carrier| async move { carrier.send(&queue, parcels).await }).await
    }

    async fn take(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, CarrierError> {
        let queue = queue.clone();
        self.ask(|carrier| async move { carrier.take(&queue, max, wait).await }).await
    }

    async fn ack(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
    ) -> Result<Vec<Each>, CarrierError> {
        let queue = queue.clone();
        self.ask(|carrier| async move { carrier.ack(&queue, handles).await }).await
    }

    async fn release(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, Duration)>,
    ) -> Result<Vec<Each>, CarrierError> {
        let queue = queue.clone();
        self.ask(|carrier| async move { carrier.release(&queue, handles).await }).await
    }

    async fn dead(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, String)>,
    ) -> Result<Vec<Each>, CarrierError> {
        let queue = queue.clone();
        self.ask(|carrier| async move { carrier.dead(&queue, handles).await }).await
    }

    async fn extend(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
        lasting: Duration,
    ) -> Result<Vec<Each>, CarrierError> {
        let queue = queue.clone();
        self.ask(|carrier| async move { carrier.extend(&queue, handles, lasting).await }).await
    }

    async fn depth(&self, queue: &QueueName) -> Result<CarrierDepth, CarrierError> {
        let queue = queue.clone();
        self.ask(|carrier| async move { carrier.depth(&queue).await }).await
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<Parcel>, CarrierError> {
        let queue = queue.clone();
        self.ask(|carrier| async move { carrier.peek(&queue, limit).await }).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<Option<u64>, CarrierError> {
        let queue = queue.clone();
        self.ask(|carrier| async move { carrier.purge(&queue).await }).await
    }

    async fn redrive(
        &self,
        from: &QueueName,
        to: &QueueName,
        most: usize,
    ) -> Result<u64, CarrierError> {
        let (from, to) = (from.clone(), to.clone());
        self.ask(|carrier| async move { carrier.redrive(&from, &to, most).await }).await
    }
}
