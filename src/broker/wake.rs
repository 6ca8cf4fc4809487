//! Waking those who wait for messages: in this process at once, in others by a word through the
//! database (LISTEN and NOTIFY on PostgreSQL).
//!
//! The word is sent after the commit and never within the transaction, where it would make all
//! committers wait for each other; words of a few milliseconds become one. Each carries the name of
//! its process, which does not listen to itself. What is missed while the connection is away is
//! found when it is back, and by the consumers' own look now and then.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::store::Store;

/// The pause before a lost connection is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Rings when something can be received that could not before. Clones are the same bell.
#[derive(Debug, Clone)]
pub(super) struct Bell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    here: watch::Sender<()>,
    elsewhere: Arc<Notify>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Bell {
    /// A bell that is heard by every process on this database; `gather` is how long words to others
    /// are gathered.
    pub(super) fn new(store: &Store, gather: Duration) -> Self {
        let here = watch::Sender::new(());
        let elsewhere = Arc::new(Notify::new());
        let name = Uuid::new_v4().simple().to_string();
        let tell = tell(store.clone(), Arc::clone(&elsewhere), name.clone(), gather);
        let listen = listen(store.clone(), here.clone(), name);
        let tasks = vec![
            AbortOnDropHandle::new(tokio::spawn(tell)),
            AbortOnDropHandle::new(tokio::spawn(listen)),
        ];
        Self(Arc::new(Inner { here, elsewhere, _tasks: tasks }))
    }

    /// Wakes everybody.
    pub(super) fn ring(&self) {
        self.0.here.send_replace(());
        self.0.elsewhere.notify_one();
    }

    /// Hears every ring from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.here.subscribe()
    }
}

async fn tell(store: Store, rung: Arc<Notify>, name: String, gather: Duration) {
    loop {
        rung.notified().await;
        if let Err(error) = store.notify(&name).await {
            tracing::debug!(%error, "other processes could not be told of new messages");
        }
        sleep(gather).await;
    }
}

async fn listen(store: Store, here: watch::Sender<()>, name: String) {
    loop {
        match store.listen().await {
            Ok(None) => return,
            Ok(Some(mut listener)) => {
                here.send_replace(());
                loop {
                    match listener.heard().await {
                        Ok(Some(word)) if word == name => {}
                        Ok(_) => {
                            here.send_replace(());
                        }
                        Err(error) => {
                            tracing::debug!(%error, "words of other processes cannot be heard");
                            break;
                        }
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "words of other processes cannot be heard"),
        }
        sleep(AGAIN).await;
    }
}
