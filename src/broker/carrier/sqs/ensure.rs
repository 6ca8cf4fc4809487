//! Queues, made, changed and removed.

use std::sync::Arc;

use aws_sdk_sqs::types::QueueAttributeName as Name;
use tokio::time::{Instant, sleep};

use super::super::{CarrierError, CarrierQueue};
use super::faults::{Said, Trouble, patiently};
use super::queues::{DEAD, Queues};
use super::settings::{self, Attributes, Policy};
use crate::domain::QueueName;

impl Queues {
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
        self.learn_url(&queue.name, url);
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
