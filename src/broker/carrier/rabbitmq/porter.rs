//! Brings what is due from the delay queues to its queue.
//!
//! Every process that was told of a queue does it, and none has to: a parcel is sent to its queue,
//! confirmed, and only then acked where it waited, so that it may come twice, and is never lost. A
//! delay queue is *visited*: as many parcels as a visit takes are delivered to it, those that are due go
//! on, and those that are not go back with the channel, which no visit keeps for long: what the server
//! believes that it sent, and which never came, is returned only with the channel. When to go
//! there stands on the *agenda*: when the first of those that were seen is due, and what this process
//! made to wait itself; and now and then, for what others left behind who are gone. Delay queues that
//! others made are found by letters to all that there may be: the server returns those without a queue.

use std::collections::BTreeMap;

use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{DeliveryTag, FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::time::{Instant, timeout, timeout_at};

use super::Shared;
use super::agenda::Place;
use super::delays::{self, Step};
use super::letter::{self, Anew, Letter};
use super::link::within;
use super::post::Posted;
use super::send::Addressed;
use super::settle::hang_up;
use super::trouble::Trouble;
use crate::broker::carrier::CarrierError;
use crate::domain::QueueName;

/// What was delivered and is not due, by when it is.
type Waiting = BTreeMap<(Instant, DeliveryTag), Delivery>;

impl Shared {
    /// Answers when to come again, if there is a reason to.
    pub(super) async fn visit(&self, place: &Place) -> Option<Instant> {
        let Place { queue, step } = place;
        let Some(step) = *step else {
            // Of one that was removed nothing is to be found.
            self.known.get(queue)?;
            self.find_delays(queue).await;
            return Some(Instant::now() + self.limits.delay_look);
        };
        match self.bring_due(queue, step).await {
            Ok(next) => {
                let look = Instant::now() + self.limits.delay_look;
                Some(next.map_or(look, |next| next.min(look)))
            }
            Err(CarrierError::NoQueue(_)) => {
                self.known.forget_delay(queue, step);
                None
            }
            Err(error) => {
                tracing::debug!(%error, %queue, "what is due was not brought, and is again");
                Some(Instant::now() + self.limits.pause_most)
            }
        }
    }

    /// Finds delay queues that this process knows nothing of.
    async fn find_delays(&self, queue: &QueueName) {
        let unknown: Vec<Step> =
            Step::all().filter(|step| !self.known.has_delay(queue, *step)).collect();
        let letters: Vec<Letter> =
            unknown.iter().map(|step| Letter::probe(step.queue(queue))).collect();
        if letters.is_empty() {
            return;
        }
        match self.outward.post(&letters.iter().collect::<Vec<_>>()).await {
            Ok(posted) => {
                for (step, posted) in unknown.into_iter().zip(posted) {
                    if matches!(posted, Posted::Kept) {
                        self.known.put_delay(queue, step);
                        self.agenda.visit(Place::delay(queue, step), Instant::now());
                    }
                }
            }
            Err(trouble) => tracing::debug!(%trouble, %queue, "its delays were not looked for"),
        }
    }

    /// One visit of a delay queue; answers when the next parcel that it saw is due.
    async fn bring_due(
        &self,
        queue: &QueueName,
        step: Step,
    ) -> Result<Option<Instant>, CarrierError> {
        let (channel, _) =
            self.lanes.link.channel().await.map_err(|trouble| trouble.about(queue))?;
        let brought = self.bring(queue, step.queue(queue), &channel).await;
        if brought.is_ok() {
            // What was acked is read before this is answered; what was not goes back.
            let closed = channel.close(200, ShortString::default());
            within(self.limits.answer_wait, closed)
                .await
                .map_err(|trouble| trouble.about(queue))?;
        } else {
            hang_up(&channel);
        }
        brought
    }

    async fn bring(
        &self,
        queue: &QueueName,
        delay: ShortString,
        channel: &Channel,
    ) -> Result<Option<Instant>, CarrierError> {
        let begun = self.begin_visit(delay, channel).await;
        let mut consumer = begun.map_err(|trouble| trouble.about(queue))?;
        let end = Instant::now() + self.limits.delay_visit;
        let mut waiting = Waiting::new();
        loop {
            let first = waiting.first_key_value().map(|((at, _), _)| *at);
            let linger = Instant::now() + self.limits.delay_linger;
            let until = first.map_or(linger, |first| first.min(linger)).min(end);
            let came = self.gather(channel, &mut consumer, &mut waiting, until).await;
            let came = came.map_err(|trouble| trouble.about(queue))?;
            let now = Instant::now();
            let later = waiting.split_off(&(now, DeliveryTag::MAX));
            let due = std::mem::replace(&mut waiting, later);
            let brought = !due.is_empty();
            if brought && !self.bring_on(queue, channel, due).await? {
                return Ok(Some(now + self.limits.pause_most));
            }
            let next = waiting.first_key_value().map(|((at, _), _)| *at);
            let soon = Instant::now() + self.limits.delay_linger;
            if Instant::now() >= end {
                return Ok(Some(next.unwrap_or(end)));
            }
            if !came && !brought && next.is_none_or(|next| next > soon) {
                return Ok(next);
            }
        }
    }

    /// A consumer of a delay queue. What is in it is not asked for: a server that is busy says nothing.
    async fn begin_visit(
        &self,
        delay: ShortString,
        channel: &Channel,
    ) -> Result<Consumer, Trouble> {
        let limits = &self.limits;
        let qos = channel.basic_qos(limits.delay_window.max(1), BasicQosOptions::default());
        within(limits.answer_wait, qos).await?;
        let (name, options) = (ShortString::default(), BasicConsumeOptions::default());
        let consume = channel.basic_consume(delay, name, options, FieldTable::default());
        within(limits.answer_wait, consume).await
    }

    /// Adds what comes until then, and what comes with it; whether anything did.
    async fn gather(
        &self,
        channel: &Channel,
        consumer: &mut Consumer,
        waiting: &mut Waiting,
        until: Instant,
    ) -> Result<bool, Trouble> {
        let mut came = false;
        let mut next = timeout_at(until, consumer.next()).await;
        while let Ok(delivery) = next {
            // The queue was removed under it.
            let delivery = delivery.ok_or(Trouble::Missing)??;
            came = true;
            if letter::is_probe(&delivery.properties) {
                channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await?;
            } else {
                let due = letter::due_ms(&delivery.properties).unwrap_or(0);
                waiting.insert((delays::instant(due), delivery.delivery_tag), delivery);
            }
            next = timeout(self.limits.look, consumer.next()).await;
        }
        Ok(came)
    }

    /// Sends what is due to its queue, and acks what went; whether all of it did.
    async fn bring_on(
        &self,
        queue: &QueueName,
        channel: &Channel,
        due: Waiting,
    ) -> Result<bool, CarrierError> {
        let key = ShortString::from(queue.as_str());
        let (mut letters, mut tags, all) = (Vec::new(), Vec::new(), due.len());
        for Delivery { delivery_tag, properties, data, .. } in due.into_values() {
            match Letter::anew(&data.into(), &properties, Anew::Due, key.clone(), self.sizes()) {
                Ok(letter) => {
                    letters.push(Addressed { letter, later: None });
                    tags.push(delivery_tag);
                }
                Err(error) => tracing::warn!(%error, %queue, "what is due cannot be brought"),
            }
        }
        let answers = self.deliver(queue, &letters).await?;
        let gone = tags.iter().zip(answers).filter(|(_, answer)| answer.is_ok());
        let gone: Vec<DeliveryTag> = gone.map(|(tag, _)| *tag).collect();
        for tag in &gone {
            let ack = channel.basic_ack(*tag, BasicAckOptions::default());
            ack.await.map_err(|error| Trouble::from(error).about(queue))?;
        }
        Ok(gone.len() == all)
    }
}
