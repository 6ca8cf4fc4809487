//! Takes files in for a server: checks each, records it as an upload, and ingests it in the
//! background under a lease; goes on with uploads whose server died.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::corrects::corrects_to;
use super::reader::{CannotStart, Reader};
use super::spool::LocalFile;
use super::taken::{Destination, IntakeSettings, NotTaken, Spooled, Stage, TakeOptions, Taken};
use super::{Counts, Coverage, IngestError, Ingested, Job, Progress, Sieve};
use super::{lease, resumed, twice};
use crate::broker::{Broker, BrokerError, Publishing};
use crate::domain::Problem;
use crate::store::Store;
use crate::store::control::{Control, NewUpload, Upload};
use crate::store::log::{TopicId, UploadId};
use crate::workbook::rules::TextDates;
use crate::workbook::{ReadOptions, SheetHead};

/// Takes files in. Cheap to clone; clones share everything.
#[derive(Debug)]
pub struct Intake<B> {
    inner: Arc<Inner<B>>,
}

impl<B> Clone for Intake<B> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<B> {
    store: Store,
    broker: B,
    settings: IntakeSettings,
    stop: CancellationToken,
    readers: Arc<Semaphore>,
    /// Ingestions of this process, by upload.
    running: Mutex<HashMap<UploadId, Arc<Progress>>>,
    counts: Arc<Counts>,
    tasks: TaskTracker,
}

/// A reader that has said its first word, what it reads, and its permit.
struct Opened {
    reader: Reader,
    first: SheetHead,
    file: LocalFile,
    permit: OwnedSemaphorePermit,
}

