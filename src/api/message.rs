//! Publishing, receiving, settling.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// A message to be published.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// A JSON object, kept as it is written.
    pub data: Box<RawValue>,
    /// What queues filter by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// `POST /topics/{topic}/messages`: one message, or `{"messages": […]}`.
#[derive(Debug, Clone)]
pub enum Publish {
    /// One; the answer tells all about its copies ([`Published::One`]).
    One(NewMessage),
    /// Many, in one step; the answer tells the ids of each ([`Published::Many`]).
    Many(Vec<NewMessage>),
}

/// The answer to [`Publish`]. Whoever asked knows which of the two it is, and reads that one.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Published {
    /// `{"data": [copy, …]}`: the copy made for each queue that takes the message.
    One {
        /// The copies.
        data: Vec<Copy>,
    },
    /// `{"messages": [{"ids": […]}, …]}`, in the order sent.
    Many {
        /// One for each message sent.
        messages: Vec<Accepted>,
    },
}

/// The ids of a message's copies, one a queue that takes it; none when none does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// They.
    pub ids: Vec<String>,
}

/// A message in one queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Copy {
    /// Its id.
    pub id: String,
    /// The queue's name.
    pub queue_id: String,
    /// The data as sent.
    pub data: Box<RawValue>,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// Deliveries so far.
    pub delivery_attempts: u16,
    /// When it was published.
    pub created_at: String,
    /// When it can be delivered.
    pub scheduled_at: String,
    /// When it expires if nobody has received it by then.
    pub expired_at: Option<String>,
    /// When it last changed.
    pub updated_at: String,
}

/// The right to settle one delivery: the lease, and the position in it. Written `LEASE.POSITION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The lease.
    pub lease: Uuid,
    /// The position.
    pub position: u16,
}

/// The kind of problem (after `/problems/`) that answers a settle of which every receipt is stale.
pub const STALE_RECEIPTS: &str = "stale-receipts";

/// What is not a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("that is no receipt: it is written as it came with the message")]
pub struct BadReceipt;

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.lease.simple(), self.position)
    }
}

impl FromStr for Receipt {
    type Err = BadReceipt;

    fn from_str(text: &str) -> Result<Self, BadReceipt> {
        let (lease, position) = text.split_once('.').ok_or(BadReceipt)?;
        Ok(Self {
            lease: Uuid::try_parse(lease).map_err(|_| BadReceipt)?,
            position: position.parse().map_err(|_| BadReceipt)?,
        })
    }
}

impl Serialize for Receipt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A message in a consumer's hands. `GET /queues/{queue}/messages` answers `{"data": […]}` of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    /// What settles it.
    pub receipt: Receipt,
    /// The message's id, the same at every attempt.
    pub id: String,
    /// The queue's name.
    pub queue_id: String,
    /// Deliveries so far, this one included: 1 at the first.
    pub delivery_attempts: u16,
    /// How long it may be kept from now on, in seconds.
    pub deadline_seconds: f64,
    /// When it was published.
    pub created_at: String,
    /// When it comes again if it is not settled: now, and the deadline.
    pub scheduled_at: String,
    /// When it expires if it has not ended by then.
    pub expired_at: Option<String>,
    /// When it was handed out.
    pub updated_at: String,
    /// The upload it is a row of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_id: Option<Uuid>,
    /// The uploaded file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// The sheet; a csv file has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// The row of the sheet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u32>,
    /// The data.
    pub data: Box<RawValue>,
    /// Attributes chosen at publishing: an object of strings.
    pub attributes: Option<Box<RawValue>>,
}

/// `POST /queues/{queue}/settle`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settle {
    /// Done.
    pub acks: Vec<Ack>,
    /// To be tried again.
    pub nacks: Vec<Nack>,
    /// Never to be tried again.
    pub rejects: Vec<Reject>,
    /// Handed back unprocessed: to be delivered again at once.
    pub releases: Vec<Receipt>,
}

/// One that is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// Which.
    pub receipt: Receipt,
    /// What came of it: any JSON, kept as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
}

/// One to be tried again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nack {
    /// Which.
    pub receipt: Receipt,
    /// Why, for the record.
    #[serde(default)]
    pub reason: String,
    /// When; the queue's back-off unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<f64>,
}

/// One never to be tried again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// Which.
    pub receipt: Receipt,
    /// Why, for the record.
    #[serde(default)]
    pub reason: String,
}

/// What a settle did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Acked by this call.
    pub done: u32,
    /// Dead by this call: rejected, or failed at the last attempt.
    pub dead: u32,
    /// Will come again.
    pub again: u32,
    /// Receipts that settle nothing any more: settled before, or their deadline passed.
    pub stale: Vec<Receipt>,
}

/// `POST /queues/{queue}/extend`: gives leases their queue's deadline anew, from now. A lease is
/// extended whole, by any of its receipts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// Receipts.
    pub receipts: Vec<Receipt>,
}

/// What became of one receipt in an extend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extended {
    /// Which.
    pub receipt: Receipt,
    /// How long from now; nothing when it was too late.
    pub deadline_seconds: Option<f64>,
}

impl<'de> Deserialize<'de> for Publish {
    /// Told apart by whether there is a field `messages`, so that an error is about the form meant.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Many {
            messages: Vec<NewMessage>,
        }
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let fields: BTreeMap<String, &RawValue> =
            serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        if fields.contains_key("messages") {
            let many: Many = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
            Ok(Self::Many(many.messages))
        } else {
            serde_json::from_str(raw.get()).map(Self::One).map_err(D::Error::custom)
        }
    }
}

impl Serialize for Publish {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(message) => message.serialize(serializer),
            Self::Many(messages) => BTreeMap::from([("messages", messages)]).serialize(serializer),
        }
    }
}
