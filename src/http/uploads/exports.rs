//! Files of results that are being written, or kept for whoever asks next.
//!
//! The first request for a file starts its job, later ones join it. A file of an upload that is over is
//! kept for a while; one that shows an upload on its way is given out once, because the next is another.
//! Each process has its own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::export::{BuildError, Built, ExportLimits, Job, Progress, build, sweep};
use crate::store::log::UploadId;
use crate::workbook::export::{ExportForm, ExportWhat};

/// After which silence a file is taken for one that a dead process left, at the least.
const LEFT_BEHIND: Duration = Duration::from_secs(60 * 60);

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) upload: UploadId,
    pub(super) what: ExportWhat,
    pub(super) form: ExportForm,
}

/// How a file stands.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    Building,
    Built(Arc<Built>),
    Failed(Arc<BuildError>),
}

/// A file that is being written, or kept.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) stage: watch::Receiver<Stage>,
    pub(super) progress: Arc<Progress>,
    /// What the upload was like when it was begun.
    version: String,
    /// Whether rows might still end then.
    pub(super) open: bool,
}

#[derive(Debug)]
struct Kept {
    running: Running,
    _task: AbortOnDropHandle<()>,
}

/// The files of a process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Exports(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    files: Mutex<HashMap<Key, Kept>>,
    room: OnceLock<Arc<Semaphore>>,
}

/// Too many are being written, or wait for that.
#[derive(Debug)]
pub(super) struct Full;

impl Exports {
    /// The file, as it is being written or kept; begun with `job` if there is none of this version.
    pub(super) fn file(
        &self,
        key: Key,
        version: String,
        job: impl FnOnce() -> Job,
    ) -> Result<Running, Full> {
        let mut files = self.files();
        if let Some(kept) = files.get(&key) {
            let running = &kept.running;
            let good = match &*running.stage.borrow() {
                Stage::Building => true,
                Stage::Built(_) => running.open || running.version == version,
                Stage::Failed(_) => false,
            };
            if good {
                return Ok(running.clone());
            }
        }
        files.remove(&key);
        let job = job();
        let limits = job.limits.clone();
        let building = |kept: &&Kept| matches!(*kept.running.stage.borrow(), Stage::Building);
        if files.values().filter(building).count() >= limits.at_once + limits.waiting {
            return Err(Full);
        }
        let (stage, watched) = watch::channel(Stage::Building);
        let progress = Arc::new(Progress::default());
        let running =
            Running { stage: watched, progress: Arc::clone(&progress), version, open: job.open };
        let room = self.0.room.get_or_init(|| {
            tokio::spawn(tidy(job.directory.clone(), limits.clone()));
            Arc::new(Semaphore::new(limits.at_once.max(1)))
        });
        let work = Work { key, room: Arc::clone(room), home: Arc::downgrade(&self.0) };
        let task = tokio::spawn(work.run(job, stage, progress));
        let kept = Kept { running: running.clone(), _task: AbortOnDropHandle::new(task) };
        files.insert(key, kept);
        Ok(running)
    }

    /// A file of an upload on its way was given out.
    pub(super) fn given(&self, key: Key, running: &Running) {
        if running.open {
            self.0.remove(key, &running.stage);
        }
    }

    /// The upload is gone.
    pub(super) fn forget(&self, upload: UploadId) {
        self.files().retain(|key, _| key.upload != upload);
    }

    fn files(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.0.files()
    }
}

impl Inner {
    fn files(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, key: Key, stage: &watch::Receiver<Stage>) {
        let mut files = self.files();
        if files.get(&key).is_some_and(|kept| kept.running.stage.same_channel(stage)) {
            files.remove(&key);
        }
    }
}

struct Work {
    key: Key,
    room: Arc<Semaphore>,
    home: Weak<Inner>,
}

impl Work {
    async fn run(self, job: Job, stage: watch::Sender<Stage>, progress: Arc<Progress>) {
        let built = {
            // The semaphore is never closed.
            let _permit = self.room.acquire().await;
            build(&job, &progress).await
        };
        let watched = stage.subscribe();
        match built {
            Ok(built) => {
                tracing::info!(upload = %job.upload.public_id, rows = built.rows, what = %job.what,
                    form = %job.form, "results were written");
                stage.send_replace(Stage::Built(Arc::new(built)));
            }
            Err(error) => {
                tracing::warn!(upload = %job.upload.public_id, %error, "results were not written");
                stage.send_replace(Stage::Failed(Arc::new(error)));
            }
        }
        tokio::time::sleep(job.limits.kept).await;
        if let Some(home) = self.home.upgrade() {
            home.remove(self.key, &watched);
        }
    }
}

/// Removes what dead processes left. Living ones write to theirs, or keep them no longer than that.
async fn tidy(directory: PathBuf, limits: ExportLimits) {
    if let Err(error) = sweep(directory, LEFT_BEHIND.max(limits.kept * 2)).await {
        tracing::warn!(%error, "the directory of results cannot be tidied up");
    }
}
