//! What goes into the log and comes out of it, the same for both databases.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use rowmill_domain::{Attempt, RetryPolicy, RowNumber};

/// A queue's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub i32);

/// A topic's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub i32);

/// An upload's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(pub i64);

/// The right to publish for an upload: lost when somebody else takes the upload over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The upload.
    pub upload: UploadId,
    /// The epoch that this publisher was given.
    pub epoch: i32,
}

/// Ids are reserved in blocks of this many, and nothing below crosses a block: a batch, and so a
/// segment, a lease and an outcome. That bounds every look-up by id.
pub const BLOCK: i64 = 1000;

/// A message to be published.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The row it is, in the sheet that its batch names.
    pub row: Option<RowNumber>,
    /// A JSON object, as UTF-8 text.
    pub data: Bytes,
    /// A JSON object of strings, as text.
    pub attributes: Option<Box<str>>,
}

/// Which of a batch's messages a queue takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// All of them.
    All,
    /// Those at these offsets, ascending; at least one.
    Offsets(Vec<i16>),
}

/// One queue's part of a batch. Delay and retention bind here, at publishing.
#[derive(Debug, Clone)]
pub struct NewSegment {
    /// The queue.
    pub queue: QueueId,
    /// What it takes.
    pub taken: Taken,
    /// How long until the first delivery.
    pub delay: Duration,
    /// How long the messages may wait; `None` for ever.
    pub retention: Option<Duration>,
}

/// The rows that a batch of an upload covers.
#[derive(Debug, Clone)]
pub struct RowsOf {
    /// For which upload, and by which right.
    pub fence: Fence,
    /// The sheet, as the reader numbered it.
    pub sheet: u16,
    /// The first row covered.
    pub first_row: RowNumber,
    /// The last row covered. Blank and rejected rows between are covered too.
    pub last_row: RowNumber,
    /// Its place in the turn among uploads, if it is held: batch 0, 1, 2, ... of this one.
    pub turn: i32,
    /// Whether the messages are held back until [`Log::release`](super::Log::release).
    pub held: bool,
    /// What was found in these rows: the row, and the finding as JSON.
    pub findings: Vec<(RowNumber, String)>,
    /// How many of these rows are duplicates, and so no messages.
    pub duplicates: u32,
}

/// Messages published together: the unit of commit.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// The topic.
    pub topic: TopicId,
    /// The version of the topic's routes by which `segments` was made.
    pub routes_version: i32,
    /// The first message's id; all lie in one block that was reserved for them.
    pub first_id: i64,
    /// At most [`BLOCK`]; none for a batch that only covers rows.
    pub messages: Vec<NewMessage>,
    /// The rows, if it is part of an upload.
    pub rows: Option<RowsOf>,
    /// A segment for each queue that takes any of it.
    pub segments: Vec<NewSegment>,
    /// How many messages no queue takes.
    pub unrouted: u32,
    /// Makes it once, if it has a name.
    pub once: Option<Publication>,
}

/// A publish that is made once, however often it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Its name, for its topic.
    pub key: String,
    /// What was asked, as a hash.
    pub fingerprint: String,
    /// What is answered, now and whenever it is asked for again.
    pub answer: String,
}

/// A message as it is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// Position in its lease.
    pub position: u16,
    /// Number.
    pub id: i64,
    /// 1 at the first delivery.
    pub attempt: Attempt,
    /// The sheet's number and the row, if it is a row of an upload.
    pub place: Option<(u16, RowNumber)>,
    /// JSON.
    pub data: Box<str>,
    /// JSON.
    pub attributes: Option<Box<str>>,
    /// When it was published, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it expires if it comes back unsettled and waits; `None` for never.
    pub expires_ms: Option<i64>,
}

/// A lease as it is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedLease {
    /// What settles it.
    pub receipt: Uuid,
    /// The upload that all of its messages belong to, if they do.
    pub upload: Option<UploadId>,
    /// How long it lasts from now.
    pub deadline: Duration,
    /// Which of the consumers that were served together it is for, from 0.
    pub consumer: usize,
    /// The messages, by position.
    pub messages: Vec<Handed>,
}

/// Why a receive brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptiness {
    /// Something is there, but others had it locked for a moment: look again at once.
    Contended,
    /// Nothing is there now; the first thing that waits for its time comes due then.
    Until(Option<Duration>),
}

/// What a receive brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// One or more leases.
    Leases(Vec<HandedLease>),
    /// Nothing.
    Empty(Emptiness),
}

/// How messages of an upload (or a queue) stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acked.
    pub done: u64,
    /// Dead.
    pub dead: u64,
    /// Expired before a delivery.
    pub expired: u64,
    /// Cancelled by a purge or with the upload.
    pub cancelled: u64,
}

impl Counts {
    /// Every message that has its outcome.
    pub fn ended(&self) -> u64 {
        self.done + self.dead + self.expired + self.cancelled
    }

    pub(super) fn add(&mut self, kind: i16, n: i64) {
        let n = u64::try_from(n).unwrap_or(0);
        match OutcomeKind::of(kind) {
            Some(OutcomeKind::Done) => self.done += n,
            Some(OutcomeKind::Dead) => self.dead += n,
            Some(OutcomeKind::Expired) => self.expired += n,
            Some(OutcomeKind::Cancelled) => self.cancelled += n,
            None => {}
        }
    }
}

/// How an upload stands, over all queues but the dead ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Rows that became messages.
    pub messages: u64,
    /// Those of them that no queue takes.
    pub unrouted: u64,
    /// Messages with their copies: one for each queue that takes a row.
    pub copies: u64,
    /// Rows that were rejected, as far as recorded.
    pub rejected: u64,
    /// Rows that are duplicates of others, and so no messages.
    pub duplicates: u64,
    /// Copies in consumers' hands.
    pub in_flight: u64,
    /// Of those that are done or dead, how many became so in the last minute.
    pub lately: u64,
    /// Copies that have ended.
    pub ended: Counts,
}

