//! The keys that are good, as they were a moment ago.
//!
//! All of them are read at once and trusted for a while, so that a request costs no question to the
//! database, and one with a wrong key none either. Halfway through its trust the list is read again
//! in the background: where requests come all the time, none waits for it. Those that do wait, wait
//! for one reading together, and share its failure.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::domain::{ApiKey, KeyHash};
use crate::http::ApiError;
use crate::store::Store;

/// The good keys at one moment.
#[derive(Debug)]
pub(super) struct Known {
    /// Whether a key is asked for at all.
    pub(super) on: bool,
    by_hash: HashMap<KeyHash, Arc<ApiKey>>,
    by_number: HashMap<i32, Arc<ApiKey>>,
    /// When they began to be read.
    read: Instant,
}

impl Known {
    /// The key whose hash this is.
    pub(super) fn key(&self, hash: &KeyHash) -> Option<&Arc<ApiKey>> {
        self.by_hash.get(hash)
    }

    /// The key of that number.
    pub(super) fn numbered(&self, number: i32) -> Option<&Arc<ApiKey>> {
        self.by_number.get(&number)
    }
}

/// Knows the keys. Clones share what they know.
#[derive(Debug, Clone)]
pub(super) struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    trust: Duration,
    known: RwLock<Option<Arc<Known>>>,
    /// Held while they are read; says when that failed last.
    reading: Mutex<Option<Instant>>,
}

impl Keys {
    /// Those of a database, each reading trusted for so long.
    pub(super) fn new(store: Store, trust: Duration) -> Self {
        let (known, reading) = (RwLock::default(), Mutex::default());
        Self(Arc::new(Inner { store, trust, known, reading }))
    }

    /// The keys as they were no longer ago than they are trusted for.
    ///
    /// # Errors
    /// 503 when the database does not answer: who cannot be known is not let in.
    pub(super) async fn now(&self) -> Result<Arc<Known>, ApiError> {
        let trust = self.0.trust;
        let known = self.last();
        let Some(known) = known.filter(|known| known.read.elapsed() < trust) else {
            return self.read(trust).await;
        };
        if known.read.elapsed() > trust / 2 && self.0.reading.try_lock().is_ok() {
            let again = self.clone();
            tokio::spawn(async move {
                // What it failed of is told by the request that finds the keys too old.
                let _ = again.read(trust / 2).await;
            });
        }
        Ok(known)
    }

    fn last(&self) -> Option<Arc<Known>> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads them, unless somebody else just has: no longer ago than `fresh`.
    async fn read(&self, fresh: Duration) -> Result<Arc<Known>, ApiError> {
        let asked = Instant::now();
        let mut failed = self.0.reading.lock().await;
        if let Some(known) = self.last().filter(|known| known.read.elapsed() <= fresh) {
            return Ok(known);
        }
        if failed.is_some_and(|at| at >= asked) {
            return Err(ApiError::unavailable("the database does not answer; try again", 1));
        }
        let read = Instant::now();
        let good = match self.0.store.control.good_keys().await {
            Ok(good) => good,
            Err(error) => {
                *failed = Some(Instant::now());
                return Err(error.into());
            }
        };
        let mut known =
            Known { on: good.ever, by_hash: HashMap::new(), by_number: HashMap::new(), read };
        for key in good.keys.into_iter().map(Arc::new) {
            known.by_hash.insert(key.hash.clone(), Arc::clone(&key));
            known.by_number.insert(key.number, key);
        }
        let known = Arc::new(known);
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        Ok(known)
    }
}
