//! What an engine must know to carry messages: RabbitMQ, Redis and SQS, a file each.
//!
//! A [`Carrier`] knows queues and parcels, and nothing else: topics, filters, fan-out, uploads,
//! outcomes, back-off and which attempt is the last are decided above it, once for all engines.
//! Payloads are readable by programs that know nothing of rowmill: the body of a parcel is the
//! message's data as JSON, its attributes are the engine's own headers, fields or attributes.
//!
//! An engine that cannot do a thing says so: in its [`Abilities`] when it is known beforehand, and as
//! [`CarrierError::Unsupported`] when it is asked all the same. An engine that is away for a moment is
//! no error of its users: a driver connects anew, with back-off, and answers
//! [`CarrierError::Outage`] only when its patience ends.

pub mod limits;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "sqs")]
pub mod sqs;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::QueueName;

/// Why a carrier could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CarrierError {
    /// The engine has no such queue.
    #[error("the carrier has no queue `{0}`")]
    NoQueue(QueueName),
    /// The engine cannot do that, whoever asks.
    #[error("{what} is unsupported here: {why}")]
    Unsupported {
        /// What was asked.
        what: &'static str,
        /// What it is about the engine.
        why: &'static str,
    },
    /// A queue has its capacity, and stayed full for as long as a publisher waits.
    #[error("the queue `{0}` is full")]
    Full(QueueName),
    /// The engine does not answer: the same may be asked again, and will work when it does.
    #[error("the carrier does not answer: {0}")]
    Outage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The engine refused, or said what cannot be understood.
    #[error("the carrier failed: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What an engine can do, where engines differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// The longest delay of a parcel, first delivery or later ones; `None` when any will do.
    pub delay_most: Option<Duration>,
    /// The longest that a parcel is kept; `None` when it is as long as is said.
    pub retention_most: Option<Duration>,
    /// The largest parcel, body and headers together, in bytes.
    pub parcel_bytes: usize,
    /// Whether another process may settle what this one took.
    pub receipts_travel: bool,
    /// Whether a delivery's deadline can be moved.
    pub extend: bool,
    /// Whether waiting parcels can be looked at without being taken.
    pub peek: bool,
}

/// A queue as an engine is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarrierQueue {
    /// Its name, which is also the engine's, as far as the engine's rules for names allow.
    pub name: QueueName,
    /// Where its dead go; `None` when there is no such place.
    pub dead: Option<QueueName>,
    /// After how many deliveries the engine itself gives a parcel up to the dead queue: one more
    /// than rowmill's own limit, for consumers that die without a word. `None`: never.
    pub deliveries: Option<u32>,
    /// How long a consumer may hold a parcel before it is given to another.
    pub ack_deadline: Duration,
    /// How long a parcel may wait before it is dropped; `None`: as long as the engine keeps it.
    pub retention: Option<Duration>,
    /// How many parcels may be in it; `None`: as many as the engine has room for.
    pub capacity: Option<u64>,
}

/// A message on its way into a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// What it is known by, in the engine's own id field where there is one: the message's public id.
    pub id: String,
    /// A JSON object.
    pub data: Bytes,
    /// What travels beside it, in the engine's own headers.
    pub attributes: BTreeMap<String, String>,
    /// How long until it may be delivered.
    pub delay: Duration,
}

/// A parcel in somebody's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// What the sender called it; one sent by a foreign program may have none.
    pub id: Option<String>,
    /// What was sent.
    pub data: Bytes,
    /// What travelled beside it.
    pub attributes: BTreeMap<String, String>,
    /// Which delivery this is, from 1 on, as the engine counts.
    pub attempt: u32,
    /// What settles it.
    pub handle: Handle,
}

/// What settles a delivery: the engine's own receipt, as text. It is of one queue and one delivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub String);

/// What became of one parcel, or one handle, of several.
pub type Each = Result<(), Failed>;

/// Why one of several did not go through; the others may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// It is in other hands by now, or settled.
    #[error("the delivery is over")]
    Over,
    /// The engine refused it, and would again.
    #[error("refused: {0}")]
    Refused(String),
    /// The queue has its capacity, and stayed full for as long as a publisher waits.
    #[error("the queue is full")]
    Full,
    /// The engine did not take it, this time, however often it was tried.
    #[error("not taken: {0}")]
    NotTaken(String),
}

/// How a queue stands in its engine; `None` where the engine does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CarrierDepth {
    /// Parcels that may be taken now.
    pub waiting: u64,
    /// Parcels that wait for their time.
    pub delayed: Option<u64>,
    /// Parcels in consumers' hands.
    pub in_hands: Option<u64>,
}

