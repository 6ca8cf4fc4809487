//! What the engine has no one step for: death with a reason, redrive, purge.
//!
//! A parcel is sent to its new place first and deleted from its old one after: for a moment it is in
//! both, never in neither. `PurgeQueue` is not used: it takes what is in hands too, and works once a
//! minute. A purge receives and deletes what waits; what waits for its time is not seen by it.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_sqs::types::Message;
use tokio::time::Instant;

use super::super::{CarrierError, Each, Failed, Handle};
use super::SqsCarrier;
use super::batches::BATCH;
use super::hands::Standing;
use super::letter::{Contents, Letter};
use super::take::Look;
use crate::domain::QueueName;

/// A long poll looks at all of the engine's machines, a short one at some: before a queue is believed to be
/// empty, this long one is made.
const LAST_LOOK: Duration = Duration::from_secs(1);

impl SqsCarrier {
    /// Moves parcels to the dead queue.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn bury(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, String)>,
    ) -> Result<Vec<Each>, CarrierError> {
        let dead = self.queues.dead(queue).await?;
        let mut answers: Vec<Each> = Vec::with_capacity(handles.len());
        let (mut letters, mut places) = (Vec::new(), Vec::new());
        let (now, mut seen) = (Instant::now(), HashSet::new());
        for (place, (handle, reason)) in handles.iter().enumerate() {
            // One that is named twice dies once.
            let standing = match seen.insert(handle) {
                true => self.hands.standing(&handle.0, now),
                false => Standing::Over,
            };
            let contents = self.hands.contents(&handle.0).filter(|_| standing == Standing::Held);
            answers.push(match contents {
                Some(contents) => {
                    letters.push(self.obituary(&contents, reason));
                    places.push(place);
                    Ok(())
                }
                None if standing == Standing::Over => Err(Failed::Over),
                None => Err(Failed::Refused(
                    "SQS reads nothing by its receipt: only the process that took a parcel can \
                     move it to the dead queue"
                        .to_owned(),
                )),
            });
        }
        let sent = self.send_letters(&dead.name, &dead.url, letters).await;
        let sent = sent.inspect_err(|_| self.queues.forget(queue))?;
        let (mut gone, mut gone_places) = (Vec::new(), Vec::new());
        for (place, sent) in places.into_iter().zip(sent) {
            match sent {
                Ok(()) => {
                    gone.push(handles[place].0.clone());
                    gone_places.push(place);
                }
                Err(failed) => answers[place] = Err(failed),
            }
        }
        for (place, deleted) in gone_places.into_iter().zip(self.delete(queue, &gone).await?) {
            answers[place] = deleted;
        }
        Ok(answers)
    }

    fn obituary(&self, contents: &Contents, reason: &str) -> Result<Letter, String> {
        Letter::dead(contents, reason, self.limits.reason_bytes, self.limits.message_bytes)
    }

    /// Moves up to `most` waiting parcels to another queue.
    ///
    /// # Errors
    /// [`CarrierError`]; what was moved before stays so.
    pub(super) async fn move_waiting(
        &self,
        from: &QueueName,
        to: &QueueName,
        most: usize,
    ) -> Result<u64, CarrierError> {
        let (url, new_url) = (self.queues.url(from).await?, self.queues.url(to).await?);
        if from == to {
            return Ok(0);
        }
        let mut moved = 0;
        while moved < most {
            let messages = self.next_waiting(from, &url, most - moved).await?;
            let (mut handles, mut letters) = (Vec::new(), Vec::new());
            for mut message in messages {
                if let Some(handle) = message.receipt_handle.take() {
                    handles.push(Handle(handle));
                    letters.push(Letter::reborn(Contents::of(&mut message)));
                }
            }
            let sent = match self.send_letters(to, &new_url, letters).await {
                Ok(sent) => sent,
                Err(error) => {
                    self.put_back(from, handles).await;
                    return Err(error);
                }
            };
            let both = handles.into_iter().zip(sent);
            let (gone, stay): (Vec<_>, Vec<_>) = both.partition(|(_, sent)| sent.is_ok());
            let handles_of = |some: Vec<(Handle, Each)>| some.into_iter().map(|(handle, _)| handle);
            let gone: Vec<_> = handles_of(gone).collect();
            self.put_back(from, handles_of(stay).collect()).await;
            if gone.is_empty() {
                break;
            }
            self.delete(from, &gone).await?;
            moved += gone.len();
        }
        Ok(moved as u64)
    }

    /// What could not be moved waits again at once; where that fails too, after a while.
    async fn put_back(&self, queue: &QueueName, handles: Vec<Handle>) {
        if handles.is_empty() {
            return;
        }
        let back = handles.into_iter().map(|handle| (handle, Duration::ZERO)).collect();
        if let Err(error) = self.give_back(queue, back).await {
            tracing::debug!(%queue, %error, "what was to be moved comes again later");
        }
    }

    /// Removes what waits.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn drain(&self, queue: &QueueName) -> Result<u64, CarrierError> {
        let url = self.queues.url(queue).await?;
        let mut removed = 0;
        // As much as waits when it begins, then what came meanwhile: somebody who never stops
        // sending is no reason never to end.
        for _ in 0..self.limits.purge_rounds.max(1) {
            let waiting =
                usize::try_from(self.depth_of(queue).await?.waiting).unwrap_or(usize::MAX);
            let mut left = waiting.max(BATCH);
            while left > 0 {
                let messages = self.next_waiting(queue, &url, left).await?;
                if messages.is_empty() {
                    return Ok(removed);
                }
                left = left.saturating_sub(messages.len());
                let handles = messages.into_iter().filter_map(|message| message.receipt_handle);
                let handles: Vec<_> = handles.map(Handle).collect();
                let answers = self.delete(queue, &handles).await?;
                removed += answers.iter().filter(|answer| answer.is_ok()).count() as u64;
            }
        }
        Ok(removed)
    }

    /// Up to `most` waiting messages, as many as are asked for at once; none only if there is none.
    async fn next_waiting(
        &self,
        queue: &QueueName,
        url: &str,
        most: usize,
    ) -> Result<Vec<Message>, CarrierError> {
        let look = Look { url, hold: self.limits.moving };
        let at_once = BATCH * self.limits.requests_at_once.max(1);
        let found = async {
            let found = self.look_for(look, most.min(at_once)).await?;
            if !found.is_empty() {
                return Ok(found);
            }
            self.ask_for(look, most, LAST_LOOK).await
        };
        self.queues.told(queue, found.await)
    }
}
