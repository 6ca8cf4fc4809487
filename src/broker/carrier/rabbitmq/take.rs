//! A take: a consumer for as long as it takes.
//!
//! `basic.get` waits for nothing and costs a quorum queue as much as a consumer; a consumer that
//! stays is sent the next message for each one settled, whether anybody asked or not. So each take
//! has a consumer of its own whose prefetch is exactly what was asked for. It is cancelled when less
//! has come, and what came keeps a consumer that is sent no more (see `settle`). Nothing is left over:
//! what the server has sent before it answers the cancelling is part of the take, what comes to it
//! later it returns to the queue by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::types::FieldTable;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Shared;
use super::lane::{End, Held, Lane};
use super::letter;
use super::link::within;
use super::trouble::{Pauses, Trouble};
use crate::broker::carrier::{CarrierError, Taken};
use crate::domain::QueueName;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    most: u16,
    /// When to stop waiting for the first.
    until: Instant,
    /// How long it may be held.
    deadline: Duration,
}

type Answer = Result<Vec<Taken>, Trouble>;

impl Shared {
    /// See [`Carrier::take`](crate::broker::carrier::Carrier::take).
    pub(super) async fn take(
        self: &Arc<Self>,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, CarrierError> {
        let most = u16::try_from(max).unwrap_or(u16::MAX);
        if most == 0 {
            return Ok(Vec::new());
        }
        let until = Instant::now() + wait.max(self.limits.look);
        let slot = timeout_at(until, Arc::clone(&self.takes).acquire_owned()).await;
        // All are taken for as long as the caller waits, or, which never is, closed.
        let Ok(Ok(slot)) = slot else { return Ok(Vec::new()) };
        let mut slot = Some(slot);
        let mut pauses = Pauses::new(&self.limits, self.limits.patience);
        let deadline =
            self.known.get(queue).map_or(self.limits.ack_deadline, |known| known.ack_deadline);
        loop {
            let wanted = Wanted { most, until, deadline };
            match self.attempt(queue, wanted, &mut slot).await {
                Ok(taken) => {
                    let taken = self.give_up_spent(queue, taken).await?;
                    if !taken.is_empty() || until <= Instant::now() {
                        return Ok(taken);
                    }
                }
                Err(trouble) if trouble.passes() => {
                    tracing::debug!(%trouble, %queue, "took nothing, and tries again");
                    if !pauses.pause().await {
                        return Err(trouble.about(queue));
                    }
                }
                Err(trouble) => {
                    let error = trouble.about(queue);
                    if matches!(error, CarrierError::NoQueue(_)) {
                        // What was in hands went with it, and what keeps that must not meet another
                        // queue of the same name.
                        self.lanes.forget(queue);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// One consumer, in a task of its own, which ends in order even if the caller goes away.
    async fn attempt(
        self: &Arc<Self>,
        queue: &QueueName,
        wanted: Wanted,
        slot: &mut Option<OwnedSemaphorePermit>,
    ) -> Answer {
        let (answer, answered) = oneshot::channel();
        let (shared, queue, own) = (Arc::clone(self), queue.clone(), slot.take());
        let task = tokio::spawn(async move {
            match shared.lanes.get(&queue).await {
                Ok(lane) => {
                    shared.warden.look_at(lane.old_at(shared.limits.channel_age));
                    shared.consume(lane, wanted, answer).await;
                }
                // Whoever is gone needs no answer.
                Err(trouble) => drop(answer.send(Err(trouble))),
            }
            own
        });
        let answer = answered.await;
        match answer {
            // The task goes on to tidy up, with the slot.
            Ok(Ok(taken)) if !taken.is_empty() => Ok(taken),
            Ok(answer) => {
                *slot = task.await.ok().flatten();
                answer
            }
            // It ends without an answer only with its runtime.
            Err(_) => Err(Trouble::Silent(self.limits.answer_wait)),
        }
    }

    async fn consume(&self, lane: Arc<Lane>, wanted: Wanted, mut answer: oneshot::Sender<Answer>) {
        let (take, mut brought) = (lane.next_take(), Vec::new());
        let listened = self.listen(&lane, take, wanted, &mut answer, &mut brought).await;
        let mut consumer = match listened {
            Ok(consumer) => consumer,
            Err(trouble) => {
                self.lanes.discard(&lane);
                drop(answer.send(Err(trouble)));
                return;
            }
        };
        let hold = |brought: Vec<Delivery>| -> Vec<Taken> {
            brought.into_iter().map(|delivery| self.hold(&lane, take, delivery, wanted)).collect()
        };
        let (given, ended) = if brought.len() >= usize::from(wanted.most) {
            // Nothing more can come.
            let taken = hold(brought);
            lane.let_keep(take, consumer);
            (answer.send(Ok(taken)), Ok(()))
        } else {
            let mut ended = within(self.limits.answer_wait, lane.unsubscribe(take)).await;
            if ended.is_ok() {
                while let Some(Ok(delivery)) = consumer.next().await {
                    brought.push(delivery);
                }
            }
            drop(consumer);
            // Whoever settles waits until the keeper is there.
            let _one = lane.settling.lock().await;
            let taken = hold(brought);
            let keeper = (!taken.is_empty()).then(|| lane.keeper(take, taken.len()));
            if keeper.is_none() {
                lane.hands().covered(take);
            }
            let given = answer.send(Ok(taken));
            if let Some(keeper) = keeper {
                match within(self.limits.answer_wait, keeper).await {
                    Ok(keeper) => lane.let_keep(take, keeper),
                    Err(trouble) => ended = Err(trouble),
                }
            }
            (given, ended)
        };
        if let Err(trouble) = &ended {
            tracing::debug!(%trouble, queue = %lane.queue, "a consumer did not end in order");
        }
        if let Err(unwanted) = given {
            self.give_back(&lane, unwanted).await;
        }
        if ended.is_ok() { self.lanes.put(lane) } else { self.lanes.discard(&lane) }
    }

    /// Waits for the first, and for what was sent with it; or until the caller goes away.
    async fn listen(
        &self,
        lane: &Lane,
        take: u64,
        wanted: Wanted,
        answer: &mut oneshot::Sender<Answer>,
        brought: &mut Vec<Delivery>,
    ) -> Result<Consumer, Trouble> {
        let begun = lane.subscribe(take, wanted.most, FieldTable::default());
        let mut consumer = within(self.limits.answer_wait, begun).await?;
        // Time was spent on the way here; whoever does not wait looks all the same.
        let until = wanted.until.max(Instant::now() + self.limits.look);
        let first = tokio::select! {
            biased;
            next = consumer.next() => Some(next),
            () = answer.closed() => None,
            () = sleep_until(until) => None,
        };
        let mut next = first;
        while let Some(came) = next {
            match came {
                Some(Ok(delivery)) => brought.push(delivery),
                Some(Err(error)) => return Err(error.into()),
                // The queue was removed under it.
                None => return Err(Trouble::Missing),
            }
            if brought.len() >= usize::from(wanted.most) {
                break;
            }
            next = timeout(self.limits.gather, consumer.next()).await.ok();
        }
        Ok(consumer)
    }

    fn hold(&self, lane: &Lane, take: u64, delivery: Delivery, wanted: Wanted) -> Taken {
        let Delivery { delivery_tag: tag, properties, data, .. } = delivery;
        let body = Bytes::from(data);
        let attempt = letter::attempt(&properties);
        let taken = Taken {
            id: letter::id(&properties),
            data: body.clone(),
            attributes: letter::attributes(&properties),
            attempt,
            handle: self.lanes.handle(lane, tag),
        };
        let until = Instant::now() + wanted.deadline;
        lane.hold(take, tag, Held { until, attempt, body, properties, also: Vec::new() });
        self.warden.look_at(until);
        taken
    }

    /// The caller went away.
    async fn give_back(&self, lane: &Arc<Lane>, unwanted: Answer) {
        let found = unwanted.unwrap_or_default().into_iter();
        let found = found.map(|taken| self.lanes.find(&lane.queue, &taken.handle));
        let found = found.filter_map(|found| found.ok().flatten());
        let claims: Vec<_> = found.filter_map(|(lane, tag)| lane.claim(tag)).collect();
        if claims.is_empty() {
            return;
        }
        if let Err(trouble) = lane.settle(claims, End::Requeue).await {
            tracing::debug!(%trouble, queue = %lane.queue, "given back by closing the channel");
            self.lanes.discard(lane);
        }
    }

    /// Moves what has been delivered too often to the dead, where the server does not: in a queue
    /// with a retention, and after a delay, for the server counts one life only.
    async fn give_up_spent(
        &self,
        queue: &QueueName,
        taken: Vec<Taken>,
    ) -> Result<Vec<Taken>, CarrierError> {
        let most = self.known.get(queue).filter(|known| known.dead.is_some());
        let Some(most) = most.and_then(|known| known.deliveries) else { return Ok(taken) };
        let (left, spent): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|taken| taken.attempt <= most);
        if !spent.is_empty() {
            let why = format!("it was delivered {most} times and never settled");
            let spent = spent.into_iter().map(|taken| (taken.handle, why.clone())).collect();
            // What does not go through comes again, and is given up then.
            if let Err(error) = self.dead(queue, spent).await {
                tracing::warn!(%error, %queue, "what is spent was not moved to the dead");
            }
        }
        Ok(left)
    }
}