/// An engine that carries parcels.
///
/// Calls of many tasks may be under way at once. Where several parcels or handles are given, the
/// answer has one entry for each, in the order given; an `Err` of the whole call means that it is
/// unknown what was done, and that asking again is safe, save that a parcel may then be there twice.
pub trait Carrier: Send + Sync + 'static {
    /// What this engine can do.
    fn abilities(&self) -> Abilities;

    /// Makes a queue, or changes it to what is said, as far as the engine can change one. Made
    /// already, it is no error.
    ///
    /// # Errors
    /// [`CarrierError`].
    fn ensure(&self, queue: &CarrierQueue)
    -> impl Future<Output = Result<(), CarrierError>> + Send;

    /// Whether [`Carrier::ensure`] would do it; nothing is made or changed by asking.
    ///
    /// # Errors
    /// [`CarrierError::Unsupported`] when the queue is there and cannot be changed to that.
    fn could_ensure(
        &self,
        queue: &CarrierQueue,
    ) -> impl Future<Output = Result<(), CarrierError>> + Send {
        let _ = queue;
        async { Ok(()) }
    }

    /// Removes a queue with what is in it; none is no error.
    ///
    /// # Errors
    /// [`CarrierError`].
    fn remove(&self, queue: &QueueName) -> impl Future<Output = Result<(), CarrierError>> + Send;

    /// Sends parcels, and answers when the engine has said of each that it keeps it durably. What
    /// failed for a reason that may pass was tried again before.
    ///
    /// # Errors
    /// [`CarrierError`]; of each parcel, [`Failed::Refused`], [`Failed::Full`] or
    /// [`Failed::NotTaken`].
    fn send(
        &self,
        queue: &QueueName,
        parcels: Vec<Parcel>,
    ) -> impl Future<Output = Result<Vec<Each>, CarrierError>> + Send;

    /// Up to `max` parcels; waits up to `wait` for the first. No more than `max` are ever held back
    /// for the caller: what a driver fetched and did not give out is given back at once.
    ///
    /// Cancellation safety: what a dropped call had taken comes again, at its deadline at the latest.
    ///
    /// # Errors
    /// [`CarrierError`].
    fn take(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Taken>, CarrierError>> + Send;

    /// Ends deliveries: these parcels never come again.
    ///
    /// # Errors
    /// [`CarrierError`]; of each handle, [`Failed::Over`] when another has it by now.
    fn ack(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
    ) -> impl Future<Output = Result<Vec<Each>, CarrierError>> + Send;

    /// Gives parcels back, each to be delivered again after its delay.
    ///
    /// # Errors
    /// As for [`Carrier::ack`].
    fn release(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, Duration)>,
    ) -> impl Future<Output = Result<Vec<Each>, CarrierError>> + Send;

    /// Moves parcels to the queue's dead queue, each with the reason, which travels with it as the
    /// attribute [`REASON`]. Not lost on the way: it may be in both for a moment, never in neither.
    ///
    /// # Errors
    /// As for [`Carrier::ack`]; [`CarrierError::Unsupported`] when the queue has no dead queue.
    fn dead(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, String)>,
    ) -> impl Future<Output = Result<Vec<Each>, CarrierError>> + Send;

    /// Gives deliveries `lasting` from now before they go to another.
    ///
    /// # Errors
    /// As for [`Carrier::ack`]; [`CarrierError::Unsupported`].
    fn extend(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
        lasting: Duration,
    ) -> impl Future<Output = Result<Vec<Each>, CarrierError>> + Send;

    /// How a queue stands, as well as the engine knows.
    ///
    /// # Errors
    /// [`CarrierError`].
    fn depth(
        &self,
        queue: &QueueName,
    ) -> impl Future<Output = Result<CarrierDepth, CarrierError>> + Send;

    /// Up to `limit` waiting parcels, those first that would be delivered first; nothing is taken.
    ///
    /// # Errors
    /// [`CarrierError`]; [`CarrierError::Unsupported`].
    fn peek(
        &self,
        queue: &QueueName,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Parcel>, CarrierError>> + Send;

    /// Removes what waits; what is in hands stays there. Answers how many those were, where the
    /// engine tells.
    ///
    /// # Errors
    /// [`CarrierError`].
    fn purge(
        &self,
        queue: &QueueName,
    ) -> impl Future<Output = Result<Option<u64>, CarrierError>> + Send;

    /// Moves up to `most` waiting parcels to another queue, as new there: no attempts, no reason.
    /// Answers how many went; 0 when nothing waits. Not lost on the way.
    ///
    /// # Errors
    /// [`CarrierError`]; what was moved before stays so.
    fn redrive(
        &self,
        from: &QueueName,
        to: &QueueName,
        most: usize,
    ) -> impl Future<Output = Result<u64, CarrierError>> + Send;
}

/// The attribute of a dead parcel that says why it died.
pub const REASON: &str = "rowmill-reason";