impl<B: Broker + Clone> Intake<B> {
    /// An intake that runs until `stop`.
    pub fn new(store: Store, broker: B, settings: IntakeSettings, stop: CancellationToken) -> Self {
        let readers = settings.read.readers_at_once.max(1);
        Self {
            inner: Arc::new(Inner {
                store,
                broker,
                settings,
                stop,
                readers: Arc::new(Semaphore::new(readers)),
                running: Mutex::default(),
                counts: Arc::default(),
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// What it was told.
    pub fn settings(&self) -> &IntakeSettings {
        &self.inner.settings
    }

    /// Who may read: a permit a reader.
    pub(super) fn permits(&self) -> &Arc<Semaphore> {
        &self.inner.readers
    }

    /// What is recorded of uploads.
    pub(super) fn control(&self) -> &Control {
        &self.inner.store.control
    }

    /// Until it is told to stop.
    pub(super) async fn stopping(&self) {
        self.inner.stop.cancelled().await;
    }

    /// Checks a spooled file and, if it can be read, records it as an upload and begins to ingest it.
    /// The file of one that is not taken is removed from the spool.
    ///
    /// Cancellation safety: it goes on to its end although nobody waits for it.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing is recorded then.
    pub async fn take(&self, file: Spooled, options: TakeOptions) -> Result<Taken, NotTaken> {
        let intake = self.clone();
        // The id is the upload's, should it become one; what is refused is told of under it too.
        let id = Uuid::new_v4();
        let topic = options.topic.plain().unwrap_or(TopicId(0));
        let span = self.span(id, &file.filename, topic).await;
        let taking = async move {
            let name = file.spool.clone();
            tracing::info!(step = "received", bytes = file.bytes, "a file was received whole");
            let taken = intake.try_take(id, file, options).await;
            if let Err(error) = &taken {
                tracing::info!(step = "refused", why = error.kind(), "a file was not taken");
            }
            if !taken.as_ref().is_ok_and(Taken::is_new)
                && let Err(error) = intake.inner.settings.spool.remove(&name).await
            {
                tracing::warn!(name, %error, "a file that was not taken stays in the spool");
            }
            taken
        };
        let taking = self.inner.tasks.spawn(taking.instrument(span));
        taking.await.unwrap_or(Err(NotTaken::Stopping))
    }

    async fn try_take(
        &self,
        id: Uuid,
        file: Spooled,
        options: TakeOptions,
    ) -> Result<Taken, NotTaken> {
        let inner = &self.inner;
        let permit =
            timeout(inner.settings.reader_wait, Arc::clone(&inner.readers).acquire_owned());
        let Ok(Ok(permit)) = permit.await else { return Err(NotTaken::Busy) };
        let key = options.key(&file).map_err(CannotStart::Arguments)?;
        if let Some(before) = self.before(key.as_deref()).await? {
            return Ok(before);
        }
        let settings = &inner.settings;
        let local = match file.local {
            Some(local) => local,
            None => settings.spool.local(&file.spool, file.bytes, &file.content_hash).await?,
        };
        let (mut reader, mut first) = self.first_word(local.path(), &options.read).await?;
        let (mut read, mut topic, mut corrected) = (options.read, options.topic.plain(), None);
        if let Some(id) = reader.corrects() {
            let corrects = corrects_to(self.control(), id, &read, options.topic).await?;
            (read, corrected) = (corrects.read, Some(id));
            if let Destination::Usual(_) = options.topic {
                topic = Some(corrects.upload.topic);
            }
        }
        if corrected.is_some() || read.dates == TextDates::Auto {
            // One reader at a time: it is one permit.
            drop(reader);
            read = self.decided(read, local.path()).await?;
            (reader, first) = self.first_word(local.path(), &read).await?;
        }
        let first = first.map_err(NotTaken::Refused)?;
        let topic = topic.ok_or(NotTaken::NoTopic)?;
        let written = serde_json::to_string(&read).map_err(CannotStart::Arguments)?;
        let new = NewUpload {
            public_id: id,
            run_key: key.clone(),
            filename: file.filename,
            content_hash: file.content_hash,
            options: written,
            topic,
            bytes: file.bytes,
            spool: Some(file.spool),
            stream: options.stream,
            corrects: corrected,
            lease: Some(settings.lease),
        };
        let upload = match inner.store.control.create_steered(new, options.steering).await {
            Ok(upload) => upload,
            // Two of the same may come at once; the key is unique.
            Err(error) => return self.before(key.as_deref()).await?.ok_or(NotTaken::Store(error)),
        };
        let stage = self.begin(upload.clone(), Opened { reader, first, file: local, permit });
        Ok(Taken { upload, stage })
    }

    /// Starts a reader and hears its first word. What it refuses may still say that it is a correction,
    /// and then be read as that.
    pub(super) async fn first_word(
        &self,
        file: &Path,
        read: &ReadOptions,
    ) -> Result<(Reader, Result<SheetHead, Problem>), NotTaken> {
        let settings = &self.inner.settings;
        let mut reader = Reader::start(&settings.exe, file, read, &settings.read)?;
        tokio::select! {
            first = reader.first_word() => Ok((reader, first)),
            () = self.inner.stop.cancelled() => Err(NotTaken::Stopping),
        }
    }

    /// The upload that took a file first, by its key.
    async fn before(&self, key: Option<&str>) -> Result<Option<Taken>, NotTaken> {
        let Some(key) = key else { return Ok(None) };
        let before = self.inner.store.control.upload_of_run(key).await?;
        Ok(before.map(|upload| Taken { upload, stage: watch::channel(Stage::Before).1 }))
    }

    /// Looks for uploads whose server died, and goes on with them, until it is told to stop; then
    /// waits for the ingestions of this process to come to a stop.
    pub async fn run(&self) {
        let inner = &self.inner;
        let mut every = tokio::time::interval(inner.settings.claim_every);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = inner.stop.cancelled() => break,
            }
            // One that cannot be read now is left to a server that has a reader to spare.
            while let Ok(permit) = Arc::clone(&inner.readers).try_acquire_owned() {
                match inner.store.control.claim(inner.settings.lease).await {
                    Ok(Some(upload)) => {
                        let span =
                            self.span(upload.public_id, &upload.filename, upload.topic).await;
                        let intake = self.clone();
                        let going_on = async move {
                            tracing::info!(
                                step = "taken_over",
                                epoch = upload.epoch,
                                "going on with an upload"
                            );
                            intake.resume(upload, permit).await;
                        };
                        inner.tasks.spawn(going_on.instrument(span));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "uploads to go on with could not be looked for");
                        break;
                    }
                }
            }
        }
        inner.tasks.close();
        inner.tasks.wait().await;
    }

    /// What this process has ingested, since it was started.
    pub fn counts(&self) -> &Counts {
        &self.inner.counts
    }

    /// How many readers are at work, and how many may be.
    pub fn readers(&self) -> (usize, usize) {
        let most = self.inner.settings.read.readers_at_once.max(1);
        (most.saturating_sub(self.inner.readers.available_permits()), most)
    }

    /// Counts of an ingestion that this process has under way.
    pub fn progress(&self, upload: UploadId) -> Option<Arc<Progress>> {
        self.running().get(&upload).cloned()
    }

    /// Opens the file of an upload that another server began, and goes on with it.
    async fn resume(&self, upload: Upload, permit: OwnedSemaphorePermit) {
        let inner = &self.inner;
        let options: ReadOptions = match serde_json::from_str(&upload.options) {
            Ok(options) => options,
            Err(error) => {
                tracing::error!(upload = %upload.public_id, %error, "its options cannot be read");
                return;
            }
        };
        let file = tokio::select! {
            file = resumed::file(&inner.settings, &inner.store, &upload) => file,
            () = inner.stop.cancelled() => return self.let_go(&upload).await,
        };
        let file = match file {
            Ok(Some(file)) => file,
            Ok(None) => return,
            Err(problem) => return self.unreadable(&upload, &problem).await,
        };
        let settings = &inner.settings;
        let started = Reader::start(&settings.exe, file.path(), &options, &settings.read);
        let mut reader = match started {
            Ok(reader) => reader,
            Err(error) => {
                tracing::error!(upload = %upload.public_id, %error, "its reader cannot be started");
                return;
            }
        };
        let first = tokio::select! {
            first = reader.first_word() => first,
            () = inner.stop.cancelled() => return self.let_go(&upload).await,
        };
        match first {
            Ok(first) => {
                self.begin(upload, Opened { reader, first, file, permit });
            }
            Err(problem) => self.unreadable(&upload, &problem).await,
        }
    }

    /// Records that the file of an upload cannot be read any more.
    async fn unreadable(&self, upload: &Upload, problem: &Problem) {
        // What the problem says may be the file's own words.
        tracing::warn!(upload = %upload.public_id, why = ?problem.kind, "its file cannot be read any more");
        let json = serde_json::to_string(problem).unwrap_or_default();
        if let Err(error) = self.inner.broker.discard(upload.fence(), &json).await {
            tracing::warn!(upload = %upload.public_id, %error, "its fault could not be recorded");
        }
    }

    /// Ingests in the background, and says how far that is.
    fn begin(&self, upload: Upload, opened: Opened) -> watch::Receiver<Stage> {
        let (told, stage) = watch::channel(Stage::Running);
        let intake = self.clone();
        let all = Arc::clone(&self.inner.counts);
        let progress = Arc::new(Progress { all, ..Progress::default() });
        self.running().insert(upload.id, Arc::clone(&progress));
        let ingesting = async move {
            let ended = intake.ingest(&upload, opened, &progress).await;
            intake.running().remove(&upload.id);
            told.send_replace(match ended {
                Ok(ended) => Stage::Ended(ended),
                Err(error) => {
                    tracing::info!(step = "stopped", %error, "an ingestion stopped");
                    if !matches!(error, IngestError::Broker(BrokerError::LeaseLost)) {
                        intake.let_go(&upload).await;
                    }
                    Stage::Stopped(error.to_string())
                }
            });
        };
        self.inner.tasks.spawn(ingesting.in_current_span());
        stage
    }

    /// Ingests under the lease, which is kept meanwhile; ends soon after it was lost.
    async fn ingest(
        &self,
        upload: &Upload,
        opened: Opened,
        progress: &Arc<Progress>,
    ) -> Result<Ingested, IngestError> {
        let inner = &self.inner;
        let stop = inner.stop.child_token();
        let keep =
            lease::keep(inner.store.clone(), upload.fence(), inner.settings.lease, stop.clone());
        let _keeper = AbortOnDropHandle::new(tokio::spawn(keep));
        let covered = inner.store.log.covered(upload.id).await;
        let covered = Coverage::new(covered.map_err(BrokerError::from)?);
        let Opened { mut reader, mut first, file, permit } = opened;
        if covered.batches() == 0 && twice::is_due(upload, inner.broker.holds())? {
            if let Some(problem) = twice::fault(reader, &stop).await? {
                return self.fail(upload, problem, &stop).await;
            }
            reader = self.again(upload, &file)?;
            first = match reader.first_word().await {
                Ok(first) => first,
                Err(problem) => return self.fail(upload, problem, &stop).await,
            };
        }
        progress.published.store(covered.messages(), Ordering::Relaxed);
        progress.unrouted.store(covered.unrouted(), Ordering::Relaxed);
        let told = inner.settings.ingest.duplicates_told;
        let sieve = Sieve::of(&inner.store, upload, told).await.map_err(BrokerError::from)?;
        let job = Job {
            sieve,
            publishing: Publishing {
                topic: upload.topic,
                fence: upload.fence(),
                upload_id: upload.public_id,
                filename: upload.filename.clone(),
                held: !upload.stream,
            },
            coverage: covered,
            first,
            progress,
        };
        let ended = super::ingest(reader, &inner.broker, job, &inner.settings.ingest, &stop).await;
        drop(file);
        drop(permit);
        match ended.as_ref().err().and_then(twice::not_carried) {
            Some(problem) => self.fail(upload, problem, &stop).await,
            None => ended,
        }
    }

    /// Another reader of an upload's file.
    fn again(&self, upload: &Upload, file: &LocalFile) -> Result<Reader, IngestError> {
        let settings = &self.inner.settings;
        let options: ReadOptions = serde_json::from_str(&upload.options)?;
        Ok(Reader::start(&settings.exe, file.path(), &options, &settings.read)?)
    }

    async fn fail(
        &self,
        upload: &Upload,
        problem: Problem,
        stop: &CancellationToken,
    ) -> Result<Ingested, IngestError> {
        let inner = &self.inner;
        let limits = &inner.settings.ingest;
        twice::fail(inner.broker.clone(), upload.fence(), &problem, limits, stop).await?;
        Ok(Ingested::Failed(problem))
    }

    /// What is logged about an upload is logged within this: whose it is, and no more of the user's
    /// than the file's name.
    async fn span(&self, id: Uuid, filename: &str, topic: TopicId) -> Span {
        let topic = match self.inner.store.control.topic_name(topic).await {
            Ok(Some(name)) => name,
            // It is only for the log.
            _ => topic.0.to_string(),
        };
        tracing::info_span!("upload", upload = %id, filename, topic)
    }

    /// Lets others go on at once with what this process stops.
    async fn let_go(&self, upload: &Upload) {
        if let Err(error) = self.inner.store.control.let_go(upload.fence()).await {
            tracing::debug!(%error, "an upload waits for its lease to run out");
        }
    }

    /// The map is only ever changed entry by entry, so one that a panic left behind is still good.
    fn running(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<Progress>>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
