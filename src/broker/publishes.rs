//! Publishes of messages that are no rows, joined: those to the same topic become one batch, so that
//! a thousand publishers of one message do not write a thousand batches.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::fanout::route;
use super::join::Joined;
use super::published::MessageBody;
use super::routing::Routing;
use crate::domain::QueueName;
use crate::store::StoreError;
use crate::store::control::Route;
use crate::store::log::{
    BLOCK, LogError, NewBatch, NewMessage, NewSegment, Publication, QueueId, Taken, TopicId,
};

/// Bytes of data in one step at most, unless a single call has more.
const STEP_BYTES: usize = 8 << 20;

/// One call of publish.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) topic: TopicId,
    pub(super) messages: Vec<MessageBody>,
    /// Its name, and the hash of what it asks.
    pub(super) once: Option<(String, String)>,
}

/// A copy of a message: its queue and its number there.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Placed {
    pub(super) queue: i32,
    pub(super) name: String,
    pub(super) message: i64,
    delay_ms: u64,
    retention_ms: Option<u64>,
}

impl Placed {
    /// The copy that a queue takes by this segment.
    pub(super) fn new(segment: &NewSegment, queue: &str, message: i64) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            queue: segment.queue.0,
            name: queue.to_owned(),
            message,
            delay_ms: millis(segment.delay),
            retention_ms: segment.retention.map(millis),
        }
    }

    pub(super) fn queue(&self) -> QueueId {
        QueueId(self.queue)
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    pub(super) fn retention(&self) -> Option<Duration> {
        self.retention_ms.map(Duration::from_millis)
    }
}

/// Why a publish was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum NotPublished {
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("the topic was deleted")]
    NoTopic,
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

/// Publishes messages.
#[derive(Debug)]
pub(super) struct Publishes {
    pub(super) routing: Arc<Routing>,
    /// How often routes are read anew for one step.
    pub(super) reroutes: u32,
    /// Called after each that was made.
    pub(super) made: super::wake::Bell,
}

impl Joined for Publishes {
    type Ask = Publish;
    /// Of each message, its copies.
    type Answer = Result<Vec<Vec<Placed>>, NotPublished>;

    fn fits(&self, group: &[Publish], next: &Publish) -> bool {
        let room = usize::try_from(BLOCK).unwrap_or(1);
        let taken: usize = group.iter().map(|publish| publish.messages.len()).sum();
        let bytes = |publish: &Publish| -> usize {
            publish.messages.iter().map(|message| message.data.len()).sum()
        };
        next.once.is_none()
            && group.iter().map(bytes).sum::<usize>() + bytes(next) <= STEP_BYTES
            && group.iter().all(|publish| publish.topic == next.topic && publish.once.is_none())
            && taken + next.messages.len() <= room
    }

    async fn step(&self, group: Vec<Publish>) -> Vec<Self::Answer> {
        match self.publish(&group).await {
            Ok(copies) => {
                let mut copies = copies.into_iter();
                let sizes = group.iter().map(|publish| publish.messages.len());
                sizes.map(|size| Ok(copies.by_ref().take(size).collect())).collect()
            }
            Err(error) => group.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

impl Publishes {
    async fn publish(&self, group: &[Publish]) -> Result<Vec<Vec<Placed>>, NotPublished> {
        let Some(first) = group.first() else { return Ok(vec![]) };
        let bodies: Vec<&MessageBody> =
            group.iter().flat_map(|publish| &publish.messages).collect();
        let place = self.routing.reserve_whole(bodies.len()).await.map_err(failed)?;
        let mut messages = Vec::with_capacity(bodies.len());
        for body in &bodies {
            messages.push(NewMessage {
                row: None,
                data: Bytes::clone(&body.data),
                attributes: attributes_json(body)?,
            });
        }
        for reroute in 0..=self.reroutes {
            let routes = self.routing.routes(first.topic, reroute > 0).await.map_err(Arc::new)?;
            if routes.deleted {
                return Err(NotPublished::NoTopic);
            }
            let routed = route(&routes, bodies.len(), |at, name| {
                bodies.get(at)?.attributes.get(name).map(|value| Cow::Borrowed(value.as_str()))
            });
            let copies = copies(&routes.queues, &routed.segments, place.first_id, bodies.len());
            let once = match &first.once {
                Some((key, fingerprint)) => Some(Publication {
                    key: key.clone(),
                    fingerprint: fingerprint.clone(),
                    answer: serde_json::to_string(&copies).map_err(damaged)?,
                }),
                None => None,
            };
            // What nobody takes is not kept; that it is so is checked all the same.
            let messages = if routed.segments.is_empty() { vec![] } else { messages.clone() };
            let batch = NewBatch {
                topic: first.topic,
                routes_version: routes.version,
                first_id: place.first_id,
                messages,
                rows: None,
                segments: routed.segments,
                unrouted: routed.unrouted,
                once,
            };
            match self.routing.store.log.publish(&batch).await {
                Ok(()) => {
                    self.made.ring();
                    return Ok(copies);
                }
                Err(LogError::RoutesChanged) => {}
                Err(LogError::PublishedBefore(before)) => return same_answer(&first.once, &before),
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(LogError::RoutesChanged))
    }
}

/// What the same publish was answered before.
pub(super) fn same_answer(
    once: &Option<(String, String)>,
    before: &Publication,
) -> Result<Vec<Vec<Placed>>, NotPublished> {
    match once {
        Some((_, fingerprint)) if *fingerprint == before.fingerprint => {
            serde_json::from_str(&before.answer).map_err(damaged)
        }
        _ => Err(NotPublished::KeyReused),
    }
}

/// Where the copies of each of `n` messages are.
fn copies(queues: &[Route], segments: &[NewSegment], first_id: i64, n: usize) -> Vec<Vec<Placed>> {
    let mut copies = vec![vec![]; n];
    for segment in segments {
        let name = queues.iter().find(|queue| queue.queue == segment.queue);
        let name = name.map_or("", |queue| QueueName::as_str(&queue.name));
        let mut place = |offset: usize| {
            let message = first_id + i64::try_from(offset).unwrap_or(0);
            if let Some(copies) = copies.get_mut(offset) {
                copies.push(Placed::new(segment, name, message));
            }
        };
        match &segment.taken {
            Taken::All => (0..n).for_each(&mut place),
            Taken::Offsets(offsets) => {
                offsets.iter().for_each(|at| place(usize::try_from(*at).unwrap_or(usize::MAX)));
            }
        }
    }
    copies
}

fn attributes_json(body: &MessageBody) -> Result<Option<Box<str>>, NotPublished> {
    if body.attributes.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_string(&body.attributes).map_err(damaged)?;
    Ok(Some(json.into()))
}

fn failed(error: LogError) -> NotPublished {
    NotPublished::Store(Arc::new(error.into()))
}

fn damaged(error: serde_json::Error) -> NotPublished {
    NotPublished::Store(Arc::new(StoreError::Damaged(error.to_string())))
}
