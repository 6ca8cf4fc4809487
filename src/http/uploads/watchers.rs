//! Who is watching which upload. However many listen to one upload, one task looks at it; the task
//! begins with the first listener and ends with the last, with the upload, or with the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use uuid::Uuid;

use super::view;
use crate::api;
use crate::broker::Broker;
use crate::http::{ApiError, App};

/// An upload at one moment, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The same JSON as `GET /uploads/{id}` answers.
    pub(super) json: Arc<str>,
    /// What tells it from others: a fingerprint of the JSON, so that every server says the same.
    pub(super) id: Arc<str>,
    /// Whether it is the last.
    pub(super) over: bool,
}

impl Snapshot {
    pub(super) fn of(upload: &api::Upload) -> Result<Self, ApiError> {
        let text = |upload: &api::Upload| {
            serde_json::to_string(upload)
                .map_err(|error| ApiError::unavailable(format!("the upload: {error}"), 1))
        };
        let json = text(upload)?;
        // The pace changes while nothing happens, and with each look.
        let hash = Sha256::digest(text(&api::Upload { pace: None, ..upload.clone() })?);
        let id: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { json: json.into(), id: id.into(), over: upload.status.is_over() })
    }
}

type Watched = HashMap<Uuid, Weak<watch::Sender<Snapshot>>>;

/// The uploads that are being watched. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchers(Arc<Mutex<Watched>>);

impl Watchers {
    /// Listens to an upload, which `now` shows. The channel closes when nothing more will come.
    ///
    /// # Errors
    /// 503 when too many are watched.
    pub(super) fn listen<B: Broker + Clone>(
        &self,
        app: &App<B>,
        id: Uuid,
        now: Snapshot,
    ) -> Result<watch::Receiver<Snapshot>, ApiError> {
        let mut watched = self.lock();
        if let Some(sender) = watched.get(&id).and_then(Weak::upgrade) {
            return Ok(sender.subscribe());
        }
        if watched.len() >= app.limits.watched_uploads {
            watched.retain(|_, sender| sender.strong_count() > 0);
        }
        if watched.len() >= app.limits.watched_uploads {
            return Err(ApiError::unavailable("too many uploads are being watched", 5));
        }
        let over = now.over;
        let (sender, receiver) = watch::channel(now);
        if !over {
            let sender = Arc::new(sender);
            watched.insert(id, Arc::downgrade(&sender));
            tokio::spawn(self.clone().look(app.clone(), id, sender));
        }
        Ok(receiver)
    }

    async fn look<B: Broker + Clone>(
        self,
        app: App<B>,
        id: Uuid,
        sender: Arc<watch::Sender<Snapshot>>,
    ) {
        let (every, idle) = (app.limits.event_every, app.limits.watch_idle);
        let mut pause = every;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = sender.closed() => {}
                () = app.stop.cancelled() => return,
            }
            {
                // Under the lock, so that nobody begins to listen to a task that ends.
                let mut watched = self.lock();
                if sender.receiver_count() == 0 {
                    watched.remove(&id);
                    return;
                }
            }
            let now = match look_once(&app, id).await {
                Ok(Some(now)) => now,
                // Deleted: there is nothing more to tell.
                Ok(None) => return,
                // The listeners wait with it until the database answers again.
                Err(error) if error.retry_after.is_some() => {
                    pause = idle.max(every);
                    continue;
                }
                Err(_) => return,
            };
            let over = now.over;
            let changed = sender.send_if_modified(|last| {
                let changed = last.id != now.id;
                *last = now;
                changed
            });
            if over {
                return;
            }
            pause = if changed { every } else { (pause * 2).min(idle).max(every) };
        }
    }

    /// Entries are only ever put in and taken out whole, so what a panic left behind is good.
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look_once<B: Broker + Clone>(
    app: &App<B>,
    id: Uuid,
) -> Result<Option<Snapshot>, ApiError> {
    let Some(upload) = app.store.control.upload_by_public_id(id).await? else { return Ok(None) };
    Snapshot::of(&view::view(app, &upload).await?).map(Some)
}
