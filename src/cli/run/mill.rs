//! The run itself: find or begin the upload, publish what is not published, work off what has not
//! ended, write the results.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::args::Args;
use super::progress::{Bars, Tally};
use super::report::{Report, Status};
use super::results::{self, ResultsError};
use crate::broker::{BrokerError, Publishing, SqlBroker, SqlBrokerLimits};
use crate::domain::{Problem, QueueName, RetryPolicy, TopicName};
use crate::ingest::reader::{CannotStart, Reader};
use crate::ingest::{Coverage, IngestError, IngestLimits, Ingested, Job, Progress, ingest};
use crate::store::control::{NewQueue, NewUpload, Queue, Upload, UploadState};
use crate::store::log::{QueueId, UploadId};
use crate::store::{Store, StoreError, StoreOptions};
use crate::workbook::{ReadLimits, SheetHead, Totals};
use crate::worker::handler::raise_open_files;
use crate::worker::{self, AnyHandler, HandlerError, Stop, WorkerError};

/// Leases that one sweep takes at a time.
const SWEEP: u32 = 100;
/// How often it sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Messages that one redrive moves at a time.
const REDRIVE: u32 = 1_000;
/// Findings kept for the report.
const FINDINGS: u32 = 1_000;

/// Why a run could not be, or could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// The file cannot be read as a spreadsheet; nothing was published.
    #[error("{0}")]
    File(#[from] Problem),
    /// The file is not there, or may not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The handler cannot be used on this file.
    #[error(transparent)]
    Handler(#[from] HandlerError),
    /// An option cannot be understood.
    #[error("{0}")]
    Option(String),
    /// Another process works on this run.
    #[error("another `rowmill run` is at work on {path}", path = .0.display())]
    Busy(PathBuf),
    /// The run was not begun yet when it was stopped.
    #[error("stopped before anything was begun")]
    Stopped,
    /// Ingestion failed.
    #[error(transparent)]
    Ingest(IngestError),
    /// The reader's process cannot be started.
    #[error(transparent)]
    Reader(#[from] CannotStart),
    /// The worker failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The broker failed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The results could not be written.
    #[error(transparent)]
    Results(#[from] ResultsError),
}

impl From<crate::store::log::LogError> for RunError {
    fn from(error: crate::store::log::LogError) -> Self {
        Self::Store(error.into())
    }
}

/// A run under way.
struct Mill<'a> {
    args: &'a Args,
    stop: &'a Stop,
    store: Store,
    broker: SqlBroker,
    progress: Arc<Progress>,
    /// The tally of the work that is under way, for the bars.
    tally: watch::Sender<Arc<Tally>>,
}

/// The queue of an upload that `run` made, and its dead queue.
struct Names {
    topic: TopicName,
    queue: QueueName,
    dead: QueueName,
}

/// An upload that is published, and what is needed to work it off.
struct Loaded {
    upload: Upload,
    queue: Queue,
    handler: Arc<AnyHandler>,
    sheets: Vec<SheetHead>,
}

/// Runs, from whatever state there is, to the end or until it is stopped.
pub(super) async fn run(args: Args, stop: &Stop) -> Result<Report, RunError> {
    let begun = Instant::now();
    // Each running command holds a few descriptors; the usual soft limit is soon reached.
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let hash = hash_file(&args.file).await?;
    let url = database_url(&args);
    let _file_lock = lock_beside(&args.file, &url)?;
    let store = Store::open(&url, &StoreOptions::default()).await?;
    store.migrate().await?;
    let key = run_key(&hash, &args)?;
    let Some(session) = store.try_lock(&key).await? else {
        return Err(RunError::Busy(args.file.clone()));
    };
    let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await?;
    let mill = Mill {
        args: &args,
        stop,
        store: store.clone(),
        broker,
        progress: Arc::default(),
        tally: watch::Sender::default(),
    };
    let report = mill.run(hash, key, begun).await;
    session.release().await;
    store.close().await;
    report
}

impl Mill<'_> {
    async fn run(&self, hash: String, key: String, begun: Instant) -> Result<Report, RunError> {
        let mut known = self.store.control.upload_of_run(&key).await?;
        if self.args.again
            && let Some(upload) = known.take()
        {
            self.abandon(&upload).await?;
        }
        if let Some(upload) = &known
            && upload.state == UploadState::Ended
        {
            if !self.args.retry_dead || self.redrive(upload).await? == 0 {
                return self.already(upload).await;
            }
            known = self.store.control.upload_of_run(&key).await?;
        }
        let bars = Bars::draw(!self.args.json, &self.progress, self.tally.subscribe());
        let loaded = match known {
            Some(upload) if upload.state == UploadState::Published => self.load(upload).await?,
            known => match self.publish(known, hash, key).await? {
                Some(loaded) => loaded,
                None => return Err(RunError::Stopped),
            },
        };
        let (counts_before, worked) = self.work(&loaded).await?;
        drop(bars);
        let mut report = self.report(&loaded.upload, &loaded.queue, Status::Ended).await?;
        if report.waiting > 0 {
            report.status = Status::Stopped;
        } else {
            let path = self.results_path();
            results::write(
                &self.store.log,
                loaded.upload.id,
                loaded.queue.id,
                &loaded.sheets,
                &path,
            )
            .await?;
            // Recorded as ended only now: a crash in between writes the results again.
            self.store.control.set_ended(loaded.upload.id, true).await?;
            report.results = Some(path);
        }
        let ended = report.done + report.dead - counts_before;
        report.timed(begun.elapsed(), worked, ended);
        Ok(report)
    }

    fn results_path(&self) -> PathBuf {
        let own = || results::with_suffix(&self.args.file, ".results.csv");
        self.args.results.clone().unwrap_or_else(own)
    }

    /// Withdraws what an earlier run has left undone, so that `--again` does not do it twice.
    async fn abandon(&self, upload: &Upload) -> Result<(), RunError> {
        if let Some(queue) = self.store.control.queue(&names(upload.public_id)?.queue).await? {
            self.store.log.reclaim(queue.id).await?;
            self.store.log.purge(queue.id).await?;
        }
        self.store.control.take_over(upload.id).await?;
        Ok(self.store.control.forget_run(upload.id).await?)
    }

    /// Brings an ended run's dead messages back, and answers how many.
    async fn redrive(&self, upload: &Upload) -> Result<u64, RunError> {
        let queue = self.queue_of(upload).await?;
        let Some(dead) = queue.dead_queue else { return Ok(0) };
        let mut all = 0;
        loop {
            let moved = self.store.log.redrive(dead, queue.id, REDRIVE).await?;
            if moved == 0 {
                break;
            }
            // Not ended any more, from the first that came back.
            self.store.control.set_ended(upload.id, false).await?;
            all += moved;
        }
        Ok(all)
    }

    /// An upload that had ended before: its results are written again if they are gone.
    async fn already(&self, upload: &Upload) -> Result<Report, RunError> {
        let queue = self.queue_of(upload).await?;
        let mut report = self.report(upload, &queue, Status::AlreadyEnded).await?;
        let path = self.results_path();
        if !path.exists() {
            let sheets = sheets(upload)?;
            results::write(&self.store.log, upload.id, queue.id, &sheets, &path).await?;
        }
        report.results = Some(path);
        Ok(report)
    }

    async fn queue_of(&self, upload: &Upload) -> Result<Queue, RunError> {
        let name = names(upload.public_id)?.queue;
        let queue = self.store.control.queue(&name).await?;
        queue.ok_or_else(|| BrokerError::NoQueue(name).into())
    }

    /// Makes an upload's topic and queues, or brings them to what this run's options say.
    async fn provide(&self, public_id: Uuid) -> Result<crate::store::log::TopicId, RunError> {
        let names = names(public_id)?;
        let control = &self.store.control;
        let topic = control.ensure_topic(&names.topic).await?;
        let dead = control.ensure_queue(&NewQueue::new(names.dead)).await?;
        control
            .ensure_queue(&NewQueue {
                topic: Some(topic),
                dead_queue: Some(dead),
                max_deliveries: self.args.retries + 1,
                retry: RetryPolicy { first: self.args.retry_delay, ..RetryPolicy::default() },
                ..NewQueue::new(names.queue)
            })
            .await?;
        Ok(topic)
    }

    /// An upload that is published already: what is needed to go on.
    async fn load(&self, upload: Upload) -> Result<Loaded, RunError> {
        let sheets = sheets(&upload)?;
        let handler = self.handler(&upload, sheets.first())?;
        self.provide(upload.public_id).await?;
        let queue = self.queue_of(&upload).await?;
        let covered = Coverage::new(self.store.log.covered(upload.id).await?);
        self.progress.read.store(covered.messages(), std::sync::atomic::Ordering::Relaxed);
        self.progress.published.store(covered.messages(), std::sync::atomic::Ordering::Relaxed);
        Ok(Loaded { upload, queue, handler, sheets })
    }

    fn handler(
        &self,
        upload: &Upload,
        sheet: Option<&SheetHead>,
    ) -> Result<Arc<AnyHandler>, RunError> {
        let handler = self.args.handler(names(upload.public_id)?.queue)?;
        if let Some(sheet) = sheet {
            handler.check(&sheet.columns)?;
        }
        Ok(Arc::new(handler))
    }

    /// Reads the file and publishes it, going on where an earlier attempt was. `None` when stopped.
    async fn publish(
        &self,
        known: Option<Upload>,
        hash: String,
        key: String,
    ) -> Result<Option<Loaded>, RunError> {
        let options = self.args.read_options();
        let limits = read_limits(&self.args.read_limit)?;
        // Refused before the file is looked at: a command that does not exist needs no reading.
        let probe = self.args.handler(names(Uuid::nil())?.queue)?;
        let exe = std::env::current_exe()
            .map_err(|source| RunError::Open { path: "/proc/self/exe".into(), source })?;
        let mut reader = Reader::start(&exe, &self.args.file, &options, &limits)?;
        let first = tokio::select! {
            first = reader.first_word() => first?,
            () = self.stop.drain.cancelled() => return Ok(None),
        };
        probe.check(&first.columns)?;
        let public_id = known.as_ref().map_or_else(Uuid::new_v4, |upload| upload.public_id);
        let topic = self.provide(public_id).await?;
        let upload = match known {
            Some(upload) => self.store.control.take_over(upload.id).await?,
            None => {
                let filename = self.args.file.file_name().unwrap_or_default();
                let new = NewUpload {
                    public_id,
                    run_key: Some(key),
                    filename: filename.to_string_lossy().into_owned(),
                    content_hash: hash,
                    options: json(&options)?,
                    topic,
                };
                self.store.control.create_upload(new).await?
            }
        };
        let handler = self.handler(&upload, Some(&first))?;
        let covered = Coverage::new(self.store.log.covered(upload.id).await?);
        let published = &self.progress.published;
        published.store(covered.messages(), std::sync::atomic::Ordering::Relaxed);
        let job = Job {
            publishing: Publishing {
                topic,
                fence: upload.fence(),
                upload_id: public_id,
                filename: upload.filename.clone(),
                held: true,
            },
            coverage: covered,
            first,
            progress: &self.progress,
        };
        let limits = IngestLimits::default();
        match ingest(reader, &self.broker, job, &limits, &self.stop.drain).await {
            Ok(Ingested::Published(_)) => {}
            Ok(Ingested::Failed(problem)) => return Err(problem.into()),
            Err(IngestError::Stopped) => return Ok(None),
            Err(error) => return Err(RunError::Ingest(error)),
        }
        let queue = self.queue_of(&upload).await?;
        let upload = self.store.control.upload(upload.id).await?;
        let sheets = sheets(&upload)?;
        Ok(Some(Loaded { upload, queue, handler, sheets }))
    }

    /// Works until every message has its outcome, or until stopped. Answers how many had one
    /// before, and the time it took.
    async fn work(&self, loaded: &Loaded) -> Result<(u64, Duration), RunError> {
        let begun = Instant::now();
        let log = &self.store.log;
        // Whoever held these is gone: this process has the run's lock.
        log.reclaim(loaded.queue.id).await?;
        let covered = Coverage::new(log.covered(loaded.upload.id).await?);
        let total = covered.messages() - covered.unrouted();
        let before = log.counts(loaded.upload.id, loaded.queue.id).await?;
        let mut counts = before;
        // Once is enough, unless the tally was wrong about the end (see `Tally::doubts`): what is
        // recorded decides.
        while counts.ended() < total && !self.stop.drain.is_cancelled() {
            let tally = Arc::new(Tally::new(total, counts));
            self.tally.send_replace(Arc::clone(&tally));
            let stop = Stop { finished: tally.finished.clone(), ..self.stop.clone() };
            let keeper = Keeper {
                broker: self.broker.clone(),
                store: self.store.clone(),
                upload: loaded.upload.id,
                queue: loaded.queue.id,
                tally: Arc::clone(&tally),
            };
            let keeper = AbortOnDropHandle::new(tokio::spawn(keeper.run()));
            worker::run(
                Arc::new(self.broker.clone()),
                names(loaded.upload.public_id)?.queue,
                Arc::clone(&loaded.handler),
                self.args.worker_limits(),
                stop,
                tally,
            )
            .await?;
            drop(keeper);
            counts = log.counts(loaded.upload.id, loaded.queue.id).await?;
        }
        Ok((before.ended(), begun.elapsed()))
    }

    async fn report(
        &self,
        upload: &Upload,
        queue: &Queue,
        status: Status,
    ) -> Result<Report, RunError> {
        let log = &self.store.log;
        let covered = Coverage::new(log.covered(upload.id).await?);
        let counts = log.counts(upload.id, queue.id).await?;
        let totals: Totals = match &upload.totals {
            Some(totals) => from_json(totals)?,
            None => Totals::default(),
        };
        let published = covered.messages() - covered.unrouted();
        let file = self.args.file.clone();
        let mut report = Report::new(status, upload.public_id, file, published, counts, totals);
        for finding in log.findings(upload.id, FINDINGS).await? {
            report.findings.push(from_json(&finding)?);
        }
        Ok(report)
    }
}

/// Ends leases whose deadline passed, and keeps the tally true to what is recorded.
struct Keeper {
    broker: SqlBroker,
    store: Store,
    upload: UploadId,
    queue: QueueId,
    tally: Arc<Tally>,
}

impl Keeper {
    /// Runs until the tally is complete.
    async fn run(self) {
        let mut every = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.tally.finished.cancelled() => return,
            }
            match self.broker.sweep(SWEEP).await {
                Ok(swept) => swept.iter().for_each(|settled| self.tally.add(settled)),
                Err(error) => tracing::warn!(%error, "a sweep failed; the next will try again"),
            }
            if self.tally.doubts() {
                match self.store.log.counts(self.upload, self.queue).await {
                    Ok(counts) => self.tally.correct(counts),
                    Err(error) => tracing::warn!(%error, "the outcomes could not be counted"),
                }
            }
        }
    }
}

