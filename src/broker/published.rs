//! What is given to a broker to publish, and what it says of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::{Finding, MessageId, QueueName, Row, RowNumber};
use crate::store::log::{Fence, TopicId};

/// A place in the order of messages, for at most `room` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The first message's number.
    pub first_id: i64,
    /// How many fit.
    pub room: usize,
}

/// A range of an upload's rows, to be committed together.
#[derive(Debug, Clone)]
pub struct RowBatch {
    /// Its place in the order.
    pub ticket: Ticket,
    /// The sheet, as the reader numbered it.
    pub sheet: u16,
    /// The sheet's name, an attribute of each of its messages; a csv file has none.
    pub sheet_name: Option<String>,
    /// The first row it covers.
    pub first_row: RowNumber,
    /// The last row it covers.
    pub last_row: RowNumber,
    /// Batch 0, 1, 2, ... of the upload.
    pub turn: i32,
    /// Its rows, ascending; no more than the ticket has room for. Their attributes are seen by
    /// filters and kept with the message; the four of an upload are added to these.
    pub rows: Vec<Row>,
    /// What was found in them, and in the rows between that became no message.
    pub findings: Vec<Finding>,
    /// How many of the rows it covers are duplicates, and so not among `rows`.
    pub duplicates: u32,
}

/// For whom a batch is published, and how.
#[derive(Debug, Clone)]
pub struct Publishing {
    /// Where to.
    pub topic: TopicId,
    /// By which right.
    pub fence: Fence,
    /// The upload's public id, an attribute of each of its messages.
    pub upload_id: uuid::Uuid,
    /// The file's name, an attribute too.
    pub filename: String,
    /// Whether the messages are held back until the whole file is published.
    pub held: bool,
}

/// A message to be published that is no row of an upload.
#[derive(Debug, Clone)]
pub struct MessageBody {
    /// A JSON object, as text.
    pub data: Bytes,
    /// What queues filter by.
    pub attributes: BTreeMap<String, String>,
}

/// What makes a publish happen once, however often it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The asker's name for it.
    pub key: String,
    /// What it must be the same as, if the key was used before: a hash of the request.
    pub fingerprint: String,
}

/// A published message in one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOf {
    /// The queue.
    pub queue: QueueName,
    /// The message's id there.
    pub id: MessageId,
    /// How long until the first delivery.
    pub delay: Duration,
    /// How long it may wait.
    pub retention: Option<Duration>,
}

/// What publishing a batch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Messages that some queue takes.
    pub routed: u64,
    /// Messages that none takes.
    pub unrouted: u64,
}
