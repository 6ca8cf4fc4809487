//! Any carrier as rowmill's broker: messages travel in the carrier, and the database is the ledger of
//! topics, queues, uploads, coverage and outcomes.
//!
//! What must not be lost is in the ledger before the carrier is told: a row is covered when the
//! carrier has confirmed it, a message has ended when its end is recorded, and only then it is acked.
//! Whatever happens twice in a carrier, a row sent again after a crash or a message delivered again,
//! has one number (`domain::number`) and so one end. `docs/architecture.md` has the whole of it.

mod chores;
mod hands;
mod limits;
mod look;
mod moves;
mod parcels;
mod publish;
mod queues;
mod send;
mod settle;
mod take;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::carrier::{Carrier, CarrierError, Handle};
use super::contract::{Broker, Source};
use super::error::BrokerError;
use super::keeper::Chore;
use super::names::{Known, Names};
use super::published::{CopyOf, MessageBody, Once, Published, Publishing, RowBatch, Ticket};
use super::routing::Routing;
use crate::domain::{
    Lease, Message, MessageId, MessageKey, QueueName, QueueStats, Receipt, Settled, Settlement,
    TopicName,
};
use crate::store::control::{QueueRecord, QueueTerms, Routes, UploadState};
use crate::store::log::{Fence, LogError, QueueId, TopicId, UploadId};
use crate::store::{Store, StoreError};
use hands::Hands;
use queues::{Queues, told};

pub use limits::RelayLimits;

/// The broker on a carrier. Cheap to clone; clones share everything.
pub struct Relay<C>(Arc<Inner<C>>);

impl<C> Clone for Relay<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for Relay<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Relay(..)")
    }
}

struct Inner<C> {
    carrier: C,
    store: Store,
    key: MessageKey,
    limits: RelayLimits,
    queues: Queues,
    hands: Hands,
    names: Names,
    routing: Routing,
    routes: Known<TopicId, Arc<Routes>>,
}

impl From<CarrierError> for BrokerError {
    fn from(error: CarrierError) -> Self {
        match error {
            CarrierError::Unsupported { what, why } => {
                Self::Unsupported { what: what.to_owned(), why: why.to_owned() }
            }
            CarrierError::Full(queue) => Self::Full(queue),
            // It was there a moment ago, and is made again when it is needed.
            error @ (CarrierError::NoQueue(_) | CarrierError::Outage(_)) => {
                Self::Outage(Box::new(error))
            }
            error @ CarrierError::Failed(_) => Self::Store(Box::new(error)),
        }
    }
}

/// A receipt that this process did not make.
fn of_another() -> BrokerError {
    BrokerError::Unsupported {
        what: "settling or extending by a receipt of another process".into(),
        why: "the broker's own receipts are known to the process that took the messages".into(),
    }
}

/// A task of ours ends with the runtime, or when it panics.
fn died() -> BrokerError {
    BrokerError::Store("the step died".into())
}

impl<C: Carrier> Relay<C> {
    /// A broker on a carrier, with the ledger in a store whose tables are there.
    ///
    /// # Errors
    /// [`StoreError`], when the installation's secret cannot be read.
    pub async fn new(carrier: C, store: Store, limits: RelayLimits) -> Result<Self, StoreError> {
        let key = store.control.message_key().await?;
        Ok(Self(Arc::new(Inner {
            carrier,
            key,
            queues: Queues::new(store.clone()),
            hands: Hands::new(limits.in_hands, limits.late),
            names: Names::new(store.clone()),
            routing: Routing::new(store.clone()),
            routes: Known::default(),
            store,
            limits,
        })))
    }

    /// What a keeper has to do for it.
    pub fn chore(&self) -> Box<dyn Chore> {
        Box::new(chores::Drain::new(self.clone()))
    }
}

impl<C: Carrier> Inner<C> {
    /// The public id of a message in a queue.
    fn id_of(&self, queue: QueueId, number: i64) -> MessageId {
        self.key.id(queue.0.cast_unsigned(), number.cast_unsigned())
    }