impl Standing {
    /// Copies that wait for a delivery.
    pub fn waiting(&self) -> u64 {
        self.copies.saturating_sub(self.ended.ended() + self.in_flight)
    }
}

/// Where a message of a queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// Waits for a delivery.
    Waiting,
    /// In a consumer's hands.
    InFlight,
    /// Has its outcome.
    Ended(Ended),
}

/// A message of a queue, as looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub id: i64,
    /// The queue.
    pub queue: QueueId,
    /// The upload it is a row of.
    pub upload: Option<UploadId>,
    /// The row.
    pub row: Option<RowNumber>,
    /// Where it is.
    pub at: Whereabouts,
}

/// Which outcomes are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutcomeQuery {
    /// Of this queue; of all unless told.
    pub queue: Option<QueueId>,
    /// Of this upload.
    pub upload: Option<UploadId>,
    /// That ended so.
    pub kind: Option<OutcomeKind>,
    /// After this message of this queue.
    pub after: Option<(QueueId, i64)>,
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutcomeKind {
    /// Acked.
    Done,
    /// Rejected, or out of attempts.
    Dead,
    /// Not delivered in time.
    Expired,
    /// Withdrawn before delivery.
    Cancelled,
}

impl OutcomeKind {
    /// The number that stands for it in the column `outcome.kind`.
    pub const fn number(self) -> i16 {
        match self {
            Self::Done => 1,
            Self::Dead => 2,
            Self::Expired => 3,
            Self::Cancelled => 4,
        }
    }

    pub(super) fn of(number: i16) -> Option<Self> {
        [Self::Done, Self::Dead, Self::Expired, Self::Cancelled]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// The recorded end of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub kind: OutcomeKind,
    /// Deliveries it took, as far as known: 1 when it was done at the first.
    pub attempts: Attempt,
    /// The output of a done one, as JSON text; `None` is `null`.
    pub output: Option<Box<str>>,
    /// The error of a dead one.
    pub error: Option<Box<str>>,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
}

/// One row of an upload and what became of it in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowOutcome {
    /// The message's number.
    pub id: i64,
    /// The sheet, as the reader numbered it.
    pub sheet: u16,
    /// The row.
    pub row: RowNumber,
    /// JSON.
    pub data: Box<str>,
    /// How it ended; `None` while it has not.
    pub ended: Option<Ended>,
}

/// Where a page of an upload's rows begins: after the batch that begins here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageAfter(pub(super) Option<(i16, i32)>);

/// A range of rows that an upload has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Covered {
    /// The sheet, as the reader numbered it.
    pub sheet: u16,
    /// The first row.
    pub first_row: RowNumber,
    /// The last row.
    pub last_row: RowNumber,
    /// Messages in it.
    pub messages: u32,
    /// Those that no queue took.
    pub unrouted: u32,
}

/// What settling needs to know of a lease and of the queue it is on.
#[derive(Debug, Clone)]
pub(super) struct LeaseRow {
    pub(super) id: Uuid,
    pub(super) queue: QueueId,
    pub(super) upload: Option<UploadId>,
    pub(super) first_id: i64,
    /// Positions.
    pub(super) n: usize,
    /// The ids, if they are not a run from `first_id`.
    pub(super) ids: Option<Vec<i64>>,
    /// The number of this delivery, by position; `None` when it is the first of all.
    pub(super) attempts: Option<Vec<i16>>,
    /// A `0` or `1` a position; `None` until a part is settled.
    pub(super) settled: Option<String>,
    pub(super) expiries: Expiries,
    pub(super) max_deliveries: i32,
    pub(super) retry: RetryPolicy,
    /// Whether ends are recorded: in a queue of plain messaging only those of uploads' rows are.
    pub(super) recorded: bool,
    pub(super) dead_queue: Option<QueueId>,
    /// How long a message may wait in the dead queue.
    pub(super) dead_retention_ms: Option<i64>,
    pub(super) now_ms: i64,
}

/// When the messages of a lease expire, as its column says: never, all at one time, or by position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expiries(pub(super) Option<Vec<Option<i64>>>);

impl Expiries {
    pub(super) fn at(&self, position: usize) -> Option<i64> {
        match self.0.as_deref()? {
            [one] => *one,
            all => all.get(position).copied().flatten(),
        }
    }

    /// Of messages that expire at these times, by position.
    pub(super) fn of(all: Vec<Option<i64>>) -> Self {
        Self(all.iter().any(Option::is_some).then_some(all))
    }
}

/// What went wrong with the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The topic's queues changed since the batch was routed: route again, publish again.
    #[error("the queues of the topic changed while publishing")]
    RoutesChanged,
    /// Another process has taken the upload over, or it has ended: nothing was committed.
    #[error("the upload was taken over by another process")]
    LeaseLost,
    /// A publish of that name was made before; this one made nothing.
    #[error("that was published before")]
    PublishedBefore(Publication),
    /// The batch was published before, by a call whose answer was lost.
    #[error("the batch was published before")]
    AlreadyThere,
    /// A message's data is not text.
    #[error("a message's data is not UTF-8 text")]
    NotText(#[from] std::str::Utf8Error),
    /// The database says something that the log never wrote.
    #[error("the message log is damaged: {0}")]
    Damaged(&'static str),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

impl LogError {
    /// Whether the database does not answer, so that the same may work later.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Database(error) if crate::error::is_outage(error))
    }
}
