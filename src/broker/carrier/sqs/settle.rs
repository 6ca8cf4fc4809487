//! Settling: deleting, and moving deadlines.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry as Change, DeleteMessageBatchRequestEntry as Delete,
};
use tokio::time::Instant;

use super::super::{CarrierError, Each, Failed, Handle};
use super::SqsCarrier;
use super::batches::{Answer, by_count, each, id_of};
use super::faults::{Trouble, patiently, unbuilt};
use super::hands::Standing;
use super::settings::{IN_HANDS_MOST, seconds_i32};
use crate::domain::QueueName;

impl SqsCarrier {
    /// Deletes by receipts; what is over, as far as this process knows, is not asked for.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn delete(
        &self,
        queue: &QueueName,
        handles: &[Handle],
    ) -> Result<Vec<Each>, CarrierError> {
        let url = self.queues.url(queue).await?;
        let judged = self.judged(handles.iter().map(|handle| (handle, Duration::ZERO)));
        let url = &*url;
        let ask = |places| self.delete_once(url, places, handles);
        let answers = self.settled(queue, judged, ask).await?;
        self.end(handles, &answers);
        Ok(answers)
    }

    async fn delete_once(
        &self,
        url: &str,
        places: Vec<usize>,
        handles: &[Handle],
    ) -> Result<Answer, Trouble> {
        let entries = places.into_iter().map(|place| {
            Delete::builder().id(id_of(place)).receipt_handle(&handles[place].0).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(unbuilt)?;
        let answer = patiently(&self.limits, || {
            let ask = self.client.delete_message_batch().queue_url(url);
            ask.set_entries(Some(entries.clone())).send()
        });
        let answer = answer.await?;
        let done = answer.successful.into_iter().map(|entry| entry.id).collect();
        Ok(Answer { done, failed: answer.failed })
    }

    /// Gives deliveries another time to end, from now.
    ///
    /// # Errors
    /// [`CarrierError`].
    async fn change(
        &self,
        queue: &QueueName,
        handles: &[Handle],
        lasting: &[Duration],
    ) -> Result<Vec<Each>, CarrierError> {
        let url = self.queues.url(queue).await?;
        let judged = self.judged(handles.iter().zip(lasting.iter().copied()));
        let url = &*url;
        self.settled(queue, judged, |places| self.change_once(url, places, handles, lasting)).await
    }

    async fn change_once(
        &self,
        url: &str,
        places: Vec<usize>,
        handles: &[Handle],
        lasting: &[Duration],
    ) -> Result<Answer, Trouble> {
        let entries = places.into_iter().map(|place| {
            let change = Change::builder().id(id_of(place)).receipt_handle(&handles[place].0);
            change.visibility_timeout(seconds_i32(lasting[place])).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(unbuilt)?;
        let answer = patiently(&self.limits, || {
            let ask = self.client.change_message_visibility_batch().queue_url(url);
            ask.set_entries(Some(entries.clone())).send()
        });
        let answer = answer.await?;
        let done = answer.successful.into_iter().map(|entry| entry.id).collect();
        Ok(Answer { done, failed: answer.failed })
    }

    /// Gives deliveries back, each after its delay.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn give_back(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, Duration)>,
    ) -> Result<Vec<Each>, CarrierError> {
        let (handles, delays): (Vec<_>, Vec<_>) = handles.into_iter().unzip();
        let answers = self.change(queue, &handles, &delays).await?;
        self.end(&handles, &answers);
        Ok(answers)
    }

    /// Gives deliveries `lasting` from now.
    ///
    /// # Errors
    /// [`CarrierError`].
    pub(super) async fn lengthen(
        &self,
        queue: &QueueName,
        handles: &[Handle],
        lasting: Duration,
    ) -> Result<Vec<Each>, CarrierError> {
        // From before it was asked for: what this process believes ends no later than it does.
        let until =
            Instant::now() + Duration::from_secs(seconds_i32(lasting).unsigned_abs().into());
        let answers = self.change(queue, handles, &vec![lasting; handles.len()]).await?;
        for (handle, _) in handles.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()) {
            self.hands.extended(&handle.0, until);
        }
        Ok(answers)
    }

    /// What can be answered without asking: what is over, named twice, or refused for its time.
    fn judged<'a>(
        &self,
        handles: impl Iterator<Item = (&'a Handle, Duration)>,
    ) -> Vec<Option<Failed>> {
        let (now, mut seen) = (Instant::now(), HashSet::new());
        let judge = |(handle, time): (&'a Handle, Duration)| {
            if !seen.insert(handle) || self.hands.standing(&handle.0, now) == Standing::Over {
                return Some(Failed::Over);
            }
            let why = "SQS holds a parcel back for 12 hours at most";
            (time > IN_HANDS_MOST).then(|| Failed::Refused(why.to_owned()))
        };
        handles.map(judge).collect()
    }

    /// Asks for those that nothing is known against.
    async fn settled<A>(
        &self,
        queue: &QueueName,
        judged: Vec<Option<Failed>>,
        ask: impl Fn(Vec<usize>) -> A + Sync,
    ) -> Result<Vec<Each>, CarrierError>
    where
        A: Future<Output = Result<Answer, Trouble>> + Send,
    {
        let open = judged.iter().enumerate().filter(|(_, judged)| judged.is_none());
        let batches = by_count(open.map(|(place, _)| place));
        let answers = each(&self.limits, queue, judged.len(), batches, ask).await;
        let answers = self.queues.heeded(queue, answers)?;
        let both = judged.into_iter().zip(answers);
        Ok(both.map(|(judged, answer)| judged.map_or(answer, Err)).collect())
    }

    /// What was settled is over.
    fn end(&self, handles: &[Handle], answers: &[Each]) {
        for (handle, _) in handles.iter().zip(answers).filter(|(_, answer)| answer.is_ok()) {
            self.hands.ended(&handle.0);
        }
    }
}
