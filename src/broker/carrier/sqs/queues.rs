//! The engine's queues: made, changed, removed, and what is known of them.
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
use tokio::time::{Instant, sleep};

use super::super::{CarrierError, CarrierQueue};
use super::faults::{Said, Trouble, patiently};
use super::limits::SqsLimits;
use super::names;
use super::settings::{self, Attributes, Policy};
use crate::domain::QueueName;

/// The tag that names the dead queue of one without a redrive policy.
const DEAD: &str = "rowmill-dead";

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
    client: Client,
    limits: SqsLimits,
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

    fn engine_name(&self, queue: &QueueName) -> String {
        names::encode(&self.prefix, queue)
    }

    async fn url_of(&self, name: &str) -> Result<Arc<str>, Trouble> {
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

    async fn attributes(
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

    /// Makes a queue, or changes it.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn ensure(&self, queue: &CarrierQueue) -> Result<(), CarrierError> {
        let mut attributes = settings::attributes(queue, &self.limits)?;
        let about = |trouble: Trouble| trouble.about(&queue.name);
        let dead = queue.dead.as_ref().map(|dead| (self.engine_name(dead), dead));
        if let (Some((name, dead)), Some(most)) = (&dead, settings::deliveries(queue)) {
            let arn = self.arn(name).await.map_err(|trouble| trouble.about(dead))?;
            attributes.insert(Name::RedrivePolicy, Policy::text(&arn, most));
        }
        let url = self.make(&self.engine_name(&queue.name), &attributes).await.map_err(about)?;
        let tag = dead.as_ref().map_or("", |(name, _)| name);
        let ask = || self.client.tag_queue().queue_url(&*url).tags(DEAD, tag).send();
        patiently(&self.limits, ask).await.map_err(about)?;
        self.forget(&queue.name);
        self.learn(&self.urls, &queue.name, url);
        Ok(())
    }

    /// The engine's address of a dead queue, which is made if it is not there: it may be ensured
    /// after the queue whose dead it keeps.
    async fn arn(&self, name: &str) -> Result<String, Trouble> {
        let url = match self.url_of(name).await {
            Err(Trouble::NoQueue) => self.make(name, &settings::of_a_dead_queue()).await?,
            url => url?,
        };
        let mut read = self.attributes(&url, &[Name::QueueArn]).await?;
        let none = || Trouble::Away(Said("the engine told no QueueArn".to_owned()));
        read.remove(&Name::QueueArn).ok_or_else(none)
    }

    /// Makes a queue or sets what it is. Others may be at the same, and for a minute after its
    /// removal a name is neither free nor taken.
    async fn make(&self, name: &str, attributes: &Attributes) -> Result<Arc<str>, Trouble> {
        let until = Instant::now() + self.limits.removed;
        for attempt in 1_u16.. {
            match self.url_of(name).await {
                Ok(url) => match self.change(&url, attributes).await {
                    Err(Trouble::NoQueue) => {}
                    changed => return changed.map(|()| url),
                },
                Err(Trouble::NoQueue) => {}
                Err(trouble) => return Err(trouble),
            }
            let made = patiently(&self.limits, || {
                let ask = self.client.create_queue().queue_name(name);
                ask.set_attributes(Some(attributes.clone())).send()
            });
            let trouble = match made.await {
                Ok(made) => match made.queue_url {
                    Some(url) => return Ok(url.into()),
                    None => continue,
                },
                Err(trouble) => trouble,
            };
            let passes = |code: &str| {
                matches!(code, "QueueDeletedRecently" | "QueueNameExists" | "QueueAlreadyExists")
            };
            let wait = self.limits.backoff.wait(attempt, fastrand::f64());
            match trouble {
                Trouble::Refused { code, said } if passes(&code) => {
                    if Instant::now() + wait > until {
                        return Err(Trouble::Away(said));
                    }
                    sleep(wait).await;
                }
                trouble => return Err(trouble),
            }
        }
        Err(Trouble::Away(Said("it was asked too often".to_owned())))
    }

    async fn change(&self, url: &str, attributes: &Attributes) -> Result<(), Trouble> {
        let mut attributes = attributes.clone();
        // What it may have had before is taken away by naming none.
        attributes.entry(Name::RedrivePolicy).or_default();
        let ask = || {
            let ask = self.client.set_queue_attributes().queue_url(url);
            ask.set_attributes(Some(attributes.clone())).send()
        };
        patiently(&self.limits, ask).await.map(drop)
    }

    /// Removes a queue; none is no error.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn remove(&self, queue: &QueueName) -> Result<(), CarrierError> {
        self.forget(queue);
        let removed = async {
            let url = self.url_of(&self.engine_name(queue)).await?;
            let ask = || self.client.delete_queue().queue_url(&*url).send();
            patiently(&self.limits, ask).await.map(drop)
        };
        match removed.await {
            Ok(()) | Err(Trouble::NoQueue) => Ok(()),
            Err(trouble) => Err(trouble.about(queue)),
        }
    }
}
