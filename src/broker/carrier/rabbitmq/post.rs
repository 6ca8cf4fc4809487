//! Letters to the server, each confirmed.
//!
//! One send has a channel to itself for as long as it takes: what is returned on it is its own. The
//! client hands a returned message out with whichever confirmation comes next, so what was returned
//! is told by its address and its id.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use lapin::{Channel, Confirmation};
use tokio::sync::Semaphore;

use super::RabbitLimits;
use super::letter::{Letter, id};
use super::link::{Link, within};
use super::trouble::Trouble;

/// What became of a letter.
#[derive(Debug)]
pub(super) enum Posted {
    /// The server keeps it durably.
    Kept,
    /// No such queue.
    Returned,
    /// The queue is full, or the server could not keep it this time.
    TurnedDown,
    /// Unknown: the server went away, or took too long.
    Unknown(Trouble),
    /// Unknown: the server refused one of those that were sent together. Of one sent alone: that one.
    Refused(Trouble),
}

/// The connection that letters leave by. Takes have another: a server short of memory stops reading
/// from those who publish, and acks must still come through.
#[derive(Debug)]
pub(super) struct Outward {
    pub(super) link: Link,
    limits: RabbitLimits,
    slots: Semaphore,
    idle: Mutex<Vec<Channel>>,
}

impl Outward {
    pub(super) fn new(addresses: &[AMQPUri], limits: &RabbitLimits) -> Self {
        Self {
            link: Link::new(addresses, "rowmill out", limits),
            limits: limits.clone(),
            slots: Semaphore::new(limits.sends.max(1)),
            idle: Mutex::default(),
        }
    }

    /// Sends letters, one attempt, and answers of each, in order.
    ///
    /// Cancellation safety: dropped half-way, letters are sent or not.
    ///
    /// # Errors
    /// [`Trouble`]: none was sent.
    pub(super) async fn post(&self, letters: &[&Letter]) -> Result<Vec<Posted>, Trouble> {
        // The semaphore is never closed; without a slot a send is merely not counted.
        let _slot = self.slots.acquire().await.ok();
        let channel = self.channel().await?;
        let mut posted = Vec::with_capacity(letters.len());
        while posted.len() < letters.len() {
            let rest = &letters[posted.len()..];
            let window = &rest[..self.window(rest)];
            let (answers, sound) = self.post_window(&channel, window).await;
            posted.extend(answers);
            if !sound {
                // Dropped, the channel is closed.
                let lost = || {
                    Trouble::from(lapin::Error::from(lapin::ErrorKind::InvalidChannelState(
                        lapin::ChannelState::Closed,
                        "the channel was closed while letters were sent",
                    )))
                };
                posted.resize_with(letters.len(), || Posted::Unknown(lost()));
                return Ok(posted);
            }
        }
        self.idle().push(channel);
        Ok(posted)
    }

    /// How many of these go together.
    fn window(&self, letters: &[&Letter]) -> usize {
        let mut bytes = 0;
        let fits = |letter: &&&Letter| {
            bytes += letter.bytes();
            bytes <= self.limits.window_bytes
        };
        letters.iter().take(self.limits.window).take_while(fits).count().max(1)
    }

    /// Whether the channel is sound after it is told, too.
    async fn post_window(&self, channel: &Channel, letters: &[&Letter]) -> (Vec<Posted>, bool) {
        let publish = |letter: &&Letter| {
            let letter: Letter = (*letter).clone();
            async move {
                let options = BasicPublishOptions { mandatory: true, ..Default::default() };
                let Letter { key, body, properties } = letter;
                let exchange = ShortString::default();
                channel.basic_publish(exchange, key, options, &body, properties).await
            }
        };
        // All are on their way before the first is waited for.
        let exchange = async {
            let sent = join_all(letters.iter().map(publish)).await;
            Ok(join_all(sent.into_iter().map(async |sent| sent?.await)).await)
        };
        let answers = match within(self.limits.answer_wait, exchange).await {
            Ok(answers) => answers,
            Err(silent) => {
                return (letters.iter().map(|_| Posted::Unknown(silent.clone())).collect(), false);
            }
        };
        let mut sound = true;
        let mut returned: HashMap<(ShortString, Option<String>), usize> = HashMap::new();
        let mut posted: Vec<Posted> = Vec::with_capacity(letters.len());
        for answer in answers {
            posted.push(match answer {
                Ok(confirmation) => {
                    let kept = confirmation.is_ack();
                    if matches!(confirmation, Confirmation::NotRequested) {
                        sound = false;
                    }
                    if let Some(message) = confirmation.take_message() {
                        let id = id(&message.delivery.properties);
                        let key = message.delivery.routing_key.clone();
                        *returned.entry((key, id)).or_default() += 1;
                    }
                    if kept { Posted::Kept } else { Posted::TurnedDown }
                }
                Err(error) => {
                    sound = false;
                    match Trouble::from(error) {
                        trouble if trouble.passes() => Posted::Unknown(trouble),
                        trouble => Posted::Refused(trouble),
                    }
                }
            });
        }
        if !returned.is_empty() {
            for (posted, letter) in posted.iter_mut().zip(letters) {
                let known = (letter.key.clone(), id(&letter.properties));
                if let Some(left) = returned.get_mut(&known).filter(|left| **left > 0) {
                    *left -= 1;
                    *posted = Posted::Returned;
                }
            }
        }
        (posted, sound)
    }

    async fn channel(&self) -> Result<Channel, Trouble> {
        loop {
            let Some(channel) = self.idle().pop() else { break };
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let (channel, _) = self.link.channel().await?;
        let select = channel.confirm_select(ConfirmSelectOptions::default());
        within(self.limits.answer_wait, select).await?;
        Ok(channel)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