    async fn queue(&self, name: &QueueName) -> Result<Arc<QueueRecord>, BrokerError> {
        self.queues.get(&self.carrier, name).await
    }

    /// A failure of the carrier on a queue; one that the carrier has lost is made anew next time.
    fn failed(&self, queue: &QueueName, error: CarrierError) -> BrokerError {
        if matches!(error, CarrierError::NoQueue(_)) {
            self.queues.lost(queue);
        }
        error.into()
    }

    async fn routes(&self, topic: TopicId, anew: bool) -> Result<Arc<Routes>, BrokerError> {
        if let Some(routes) = self.routes.get(&topic).filter(|_| !anew) {
            return Ok(routes);
        }
        let routes = Arc::new(self.store.control.routes(topic).await?);
        self.routes.put(topic, Arc::clone(&routes));
        Ok(routes)
    }

    /// The carrier was not told something that it will be told later. That an engine is away for a
    /// moment is no news; that it refuses is.
    fn unheard(&self, queue: &QueueName, error: CarrierError, what: &'static str) {
        match self.failed(queue, error) {
            error @ BrokerError::Outage(_) => tracing::debug!(%queue, %error, what),
            error => tracing::warn!(%queue, %error, what),
        }
    }

    /// Gives deliveries back that could not be dealt with. What fails comes at its deadline.
    async fn give_back(&self, queue: &QueueName, handles: Vec<Handle>) {
        if handles.is_empty() {
            return;
        }
        let handles = handles.into_iter().map(|handle| (handle, Duration::ZERO)).collect();
        if let Err(error) = self.carrier.release(queue, handles).await {
            self.unheard(queue, error, "messages come again at their deadline");
        }
    }

    /// Ends deliveries in the carrier whose ends are recorded. What fails is met again, and known.
    async fn ack(&self, queue: &QueueName, handles: Vec<Handle>) {
        if handles.is_empty() {
            return;
        }
        if let Err(error) = self.carrier.ack(queue, handles).await {
            self.unheard(queue, error, "acked messages come again, and are acked then");
        }
    }

    /// Moves what has died to the queue's dead queue, or out of the carrier when it has none.
    async fn bury(&self, queue: &QueueRecord, dead: Vec<(Handle, String)>) {
        if dead.is_empty() {
            return;
        }
        if queue.terms.dead_queue.is_none() {
            return self
                .ack(&queue.name, dead.into_iter().map(|(handle, _)| handle).collect())
                .await;
        }
        if let Err(error) = self.carrier.dead(&queue.name, dead).await {
            self.unheard(&queue.name, error, "dead messages come again, and are moved then");
        }
    }
}

impl<C: Carrier> Source for Relay<C> {
    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Lease>, BrokerError> {
        take::receive(&self.0, queue, max, wait).await
    }

    async fn settle(
        &self,
        settlements: Vec<(Receipt, Vec<Settlement>)>,
    ) -> Result<Vec<Settled>, BrokerError> {
        // A task of its own, so that it is done whole although its caller goes away.
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move { inner.settle(settlements).await }).await.map_err(|_| died())?
    }

    async fn extend(&self, receipts: Vec<Receipt>) -> Result<Vec<Option<Duration>>, BrokerError> {
        self.0.extend(receipts, None).await
    }
}

/// What was sent is in the carrier, which hands it out whatever becomes of its upload.
fn no_pause() -> BrokerError {
    BrokerError::Unsupported {
        what: "pausing an upload".into(),
        why:
            "what carries the messages knows queues, not uploads: stop the workers of its queues, \
              or cancel the upload"
                .into(),
    }
}

impl<C: Carrier> Broker for Relay<C> {
    fn holds(&self) -> bool {
        false
    }

    /// Rows have their numbers already: there is always room.
    async fn reserve(&self, most: usize) -> Result<Ticket, BrokerError> {
        Ok(Ticket { first_id: 0, room: most.clamp(1, publish::ROWS) })
    }

    async fn publish(&self, to: &Publishing, batch: RowBatch) -> Result<Published, BrokerError> {
        self.0.publish(to, &batch).await
    }

