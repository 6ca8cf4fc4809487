//! The broker that is the database: rows and their bookkeeping in one transaction, an ack and its
//! outcome in one.
//!
//! Consumers that found nothing sleep until something changes (a publish, a retry, a sweep; see
//! [`wake`](super::wake) for how other processes are heard), until the next delayed message comes
//! due, or for `poll` at most: SQLite has no way to be told what another process published.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::cache::{read, write};
use super::contract::{
    Broker, BrokerError, CopyOf, MessageBody, Once, Published, Publishing, RowBatch, Source, Ticket,
};
use super::fanout::route;
use super::join::{JoinLimits, Joiner};
use super::joined::{Receives, Settle, Settles, Share, SharedError};
use super::names::{Names, NotFound};
use super::publishes::{NotPublished, Placed, Publish, Publishes};
use super::routing::Routing;
use super::wake::Bell;
use crate::domain::{
    Delivery, Lease, Message, MessageId, MessageKey, Origin, QueueName, QueueStats, Receipt,
    RowNumber, Settled, Settlement, TopicName, units,
};
use crate::store::control::{Queue, UploadState};
use crate::store::log::{
    Emptiness, Fence, HandedLease, LogError, NewBatch, NewMessage, QueueId, RowsOf, TopicId,
    UploadId,
};
use crate::store::{Store, StoreError};

/// Waits and sizes of the broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqlBrokerLimits {
    /// How long a consumer sleeps at most before it looks for what other processes published.
    #[serde(with = "units::time")]
    pub poll: Duration,
    /// How often a publish is routed anew because the topic's queues changed under it.
    pub reroutes: u32,
    /// How receives of one queue are joined.
    pub receives: JoinLimits,
    /// How settles are joined.
    pub settles: JoinLimits,
    /// How publishes of messages that are no rows are joined.
    pub publishes: JoinLimits,
    /// How long words to other processes are gathered.
    #[serde(with = "units::time")]
    pub gather_words: Duration,
    /// How long the names of publishes are kept, within which one repeated is made once.
    #[serde(with = "units::time")]
    pub names_kept: Duration,
}

impl Default for SqlBrokerLimits {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(500),
            reroutes: 20,
            receives: JoinLimits::default(),
            settles: JoinLimits::default(),
            publishes: JoinLimits { calls: 1_000, ..JoinLimits::default() },
            gather_words: Duration::from_millis(5),
            names_kept: Duration::from_secs(24 * 3600),
        }
    }
}

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
    uploads: RwLock<HashMap<UploadId, Arc<UploadOrigin>>>,
}

