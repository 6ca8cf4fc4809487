//! The broker that is the database: rows and their bookkeeping in one transaction, an ack and its
//! outcome in one.
//!
//! Consumers that found nothing sleep until something changes (a publish, a retry, a sweep; see
//! [`wake`](super::wake) for how other processes are heard), until the next delayed message comes
//! due, or for `poll` at most: SQLite has no way to be told what another process published.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::attributes::RowAttributes;
use super::contract::{Broker, Source};
use super::error::BrokerError;
use super::fanout::route;
use super::join::Joiner;
use super::joined::{Receives, Settle, Settles, Share, SharedError};
use super::limits::SqlBrokerLimits;
use super::names::Names;
use super::origins::{UploadOrigin, Uploads};
use super::published::{CopyOf, MessageBody, Once, Published, Publishing, RowBatch, Ticket};
use super::publishes::{NotPublished, Placed, Publish, Publishes};
use super::routing::Routing;
use super::wake::Bell;
use crate::domain::{
    Delivery, Lease, Message, MessageId, MessageKey, QueueName, QueueStats, Receipt, Row, Settled,
    Settlement, TopicName,
};
use crate::store::control::{Queue, UploadState};
use crate::store::log::{
    Emptiness, Fence, HandedLease, LogError, NewBatch, NewMessage, PausedBy, QueueId, RowsOf,
    TopicId, UploadId,
};
use crate::store::{Store, StoreError};

/// The shortest and the longest wait before a look that others' locks made empty is repeated.
const CONTENDED_MS: std::ops::RangeInclusive<u64> = 1..=4;

/// The broker on [`Store`]. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct SqlBroker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    key: MessageKey,
    limits: SqlBrokerLimits,
    receives: Joiner<Receives>,
    settles: Joiner<Settles>,
    publishes: Joiner<Publishes>,
    bell: Bell,
    routing: Arc<Routing>,
    names: Names,
    uploads: Uploads,
}

fn shared(error: SharedError) -> BrokerError {
    if error.is_outage() {
        BrokerError::Outage(Box::new(error))
    } else {
        BrokerError::Store(Box::new(error))
    }
}

/// The task that joins calls ends with the runtime, and a step only if it panics.
fn died() -> BrokerError {
    BrokerError::Store("the step that joined this call died".into())
}

impl SqlBroker {
    /// A broker on a store whose tables are there.
    ///
    /// # Errors
    /// [`StoreError`], when the installation's secret cannot be read.
    pub async fn new(store: Store, limits: SqlBrokerLimits) -> Result<Self, StoreError> {
        let key = store.control.message_key().await?;
        let bell = Bell::new(&store, limits.gather_words);
        let routing = Arc::new(Routing::new(store.clone()));
        let publishes = Publishes {
            routing: Arc::clone(&routing),
            reroutes: limits.reroutes,
            made: bell.clone(),
        };
        Ok(Self(Arc::new(Inner {
            publishes: Joiner::new(publishes, limits.publishes),
            receives: Joiner::new(
                Receives { store: store.clone(), bell: bell.clone() },
                limits.receives,
            ),
            settles: Joiner::new(Settles(store.clone()), limits.settles),
            names: Names::new(store.clone()),
            uploads: Uploads::new(store.clone()),
            store,
            key,
            limits,
            bell,
            routing,
        })))
    }

    /// Ends leases whose deadline passed and messages that waited too long, `most` at a time, until
    /// none is left; wakes consumers if anything comes again. Answers one [`Settled`] a lease.
    ///
    /// # Errors
    /// [`BrokerError::Store`]; what was swept before stays so.
    pub async fn sweep(&self, most: u32) -> Result<Vec<Settled>, BrokerError> {
        let swept = self.sweep_leases(most).await?;
        self.expire(most).await?;
        Ok(swept)
    }

    pub(super) async fn sweep_leases(&self, most: u32) -> Result<Vec<Settled>, BrokerError> {
        let mut all = vec![];
        loop {
            let swept = self.0.store.log.sweep(most).await?;
            let full = swept.len() >= usize::try_from(most).unwrap_or(usize::MAX);
            all.extend(swept);
            if !full {
                break;
            }
        }
        self.wake_for(&all);
        Ok(all)
    }

    /// Answers how many messages expired.
    pub(super) async fn expire(&self, most: u32) -> Result<u64, BrokerError> {
        let mut all = 0;
        loop {
            match self.0.store.log.expire(most).await? {
                0 => return Ok(all),
                expired => all += expired,
            }
        }
    }

