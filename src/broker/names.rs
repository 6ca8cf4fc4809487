//! Names of topics and queues as they were last found, so that not every call asks the database.
//!
//! A name may be given to something else, or to nothing, by another process. So what was found is
//! trusted for `FRESH` at most, and forgotten at once by the process that changed it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::RwLock;
use std::time::Duration;

use tokio::time::Instant;

use super::cache::{read, write};
use super::error::BrokerError;
use crate::domain::{QueueName, TopicName};
use crate::store::Store;
use crate::store::control::Queue;
use crate::store::log::TopicId;

/// How long what was found is trusted.
const FRESH: Duration = Duration::from_secs(1);

/// The names that one process has met.
#[derive(Debug)]
pub(super) struct Names {
    store: Store,
    queues: Known<QueueName, Queue>,
    topics: Known<TopicName, TopicId>,
}

impl Names {
    pub(super) fn new(store: Store) -> Self {
        Self { store, queues: Known::default(), topics: Known::default() }
    }

    /// A queue by its name.
    pub(super) async fn queue(&self, name: &QueueName) -> Result<Queue, BrokerError> {
        if let Some(queue) = self.queues.get(name) {
            return Ok(queue);
        }
        let found = self.store.control.queue(name).await?;
        let queue = found.ok_or_else(|| BrokerError::NoQueue(name.clone()))?;
        self.queues.put(name.clone(), queue.clone());
        Ok(queue)
    }

    /// A topic's number by its name.
    pub(super) async fn topic(&self, name: &TopicName) -> Result<TopicId, BrokerError> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic);
        }
        let found = self.store.control.topic(name).await?;
        let topic = found.ok_or_else(|| BrokerError::NoTopic(name.clone()))?;
        self.topics.put(name.clone(), topic);
        Ok(topic)
    }

    /// Forgets everything: something was made, changed or deleted.
    pub(super) fn forget(&self) {
        self.queues.clear();
        self.topics.clear();
    }
}

/// What was found, by name.
#[derive(Debug)]
pub(super) struct Known<K, V>(RwLock<HashMap<K, (V, Instant)>>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Eq + Hash, V: Clone> Known<K, V> {
    pub(super) fn get(&self, name: &K) -> Option<V> {
        let known = read(&self.0);
        let (value, found) = known.get(name)?;
        (found.elapsed() < FRESH).then(|| value.clone())
    }

    pub(super) fn put(&self, name: K, value: V) {
        let mut known = write(&self.0);
        known.retain(|_, (_, found)| found.elapsed() < FRESH);
        known.insert(name, (value, Instant::now()));
    }

    pub(super) fn clear(&self) {
        write(&self.0).clear();
    }
}