/// What a delivery says of its upload; it never changes once the header was read.
#[derive(Debug)]
struct UploadOrigin {
    upload_id: Uuid,
    filename: Arc<str>,
    sheets: Vec<Option<Arc<str>>>,
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

fn store(error: impl Into<StoreError>) -> BrokerError {
    match error.into() {
        StoreError::Log(LogError::LeaseLost) => BrokerError::LeaseLost,
        error if error.is_outage() => BrokerError::Outage(Box::new(error)),
        error => BrokerError::Store(Box::new(error)),
    }
}

fn not_found(error: NotFound) -> BrokerError {
    match error {
        NotFound::Name(error) => error,
        NotFound::Store(error) => store(error),
    }
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
            receives: Joiner::new(Receives(store.clone()), limits.receives),
            settles: Joiner::new(Settles(store.clone()), limits.settles),
            names: Names::new(store.clone()),
            store,
            key,
            limits,
            bell,
            routing,
            uploads: RwLock::default(),
        })))
    }

    /// Sweeps leases whose deadline passed and segments that waited too long, `most` at a time,
    /// until none is left; wakes consumers if anything comes again.
    ///
    /// # Errors
    /// [`BrokerError::Store`]; what was swept before stays so.
    pub async fn sweep(&self, most: u32) -> Result<Vec<Settled>, BrokerError> {
        let log = &self.0.store.log;
        let mut all = vec![];
        loop {
            let swept = log.sweep(most).await.map_err(store)?;
            let full = swept.len() >= usize::try_from(most).unwrap_or(usize::MAX);
            all.extend(swept);
            if !full {
                break;
            }
        }
        while log.expire(most).await.map_err(store)? > 0 {}
        log.forget_publications(self.0.limits.names_kept).await.map_err(store)?;
        self.wake_for(&all);
        Ok(all)
    }

    fn wake_for(&self, settled: &[Settled]) {
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

    async fn queue(&self, name: &QueueName) -> Result<Queue, BrokerError> {
        self.0.names.queue(name).await.map_err(not_found)
    }

    async fn topic(&self, name: &TopicName) -> Result<TopicId, BrokerError> {
        self.0.names.topic(name).await.map_err(not_found)
    }

    /// Forgets what it knows of topics and queues, because one was made, changed or deleted here.
    pub fn forget_names(&self) {
        self.0.names.forget();
    }

    async fn upload(&self, id: UploadId) -> Result<Arc<UploadOrigin>, BrokerError> {
        let known = read(&self.0.uploads).get(&id).cloned();
        if let Some(upload) = known {
            return Ok(upload);
        }
        let upload = self.0.store.control.upload(id).await.map_err(store)?;
        let sheets = crate::store::control::sheet_names(&upload.sheets)
            .map_err(|error| store(StoreError::Damaged(error.to_string())))?;
        let source = Arc::new(UploadOrigin {
            upload_id: upload.public_id,
            filename: upload.filename.into(),
            sheets: sheets.into_iter().map(|name| name.map(Arc::from)).collect(),
        });
        write(&self.0.uploads).insert(id, Arc::clone(&source));
        Ok(source)
    }

    /// Whether what is being asked was done before, by a call whose answer was lost.
    async fn ended_by_us(&self, fence: Fence, states: &[UploadState]) -> Result<bool, BrokerError> {
        let upload = self.0.store.control.upload(fence.upload).await.map_err(store)?;
        Ok(upload.epoch == fence.epoch && states.contains(&upload.state))
    }

    async fn hand_out(&self, queue: &Queue, lease: HandedLease) -> Result<Lease, BrokerError> {
        let upload = match lease.upload {
            Some(id) => Some(self.upload(id).await?),
            None => None,
        };
        let receipt = Receipt(lease.receipt);
        let deliveries = lease.messages.into_iter().map(|message| Delivery {
            receipt,
            position: message.position,
            id: self.0.key.id(queue.id.0.cast_unsigned(), message.id.cast_unsigned()),
            attempt: message.attempt,
            origin: upload.as_ref().zip(message.place).map(|(upload, (sheet, row))| Origin {
                upload_id: upload.upload_id,
                filename: Arc::clone(&upload.filename),
                sheet: upload.sheets.get(usize::from(sheet)).cloned().flatten(),
                row,
            }),
            data: message.data,
            attributes: message.attributes,
            created_ms: 0,
            expires_ms: None,
        });
        Ok(Lease { receipt, deadline: lease.deadline, deliveries: deliveries.collect() })
    }
}

