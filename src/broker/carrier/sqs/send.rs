//! Sending: batches of up to ten, packed to the engine's limit, several at once.

use aws_sdk_sqs::types::SendMessageBatchRequestEntry as Entry;

use super::super::{CarrierError, Each, Failed, Parcel};
use super::SqsCarrier;
use super::batches::{Answer, by_size, each, id_of};
use super::faults::{Trouble, patiently, unbuilt};
use super::letter::Letter;
use super::settings::{DELAY_MOST, seconds_i32};
use crate::domain::QueueName;

/// What is kept free in a message for the reason of its death and for the words that its attributes
/// cost, in bytes.
pub(super) const RESERVE: usize = 1_024;

impl SqsCarrier {
    /// The largest parcel.
    pub(super) fn parcel_bytes(&self) -> usize {
        self.limits.message_bytes.saturating_sub(RESERVE)
    }

    /// Sends parcels.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn send_parcels(
        &self,
        queue: &QueueName,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<Each>, CarrierError> {
        let url = self.queues.url(queue).await?;
        let letters = parcels.into_iter().map(|parcel| self.letter(parcel)).collect();
        self.send_letters(queue, &url, letters).await
    }

    fn letter(&self, parcel: Parcel) -> Result<Letter, String> {
        if parcel.delay > DELAY_MOST {
            return Err("SQS delays a first delivery by 15 minutes at most".to_owned());
        }
        let delay = seconds_i32(parcel.delay);
        let letter = Letter::of(parcel, delay)?;
        let most = self.parcel_bytes();
        if letter.size > most {
            return Err(format!("it has {} bytes, and {most} are the most", letter.size));
        }
        Ok(letter)
    }

    /// Sends letters; those that could not even be written are refused.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn send_letters(
        &self,
        queue: &QueueName,
        url: &str,
        letters: Vec<Result<Letter, String>>,
    ) -> Result<Vec<Each>, CarrierError> {
        let letters = &letters;
        let written = letters.iter().enumerate();
        let sizes = written.filter_map(|(place, letter)| Some((place, letter.as_ref().ok()?.size)));
        let batches = by_size(sizes, self.limits.message_bytes);
        let ask = |places| self.send_once(url, places, letters);
        let answers = each(&self.limits, queue, letters.len(), batches, ask).await;
        let answers = self.queues.heeded(queue, answers)?;
        let both = letters.iter().zip(answers);
        Ok(both
            .map(|(letter, answer)| match letter {
                Ok(_) => answer,
                Err(why) => Err(Failed::Refused(why.clone())),
            })
            .collect())
    }

    async fn send_once(
        &self,
        url: &str,
        places: Vec<usize>,
        letters: &[Result<Letter, String>],
    ) -> Result<Answer, Trouble> {
        let mut entries = Vec::with_capacity(places.len());
        for place in places {
            let Ok(letter) = &letters[place] else { continue };
            let entry = Entry::builder().id(id_of(place)).message_body(&letter.body);
            let entry = entry.delay_seconds(letter.delay_seconds);
            let entry = entry.set_message_attributes(Some(letter.attributes.clone())).build();
            entries.push(entry.map_err(unbuilt)?);
        }
        let answer = patiently(&self.limits, || {
            let ask = self.client.send_message_batch().queue_url(url);
            ask.set_entries(Some(entries.clone())).send()
        });
        let answer = answer.await?;
        let done = answer.successful.into_iter().map(|entry| entry.id).collect();
        Ok(Answer { done, failed: answer.failed })
    }
}