    async fn publish_messages(
        &self,
        topic: &TopicName,
        messages: Vec<MessageBody>,
        once: Option<Once>,
    ) -> Result<Vec<Vec<CopyOf>>, BrokerError> {
        self.0.publish_messages(topic, messages, once).await
    }

    async fn describe(&self, fence: Fence, sheets: &str) -> Result<(), BrokerError> {
        Ok(self.0.store.control.set_sheets(fence, sheets).await?)
    }

    async fn release(&self, fence: Fence, totals: &str) -> Result<(), BrokerError> {
        match self.0.store.log.release(fence, totals).await {
            Err(LogError::LeaseLost)
                if self
                    .0
                    .ended_by_us(fence, &[UploadState::Published, UploadState::Ended])
                    .await? =>
            {
                Ok(())
            }
            released => Ok(released?),
        }
    }

    async fn retry_dead(&self, _: UploadId) -> Result<u64, BrokerError> {
        Err(BrokerError::Unsupported {
            what: "retrying the dead of one upload".into(),
            why: "what carries the messages knows queues, not uploads: redrive the dead queue"
                .into(),
        })
    }

    async fn pause(&self, _: UploadId) -> Result<bool, BrokerError> {
        Err(no_pause())
    }

    async fn resume(&self, _: UploadId) -> Result<bool, BrokerError> {
        Err(no_pause())
    }

    /// What was sent already is cancelled when it is taken.
    async fn discard(&self, fence: Fence, problem: &str) -> Result<(), BrokerError> {
        match self.0.store.log.fail_streaming(fence, problem).await {
            Err(LogError::LeaseLost)
                if self.0.ended_by_us(fence, &[UploadState::Failed]).await? =>
            {
                Ok(())
            }
            failed => Ok(failed?),
        }
    }

    async fn extend_for(
        &self,
        receipts: Vec<Receipt>,
        lasting: Duration,
    ) -> Result<Vec<Option<Duration>>, BrokerError> {
        self.0.extend(receipts, Some(lasting)).await
    }

    async fn holder(&self, id: MessageId) -> Result<Option<(Receipt, u16)>, BrokerError> {
        let Some((queue, number)) = self.0.opened(id) else { return Ok(None) };
        Ok(self.0.hands.holder(queue, number))
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<Message>, BrokerError> {
        self.0.peek(queue, limit).await
    }

    async fn message(&self, id: MessageId) -> Result<Option<Message>, BrokerError> {
        if self.0.opened(id).is_none() {
            return Ok(None);
        }
        Err(BrokerError::Unsupported {
            what: "looking a message up by its id alone".into(),
            why:
                "messages travel in a broker that finds none by its id, and this process does not \
                  have it in hands"
                    .into(),
        })
    }

    async fn stats(&self, queue: &QueueName) -> Result<QueueStats, BrokerError> {
        self.0.stats(queue).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64, BrokerError> {
        self.0.purge(queue).await
    }

    async fn redrive(&self, from: &QueueName, to: &QueueName) -> Result<u64, BrokerError> {
        self.0.redrive(from, to).await
    }

    async fn number_of(&self, queue: &QueueName) -> Result<QueueId, BrokerError> {
        Ok(self.0.names.queue(queue).await?.id)
    }

    fn names_changed(&self) {
        self.0.names.forget();
        self.0.queues.forget();
        self.0.routes.clear();
    }

    async fn could_have(&self, queue: &QueueName, terms: &QueueTerms) -> Result<(), BrokerError> {
        self.0.check_delay(terms.delay)?;
        let told = told(queue, terms, &self.0.carrier.abilities());
        self.0.carrier.could_ensure(&told).await.map_err(BrokerError::from)
    }

    async fn queue_made(&self, queue: &QueueName) -> Result<(), BrokerError> {
        let queue = self.0.queue(queue).await?;
        self.0.check_delay(queue.terms.delay)
    }

    async fn queue_deleted(&self, queue: &QueueName) -> Result<(), BrokerError> {
        self.0.queues.lost(queue);
        self.0.carrier.remove(queue).await.map_err(|error| self.0.failed(queue, error))
    }
}
