//! The run itself: find or begin the upload, publish what is not published, work off what has not
//! ended, write the results.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::args::Args;
use super::error::RunError;
use super::identity::{database_url, hash_file, lock_beside, run_key};
use super::keeper::Keeper;
use super::opening::{Opened, open};
use super::progress::{Bars, Tally};
use super::report::{Report, Status};
use super::results;
use super::workbooks::{self, Original, Workbooks};
use crate::broker::{BrokerError, Publishing, SqlBroker};
use crate::cli::common::Common;
use crate::config::Config;
use crate::domain::{QueueName, TopicName};
use crate::ingest::{Coverage, IngestError, Ingested, Job, Progress, Sieve, ingest};
use crate::store::control::{NewQueue, NewUpload, Queue, Upload, UploadState};
use crate::store::{Store, StoreError};
use crate::telemetry::worker::WorkerMetrics;
use crate::workbook::{SheetHead, Totals};
use crate::worker::handler::raise_open_files;
use crate::worker::{self, AnyHandler, Stop};

/// Messages that one redrive moves at a time.
const REDRIVE: u32 = 1_000;
/// Findings kept for the report.
const FINDINGS: u32 = 1_000;

/// A run under way.
struct Mill<'a> {
    args: &'a Args,
    config: &'a Config,
    metrics: Option<Arc<WorkerMetrics>>,
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
pub(super) async fn run(args: Args, common: &Common, stop: &Stop) -> Result<Report, RunError> {
    let begun = Instant::now();
    // Each running command holds a few descriptors; the usual soft limit is soon reached.
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let config = common.config()?;
    let served = args.serve_metrics(common.voice()).await?;
    let hash = hash_file(&args.file).await?;
    let url = database_url(&args);
    let _file_lock = lock_beside(&args.file, &url)?;
    let store = Store::open(&url, &config.store).await?;
    store.migrate().await?;
    let key = run_key(&hash, &args)?;
    let Some(session) = store.try_lock(&key).await? else {
        return Err(RunError::Busy(args.file.clone()));
    };
    let broker = SqlBroker::new(store.clone(), config.broker.clone()).await?;
    let mill = Mill {
        args: &args,
        config: &config,
        metrics: served.as_ref().map(|served| Arc::clone(&served.worker)),
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
            let workbooks = self.workbooks(&loaded.upload).await?;
            (report.workbook, report.failures) = (workbooks.results, workbooks.failures);
            // Recorded as ended only now: a crash in between writes the results again.
            self.store.control.set_ended(loaded.upload.id, true).await?;
            report.results = Some(path);
        }
        let ended = report.done + report.dead - counts_before;
        report.timed(begun.elapsed(), worked, ended);
        Ok(report)
    }

    /// Writes the workbooks beside the file, unless that is not wanted.
    async fn workbooks(&self, upload: &Upload) -> Result<Workbooks, RunError> {
        if self.args.only_csv {
            return Ok(Workbooks::default());
        }
        let exe = std::env::current_exe()
            .map_err(|source| RunError::Open { path: "/proc/self/exe".into(), source })?;
        let original = Original {
            store: &self.store,
            upload,
            file: &self.args.file,
            read: self.args.read_limits(self.config)?,
            config: self.config,
            exe,
        };
        Ok(workbooks::write(&original).await?)
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
        if self.store.log.depth(dead).await?.total() == 0 {
            return Ok(0);
        }
        // Not ended any more, from the first that comes back.
        self.store.control.set_ended(upload.id, false).await?;
        let moved = self.store.log.redrive(dead, queue.id, REDRIVE).await?;
        if moved == 0 {
            self.store.control.set_ended(upload.id, true).await?;
        }
        Ok(moved)
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
                max_deliveries: self.args.deliveries(self.config),
                retry: self.args.retry(self.config),
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
        let handler = self.args.handler(names(upload.public_id)?.queue, self.config)?;
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
        let limits = self.args.read_limits(self.config)?;
        // Refused before the file is looked at: a command that does not exist needs no reading.
        let probe = self.args.handler(names(Uuid::nil())?.queue, self.config)?;
        let (control, asked) = (&self.store.control, self.args.read_options());
        let opened = open(control, &self.args.file, asked, &limits, &self.stop.drain).await?;
        let Some(Opened { reader, first, read, corrects }) = opened else { return Ok(None) };
        let written = serde_json::to_string(&read).map_err(|e| RunError::Option(e.to_string()))?;
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
                    options: written,
                    topic,
                    bytes: 0,
                    spool: None,
                    stream: false,
                    corrects,
                    lease: None,
                };
                self.store.control.create_upload(new).await?
            }
        };
        let handler = self.handler(&upload, Some(&first))?;
        let covered = Coverage::new(self.store.log.covered(upload.id).await?);
        let published = &self.progress.published;
        published.store(covered.messages(), std::sync::atomic::Ordering::Relaxed);
        let told = self.config.ingest.duplicates_told;
        let sieve = Sieve::of(&self.store, &upload, told).await?;
        let job = Job {
            sieve,
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
        let limits = &self.config.ingest;
        match ingest(reader, &self.broker, job, limits, &self.stop.drain).await {
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
                self.args.worker_limits(self.config),
                stop,
                Arc::new((tally, self.metrics.clone())),
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

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, RunError> {
    serde_json::from_str(text).map_err(|error| StoreError::Damaged(error.to_string()).into())
}
