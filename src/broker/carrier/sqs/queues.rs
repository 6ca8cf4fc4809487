//! What is known of the engine's queues.
//!
//! A queue is known by a URL, which is asked for once. How long a delivery lasts is read from its
//! settings and believed for a while, because the driver must know it better than the engine tells.
//! Where the dead go is said by the redrive policy; a queue whose engine never gives a parcel up
//! has none, and says it by a tag instead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName as Name;
use tokio::time::Instant;

use super::super::CarrierError;
use super::SqsLimits;
use super::faults::{Trouble, patiently};
use super::names;
use super::settings::Policy;
use crate::domain::QueueName;

/// The tag that names the dead queue of one without a redrive policy.
pub(super) const DEAD: &str = "rowmill-dead";

/// What is known of a queue.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) url: Arc<str>,
    /// How long a delivery lasts.
    pub(super) deadline: Duration,
    /// The engine's name of the dead queue, if the redrive policy has one.
    policy_dead: Option<String>,
    read_at: Instant,
}

/// Where a queue's dead go.
#[derive(Debug, Clone)]
pub(super) struct DeadQueue {
    pub(super) url: Arc<str>,
    /// Its name; the engine's own where that is not one of ours.
    pub(super) name: QueueName,
    read_at: Instant,
}

/// The engine's queues.
pub(super) struct Queues {
    pub(super) client: Client,
    pub(super) limits: SqsLimits,
    prefix: String,
    urls: Mutex<HashMap<QueueName, Arc<str>>>,
    terms: Mutex<HashMap<QueueName, Terms>>,
    dead: Mutex<HashMap<QueueName, DeadQueue>>,
}

fn lock<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    // It is changed entry by entry: one that a panic left behind is still good.
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queues {
    pub(super) fn new(client: Client, limits: SqsLimits, prefix: String) -> Self {
        Self {
            client,
            limits,
            prefix,
            urls: Mutex::default(),
            terms: Mutex::default(),
            dead: Mutex::default(),
        }
    }

    /// A queue's name in the engine.
    pub(super) fn engine_name(&self, queue: &QueueName) -> String {
        names::encode(&self.prefix, queue)
    }

    /// The URL of a queue by its name in the engine.
    pub(super) async fn url_of(&self, name: &str) -> Result<Arc<str>, Trouble> {
        let ask = || self.client.get_queue_url().queue_name(name).send();
        let answer = patiently(&self.limits, ask).await?;
        answer.queue_url.map(Arc::from).ok_or(Trouble::NoQueue)
    }

    /// A queue's URL.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn url(&self, queue: &QueueName) -> Result<Arc<str>, CarrierError> {
        if let Some(url) = lock(&self.urls).get(queue) {
            return Ok(Arc::clone(url));
        }
        let url = self.url_of(&self.engine_name(queue)).await;
        let url = url.map_err(|trouble| trouble.about(queue))?;
        self.learn(&self.urls, queue, Arc::clone(&url));
        Ok(url)
    }

    /// A queue's URL is known.
    pub(super) fn learn_url(&self, queue: &QueueName, url: Arc<str>) {
        self.learn(&self.urls, queue, url);
    }

    fn learn<T>(&self, map: &Mutex<HashMap<QueueName, T>>, queue: &QueueName, known: T) {
        let mut map = lock(map);
        if map.len() >= self.limits.queues_known {
            map.clear();
        }
        map.insert(queue.clone(), known);
    }

    /// Forgets a queue that is not there any more.
    pub(super) fn forget(&self, queue: &QueueName) {
        lock(&self.urls).remove(queue);
        lock(&self.terms).remove(queue);
        lock(&self.dead).remove(queue);
    }

    /// What the attributes of a queue are, by its URL.
    pub(super) async fn attributes(
        &self,
        url: &str,
        names: &[Name],
    ) -> Result<HashMap<Name, String>, Trouble> {
        let names = Some(names.to_vec());
        let ask = || {
            let ask = self.client.get_queue_attributes().queue_url(url);
            ask.set_attribute_names(names.clone()).send()
        };
        Ok(patiently(&self.limits, ask).await?.attributes.unwrap_or_default())
    }

    /// What a queue's attributes are now.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn read(
        &self,
        queue: &QueueName,
        names: &[Name],
    ) -> Result<HashMap<Name, String>, CarrierError> {
        let url = self.url(queue).await?;
        self.told(queue, self.attributes(&url, names).await)
    }

    /// The same for whoever asked about a queue, which is forgotten if it is not there.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) fn told<T>(
        &self,
        queue: &QueueName,
        answer: Result<T, Trouble>,
    ) -> Result<T, CarrierError> {
        self.heeded(queue, answer.map_err(|trouble| trouble.about(queue)))
    }

    /// An answer, after which a queue that is not there is forgotten.
    pub(super) fn heeded<T>(
        &self,
        queue: &QueueName,
        answer: Result<T, CarrierError>,
    ) -> Result<T, CarrierError> {
        if matches!(answer, Err(CarrierError::NoQueue(_))) {
            self.forget(queue);
        }
        answer
    }

    /// What is known of a queue, read anew now and then.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn terms(&self, queue: &QueueName) -> Result<Terms, CarrierError> {
        if let Some(terms) = lock(&self.terms).get(queue)
            && terms.read_at.elapsed() < self.limits.known_for
        {
            return Ok(terms.clone());
        }
        let read = self.read(queue, &[Name::VisibilityTimeout, Name::RedrivePolicy]).await?;
        let deadline = read.get(&Name::VisibilityTimeout).and_then(|text| text.parse().ok());
        let policy = read.get(&Name::RedrivePolicy).and_then(|text| Policy::read(text));
        let terms = Terms {
            url: self.url(queue).await?,
            deadline: Duration::from_secs(deadline.unwrap_or(30)),
            policy_dead: policy.map(Policy::into_dead),
            read_at: Instant::now(),
        };
        self.learn(&self.terms, queue, terms.clone());
        Ok(terms)
    }

    /// Where a queue's dead go.
    ///
    /// # Errors
    /// [`CarrierError::Unsupported`] when it has no dead queue.
    pub(super) async fn dead(&self, queue: &QueueName) -> Result<DeadQueue, CarrierError> {
        if let Some(dead) = lock(&self.dead).get(queue)
            && dead.read_at.elapsed() < self.limits.known_for
        {
            return Ok(dead.clone());
        }
        let terms = self.terms(queue).await?;
        let name = match terms.policy_dead {
            Some(name) => Some(name),
            None => {
                let ask = || self.client.list_queue_tags().queue_url(&*terms.url).send();
                let tags = self.told(queue, patiently(&self.limits, ask).await)?.tags;
                tags.and_then(|mut tags| tags.remove(DEAD)).filter(|name| !name.is_empty())
            }
        };
        let engine_name = name.ok_or(CarrierError::Unsupported {
            what: "to move a parcel to the dead queue",
            why: "its queue has none",
        })?;
        let name = names::decode(&self.prefix, &engine_name);
        let name = name.or_else(|| engine_name.parse().ok()).unwrap_or_else(|| queue.clone());
        let url = self.url_of(&engine_name).await.map_err(|trouble| trouble.about(&name))?;
        let dead = DeadQueue { url, name, read_at: Instant::now() };
        self.learn(&self.dead, queue, dead.clone());
        Ok(dead)
    }
}