impl Source for SqlBroker {
    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Lease>, BrokerError> {
        let queue = self.queue(queue).await?;
        let until = Instant::now() + wait;
        // Subscribed before the look, so that what changes after it is not missed.
        let mut changed = self.0.bell.subscribe();
        loop {
            changed.mark_unchanged();
            let share = self.0.receives.ask((queue.id, max)).await.ok_or_else(died)?;
            let due = match share.map_err(shared)? {
                Share::Leases(leases) => {
                    let mut handed = Vec::with_capacity(leases.len());
                    for lease in leases {
                        handed.push(self.hand_out(&queue, lease).await?);
                    }
                    return Ok(handed);
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
        let asked: Vec<Uuid> = receipts.iter().map(|receipt| receipt.0).collect();
        let extended: HashMap<Uuid, Duration> =
            self.0.store.log.extend(&asked).await.map_err(store)?.into_iter().collect();
        Ok(asked.iter().map(|receipt| extended.get(receipt).copied()).collect())
    }
}

impl Broker for SqlBroker {
    async fn reserve(&self, most: usize) -> Result<Ticket, BrokerError> {
        self.0.routing.reserve(most).await.map_err(store)
    }

    async fn publish(&self, to: &Publishing, batch: RowBatch) -> Result<Published, BrokerError> {
        let sheet_name = batch.sheet_name.clone();
        let mut new = new_batch(to, batch)?;
        let rows: Vec<RowNumber> = new.messages.iter().filter_map(|message| message.row).collect();
        let value_of = |at: usize, name: &str| match name {
            "upload_id" => Some(Cow::Owned(to.upload_id.to_string())),
            "filename" => Some(Cow::Borrowed(to.filename.as_str())),
            "sheet" => sheet_name.as_deref().map(Cow::Borrowed),
            "row" => rows.get(at).map(|row| Cow::Owned(row.to_string())),
            _ => None,
        };
        for reroute in 0..=self.0.limits.reroutes {
            let routes = self.0.routing.routes(to.topic, reroute > 0).await.map_err(store)?;
            let routed = route(&routes, new.messages.len(), value_of);
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
                Err(error) => return Err(store(error)),
            }
        }
        Err(store(LogError::RoutesChanged))
    }

    async fn publish_messages(
        &self,
        topic: &TopicName,
        messages: Vec<MessageBody>,
        once: Option<Once>,
    ) -> Result<Vec<Vec<CopyOf>>, BrokerError> {
        let topic = self.topic(topic).await?;
        let once = once.map(|once| (once.key, once.fingerprint));
        let asked = Publish { topic, messages, once };
        let placed = self.0.publishes.ask(asked).await.ok_or_else(died)?;
        let placed = placed.map_err(|error| match error {
            NotPublished::KeyReused => BrokerError::KeyReused,
            NotPublished::Store(error) if error.is_outage() => BrokerError::Outage(Box::new(error)),
            error => BrokerError::Store(Box::new(error)),
        })?;
        let copy = |placed: Placed| {
            let damaged = |_| store(StoreError::Damaged("a queue without a name".into()));
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
        self.0.store.control.set_sheets(fence, sheets).await.map_err(store)?;
        // What was read of the upload before is out of date now.
        write(&self.0.uploads).remove(&fence.upload);
        Ok(())
    }

    async fn release(&self, fence: Fence, totals: &str) -> Result<(), BrokerError> {
        match self.0.store.log.release(fence, totals).await {
            Err(LogError::LeaseLost)
                if self
                    .ended_by_us(fence, &[UploadState::Published, UploadState::Ended])
                    .await? => {}
            released => released.map_err(store)?,
        }
        self.wake();
        Ok(())
    }

    async fn discard(&self, fence: Fence, problem: &str) -> Result<(), BrokerError> {
        let upload = self.0.store.control.upload(fence.upload).await.map_err(store)?;
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
            taken_back => taken_back.map_err(store),
        }
    }

    async fn extend_for(
        &self,
        _receipts: Vec<Receipt>,
        _lasting: Duration,
    ) -> Result<Vec<Option<Duration>>, BrokerError> {
        Err(BrokerError::Store("not yet".into()))
    }

    async fn holder(&self, _id: MessageId) -> Result<Option<(Receipt, u16)>, BrokerError> {
        Err(BrokerError::Store("not yet".into()))
    }

    async fn peek(&self, _queue: &QueueName, _limit: usize) -> Result<Vec<Message>, BrokerError> {
        Err(BrokerError::Store("not yet".into()))
    }

    async fn message(&self, _id: MessageId) -> Result<Option<Message>, BrokerError> {
        Err(BrokerError::Store("not yet".into()))
    }

    async fn stats(&self, _queue: &QueueName) -> Result<QueueStats, BrokerError> {
        Err(BrokerError::Store("not yet".into()))
    }

    async fn purge(&self, _queue: &QueueName) -> Result<u64, BrokerError> {
        Err(BrokerError::Store("not yet".into()))
    }

    async fn redrive(&self, _from: &QueueName, _to: &QueueName) -> Result<u64, BrokerError> {
        Err(BrokerError::Store("not yet".into()))
    }
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
        messages: batch
            .rows
            .into_iter()
            .map(|(row, data)| NewMessage { row: Some(row), data, attributes: None })
            .collect(),
        rows: Some(RowsOf {
            fence: to.fence,
            sheet: batch.sheet,
            first_row: batch.first_row,
            last_row: batch.last_row,
            turn: batch.turn,
            held: to.held,
            findings,
        }),
        segments: vec![],
        unrouted: 0,
        once: None,
    })
}