    /// The database.
    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn limits(&self) -> &SqlBrokerLimits {
        &self.0.limits
    }

    pub(super) fn wake_for(&self, settled: &[Settled]) {
        if settled.iter().any(|settled| settled.again + settled.dead > 0) {
            self.wake();
        }
    }

    /// The queue and the message's number that an id stands for, if it is one of this installation.
    pub fn open_id(&self, id: MessageId) -> Option<(QueueId, i64)> {
        let (queue, message) = self.0.key.open(id)?;
        Some((QueueId(i32::try_from(queue).ok()?), i64::try_from(message).ok()?))
    }

    /// The public id of a message in a queue.
    pub fn id_of(&self, queue: QueueId, message: i64) -> MessageId {
        self.0.key.id(queue.0.cast_unsigned(), message.cast_unsigned())
    }

    /// Wakes the consumers, here and elsewhere, that sleep because they found nothing.
    pub fn wake(&self) {
        self.0.bell.ring();
    }

    pub(super) async fn queue(&self, name: &QueueName) -> Result<Queue, BrokerError> {
        self.0.names.queue(name).await
    }

    async fn topic(&self, name: &TopicName) -> Result<TopicId, BrokerError> {
        self.0.names.topic(name).await
    }

    /// Forgets what it knows of topics and queues, because one was made, changed or deleted here.
    pub fn forget_names(&self) {
        self.0.names.forget();
    }

    pub(super) async fn upload(&self, id: UploadId) -> Result<Arc<UploadOrigin>, BrokerError> {
        self.0.uploads.get(id).await
    }

    /// Whether what is being asked was done before, by a call whose answer was lost.
    async fn ended_by_us(&self, fence: Fence, states: &[UploadState]) -> Result<bool, BrokerError> {
        let upload = self.0.store.control.upload(fence.upload).await?;
        Ok(upload.epoch == fence.epoch && states.contains(&upload.state))
    }

    /// A lease as its consumer gets it; `upload` is the one that its messages are rows of.
    fn hand_out(
        &self,
        queue: &Queue,
        lease: HandedLease,
        upload: Option<Arc<UploadOrigin>>,
    ) -> Lease {
        let receipt = Receipt(lease.receipt);
        let deliveries = lease.messages.into_iter().map(|message| Delivery {
            receipt,
            position: message.position,
            id: self.id_of(queue.id, message.id),
            attempt: message.attempt,
            origin: upload.as_ref().zip(message.place).map(|(upload, at)| upload.origin(at)),
            data: message.data,
            attributes: message.attributes,
            created_ms: message.created_ms,
            expires_ms: message.expires_ms,
        });
        Lease { receipt, deadline: lease.deadline, deliveries: deliveries.collect() }
    }
}

impl Source for SqlBroker {
    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Lease>, BrokerError> {
        let name = queue;
        let until = Instant::now() + wait;
        // Subscribed before the look, so that what changes after it is not missed.
        let mut changed = self.0.bell.subscribe();
        loop {
            changed.mark_unchanged();
            // Each time anew: it may have been deleted while this one slept.
            let queue = self.queue(name).await?;
            if max == 0 {
                return Ok(vec![]);
            }
            let share = self.0.receives.ask((queue.id, max)).await.ok_or_else(died)?;
            let due = match share.map_err(shared)? {
                Share::Leases(parcel) => {
                    let mut uploads = Vec::with_capacity(parcel.leases().len());
                    for lease in parcel.leases() {
                        uploads.push(match lease.upload {
                            Some(id) => Some(self.upload(id).await?),
                            None => None,
                        });
                    }
                    // From here on nothing is awaited, so that no lease is lost on its way.
                    let leases = parcel.open().into_iter().zip(uploads);
                    let handed = leases.map(|(lease, upload)| self.hand_out(&queue, lease, upload));
                    return Ok(handed.collect());
                }
                Share::Short => continue,
                Share::Empty(Emptiness::Contended) => {
                    Duration::from_millis(fastrand::u64(CONTENDED_MS))
                }
                Share::Empty(Emptiness::Until(due)) => {
                    due.map_or(self.0.limits.poll, |due| due.min(self.0.limits.poll))
                }
            };
            let now = Instant::now();
            if now >= until {
                return Ok(vec![]);
            }
            // An error would mean that the sender is gone, which `self` holds.
            let _ = tokio::time::timeout_at((now + due).min(until), changed.changed()).await;
        }
    }

