//! Taking: one long poll for the first, then as many short ones at once as are still wanted.
//!
//! A request brings up to ten, and none is made that could bring more than the caller asked for. Only
//! the first waits, because a long poll that is under way cannot be called back: what it brings
//! after its caller has gone would be out of sight until its deadline. Where the last take of a queue
//! came back full, all are asked for at once from the start.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName as Name};
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::super::{CarrierError, Handle, Taken};
use super::SqsCarrier;
use super::batches::BATCH;
use super::client::times;
use super::faults::{Trouble, patiently};
use super::letter::Contents;
use super::queues::Terms;
use super::settings::seconds_i32;
use crate::domain::QueueName;

/// How messages are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) url: &'a str,
    /// How long what comes is out of others' sight.
    pub(super) hold: Duration,
}

impl SqsCarrier {
    pub(super) async fn take_up_to(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, CarrierError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let until = Instant::now() + wait;
        let terms = self.queues.terms(queue).await?;
        let look = Look { url: &terms.url, hold: terms.deadline };
        let messages = self.wait_for_messages(queue, look, max, until).await;
        let messages = self.queues.told(queue, messages)?;
        self.busy(queue, messages.len() == max);
        Ok(messages.into_iter().filter_map(|message| self.taken(message, &terms)).collect())
    }

    async fn wait_for_messages(
        &self,
        queue: &QueueName,
        look: Look<'_>,
        max: usize,
        until: Instant,
    ) -> Result<Vec<Message>, Trouble> {
        if max > BATCH && self.is_busy(queue) {
            let found = self.look_for(look, max).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let turn = left.min(self.limits.poll).as_secs();
            let mut found = self.ask_for(look, max.min(BATCH), Duration::from_secs(turn)).await?;
            if found.len() == BATCH && max > BATCH {
                // What came is the caller's, whatever becomes of the rest.
                found.extend(self.look_for(look, max - BATCH).await.unwrap_or_default());
            }
            let left = until.saturating_duration_since(Instant::now());
            if !found.is_empty() || left.is_zero() {
                return Ok(found);
            }
            if turn == 0 {
                sleep(left.min(self.limits.look)).await;
            }
        }
    }

    /// Up to `max` of what is there now, in several requests at once.
    ///
    /// # Errors
    /// [`Trouble`], if nothing came.
    pub(super) async fn look_for(
        &self,
        look: Look<'_>,
        max: usize,
    ) -> Result<Vec<Message>, Trouble> {
        let mut found = Vec::new();
        let mut trouble = None;
        let at_once = BATCH * self.limits.requests_at_once.max(1);
        for first in (0..max).step_by(at_once) {
            let turn = first..max.min(first + at_once);
            let asked = turn.clone().count();
            let asks = turn
                .clone()
                .step_by(BATCH)
                .map(|from| self.ask_for(look, BATCH.min(turn.end - from), Duration::ZERO));
            let before = found.len();
            for answer in join_all(asks).await {
                match answer {
                    Ok(messages) => found.extend(messages),
                    Err(why) => trouble = Some(why),
                }
            }
            // The engine has no more just now.
            if found.len() - before < asked {
                break;
            }
        }
        match trouble {
            Some(trouble) if found.is_empty() => Err(trouble),
            _ => Ok(found),
        }
    }

    /// Up to ten messages, in one request that waits for the first.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn ask_for(
        &self,
        look: Look<'_>,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Message>, Trouble> {
        let answer = patiently(&self.limits, || {
            self.client
                .receive_message()
                .queue_url(look.url)
                .max_number_of_messages(i32::try_from(max.min(BATCH)).unwrap_or(1))
                .wait_time_seconds(seconds_i32(wait))
                .visibility_timeout(seconds_i32(look.hold))
                .message_attribute_names("All")
                .message_system_attribute_names(Name::ApproximateReceiveCount)
                .customize()
                .config_override(Builder::new().timeout_config(times(&self.limits, wait)))
                .send()
        });
        Ok(answer.await?.messages.unwrap_or_default())
    }

    fn taken(&self, mut message: Message, terms: &Terms) -> Option<Taken> {
        let handle = message.receipt_handle.take()?;
        let attempt = message.attributes.as_ref();
        let attempt = attempt.and_then(|all| all.get(&Name::ApproximateReceiveCount));
        let attempt = attempt.and_then(|text| text.parse().ok()).unwrap_or(1);
        let contents = Arc::new(Contents::of(&mut message));
        let now = Instant::now();
        self.hands.took(&handle, now, now + terms.deadline, Arc::clone(&contents));
        Some(Taken {
            id: contents.id.clone(),
            data: contents.data.clone(),
            attributes: contents.attributes.clone(),
            attempt,
            handle: Handle(handle),
        })
    }
}