fn names(public_id: Uuid) -> Result<Names, RunError> {
    let name = format!("run-{public_id}");
    let damaged = |error: crate::domain::name::BadName| StoreError::Damaged(error.to_string());
    Ok(Names {
        topic: name.parse().map_err(damaged)?,
        queue: name.parse().map_err(damaged)?,
        dead: format!("{name}-dead").parse().map_err(damaged)?,
    })
}

fn sheets(upload: &Upload) -> Result<Vec<SheetHead>, RunError> {
    from_json(&upload.sheets)
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, RunError> {
    serde_json::to_string(value).map_err(|error| RunError::Option(error.to_string()))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, RunError> {
    serde_json::from_str(text).map_err(|error| StoreError::Damaged(error.to_string()).into())
}

/// The limits of reading, with those that were said on the command line.
fn read_limits(said: &[String]) -> Result<ReadLimits, RunError> {
    let mut limits = serde_json::to_value(ReadLimits::default())
        .map_err(|error| RunError::Option(error.to_string()))?;
    for one in said {
        let bad = || RunError::Option(format!("`{one}` is not a limit: it is said as NAME=NUMBER"));
        let (name, value) = one.split_once('=').ok_or_else(bad)?;
        let value: u64 = value.trim().parse().map_err(|_| bad())?;
        let limit = limits
            .get_mut(name.trim())
            .ok_or_else(|| RunError::Option(format!("there is no limit `{name}` of reading")))?;
        *limit = value.into();
    }
    serde_json::from_value(limits).map_err(|error| RunError::Option(error.to_string()))
}

/// The database: as said, or beside the file.
fn database_url(args: &Args) -> String {
    let beside = || format!("sqlite:{}", results::with_suffix(&args.file, ".rowmill.db").display());
    let environment = || std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    args.database_url.clone().or_else(environment).unwrap_or_else(beside)
}

/// Locks a SQLite run against other processes, for as long as the answer lives. The system lets go
/// of it when the process dies, however it dies.
fn lock_beside(file: &Path, url: &str) -> Result<Option<File>, RunError> {
    let Some(path) = url.strip_prefix("sqlite:") else { return Ok(None) };
    let path = PathBuf::from(format!("{}.lock", path.trim_start_matches("//")));
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| RunError::Open { path: path.clone(), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(RunError::Busy(file.to_owned())),
        Err(TryLockError::Error(source)) => Err(RunError::Open { path, source }),
    }
}

/// What finds this run again: the file's bytes and how they are read.
fn run_key(hash: &str, args: &Args) -> Result<String, RunError> {
    let mut key = Sha256::new();
    key.update(hash.as_bytes());
    key.update(json(&args.read_options())?.as_bytes());
    Ok(hex(&key.finalize()))
}

/// The SHA-256 of the file, in hex.
async fn hash_file(path: &Path) -> Result<String, RunError> {
    let owned = path.to_owned();
    let hash = move || -> std::io::Result<String> {
        let mut file = File::open(&owned)?;
        if file.metadata()?.is_dir() {
            return Err(std::io::ErrorKind::IsADirectory.into());
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex(&hash.finalize())),
                n => hash.update(&buffer[..n]),
            }
        }
    };
    let failed = |source| RunError::Open { path: path.to_owned(), source };
    tokio::task::spawn_blocking(hash)
        .await
        .map_err(|error| failed(std::io::Error::other(error)))?
        .map_err(failed)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