    async fn settle(
        &self,
        settlements: Vec<(Receipt, Vec<Settlement>)>,
    ) -> Result<Vec<Settled>, BrokerError> {
        let asked: Vec<_> = settlements
            .into_iter()
            .map(|(receipt, settlements)| (receipt.0, settlements))
            .collect();
        let settled = self.0.settles.ask(Settle::new(asked)).await.ok_or_else(died)?;
        let settled = settled.map_err(shared)?;
        self.wake_for(&settled);
        Ok(settled)
    }

    async fn extend(&self, receipts: Vec<Receipt>) -> Result<Vec<Option<Duration>>, BrokerError> {
        self.extend_leases(receipts, None).await
    }
}

impl Broker for SqlBroker {
    fn holds(&self) -> bool {
        true
    }

    async fn reserve(&self, most: usize) -> Result<Ticket, BrokerError> {
        Ok(self.0.routing.reserve(most).await?)
    }

    async fn publish(&self, to: &Publishing, batch: RowBatch) -> Result<Published, BrokerError> {
        let attributes = RowAttributes::of(to, &batch);
        let mut new = new_batch(to, batch)?;
        for reroute in 0..=self.0.limits.reroutes {
            let routes = self.0.routing.routes(to.topic, reroute > 0).await?;
            let routed = route(&routes, new.messages.len(), |at, name| attributes.value(at, name));
            new.routes_version = routes.version;
            new.unrouted = routed.unrouted;
            new.segments = routed.segments;
            // A task of its own: a connection whose COPY is dropped half-way is not fit for use.
            let log = self.0.store.log.clone();
            let publishing = tokio::spawn(async move {
                let done = log.publish(&new).await;
                (new, done)
            });
            let (back, done) = publishing.await.map_err(|_| died())?;
            new = back;
            match done {
                Ok(()) | Err(LogError::AlreadyThere) => {
                    if !to.held {
                        self.wake();
                    }
                    let unrouted = u64::from(new.unrouted);
                    return Ok(Published {
                        routed: new.messages.len() as u64 - unrouted,
                        unrouted,
                    });
                }
                Err(LogError::RoutesChanged) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LogError::RoutesChanged.into())
    }

    async fn publish_messages(
        &self,
        topic: &TopicName,
        messages: Vec<MessageBody>,
        once: Option<Once>,
    ) -> Result<Vec<Vec<CopyOf>>, BrokerError> {
        let number = self.topic(topic).await?;
        let once = once.map(|once| (once.key, once.fingerprint));
        let asked = Publish { topic: number, messages, once };
        let placed = self.0.publishes.ask(asked).await.ok_or_else(died)?;
        let placed = placed.map_err(|error| match error {
            NotPublished::KeyReused => BrokerError::KeyReused,
            NotPublished::NoTopic => {
                // Another process deleted it; the name may be another topic's by now.
                self.forget_names();
                BrokerError::NoTopic(topic.clone())
            }
            NotPublished::Store(error) if error.is_outage() => BrokerError::Outage(Box::new(error)),
            error => BrokerError::Store(Box::new(error)),
        })?;
        let copy = |placed: Placed| {
            let damaged = |_| StoreError::Damaged("a queue without a name".into());
            Ok(CopyOf {
                queue: placed.name.parse().map_err(damaged)?,
                id: self.id_of(placed.queue(), placed.message),
                delay: placed.delay(),
                retention: placed.retention(),
            })
        };
        placed.into_iter().map(|copies| copies.into_iter().map(copy).collect()).collect()
    }

    async fn describe(&self, fence: Fence, sheets: &str) -> Result<(), BrokerError> {
        self.0.store.control.set_sheets(fence, sheets).await?;
        // What was read of the upload before is out of date now.
        self.0.uploads.forget(fence.upload);
        Ok(())
    }

    async fn release(&self, fence: Fence, totals: &str) -> Result<(), BrokerError> {
        match self.0.store.log.release(fence, totals).await {
            Err(LogError::LeaseLost)
                if self
                    .ended_by_us(fence, &[UploadState::Published, UploadState::Ended])
                    .await? => {}
            released => released?,
        }
        self.wake();
        Ok(())
    }

    async fn discard(&self, fence: Fence, problem: &str) -> Result<(), BrokerError> {
        let upload = self.0.store.control.upload(fence.upload).await?;
        let log = &self.0.store.log;
        let taken_back = if upload.stream {
            log.fail_streaming(fence, problem).await
        } else {
            log.discard(fence, problem).await
        };
        match taken_back {
            Err(LogError::LeaseLost) if self.ended_by_us(fence, &[UploadState::Failed]).await? => {
                Ok(())
            }
            taken_back => Ok(taken_back?),
        }
    }

    async fn extend_for(
        &self,
        receipts: Vec<Receipt>,
        lasting: Duration,
    ) -> Result<Vec<Option<Duration>>, BrokerError> {
        self.extend_leases(receipts, Some(lasting)).await
    }

    async fn holder(&self, id: MessageId) -> Result<Option<(Receipt, u16)>, BrokerError> {
        self.holder_of(id).await
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<Message>, BrokerError> {
        self.look_at(queue, limit).await
    }

    async fn message(&self, id: MessageId) -> Result<Option<Message>, BrokerError> {
        self.look_up(id).await
    }

    async fn stats(&self, queue: &QueueName) -> Result<QueueStats, BrokerError> {
        let queue = self.queue(queue).await?;
        Ok(self.0.store.log.stats(queue.id, queue.dead_queue).await?)
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64, BrokerError> {
        let queue = self.queue(queue).await?;
        Ok(self.0.store.log.purge(queue.id).await?)
    }

    async fn redrive(&self, from: &QueueName, to: &QueueName) -> Result<u64, BrokerError> {
        let (from, to) = (self.queue(from).await?, self.queue(to).await?);
        let moved = self.0.store.log.redrive(from.id, to.id, self.0.limits.redrive_step).await;
        // What went before a failure is there, and may be received.
        self.wake();
        Ok(moved?)
    }

    async fn retry_dead(&self, upload: UploadId) -> Result<u64, BrokerError> {
        let moved = self.0.store.log.retry_dead(upload, self.0.limits.redrive_step).await;
        self.wake();
        Ok(moved?)
    }

    async fn pause(&self, upload: UploadId) -> Result<bool, BrokerError> {
        Ok(self.0.store.log.pause(upload, PausedBy::Hand).await?)
    }

    async fn resume(&self, upload: UploadId) -> Result<bool, BrokerError> {
        let resumed = self.0.store.log.resume(upload).await?;
        self.wake();
        Ok(resumed)
    }

    async fn number_of(&self, queue: &QueueName) -> Result<QueueId, BrokerError> {
        Ok(self.queue(queue).await?.id)
    }

    fn names_changed(&self) {
        self.forget_names();
    }

    /// A queue is where it is recorded.
    async fn queue_made(&self, _: &QueueName) -> Result<(), BrokerError> {
        Ok(())
    }

    /// Keepers remove what it held.
    async fn queue_deleted(&self, _: &QueueName) -> Result<(), BrokerError> {
        Ok(())
    }
}

fn new_message(row: Row) -> Result<NewMessage, BrokerError> {
    let text = |json: Bytes| String::from_utf8(json.into()).map(String::into_boxed_str);
    let attributes = row.attributes.map(text).transpose();
    let attributes = attributes.map_err(|error| BrokerError::Store(Box::new(error)))?;
    Ok(NewMessage { row: Some(row.row), data: row.data, attributes })
}

fn new_batch(to: &Publishing, batch: RowBatch) -> Result<NewBatch, BrokerError> {
    let mut findings = Vec::with_capacity(batch.findings.len());
    for finding in &batch.findings {
        let row = finding.at.row.unwrap_or(batch.first_row);
        let content =
            serde_json::to_string(finding).map_err(|error| BrokerError::Store(Box::new(error)))?;
        findings.push((row, content));
    }
    Ok(NewBatch {
        topic: to.topic,
        routes_version: 0,
        first_id: batch.ticket.first_id,
        messages: batch.rows.into_iter().map(new_message).collect::<Result<_, _>>()?,
        rows: Some(RowsOf {
            fence: to.fence,
            sheet: batch.sheet,
            first_row: batch.first_row,
            last_row: batch.last_row,
            turn: batch.turn,
            held: to.held,
            findings,
            duplicates: batch.duplicates,
        }),
        segments: vec![],
        unrouted: 0,
        once: None,
    })
}
