//! A message in somebody's hands: its public id, the receipt it was handed out under, and the
//! verdicts that end a delivery.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::{QueueName, RowNumber};

/// Which delivery of a message this is: 1 for the first.
pub type Attempt = u16;

/// The public id of a message in a queue: a UUID (version 8) of the queue's number, the message's
/// number and a short keyed check. It is found with no table of its own, and ids cannot be guessed
/// from one another.
///
/// Layout, most significant first: 24 bits of queue, 24 bits of message, the version (4 bits), 12
/// bits of message, the variant (2 bits), 24 bits of message, 38 bits of check. A message's number
/// has 60 bits, a queue's 24; both bounds are far beyond what sequences reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Uuid);

/// The secret with which one installation checks message ids.
#[derive(Clone)]
pub struct MessageKey(Hmac<Sha256>);

impl fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageKey(..)")
    }
}

const CHECK_BITS: u32 = 38;

impl MessageKey {
    /// The key made of an installation's secret, of any length.
    pub fn new(secret: &[u8]) -> Self {
        // HMAC takes keys of every length (RFC 2104), so the error cannot happen; were it to, the
        // empty key would still be a valid one.
        Self(Hmac::new_from_slice(secret).unwrap_or_else(|_| Hmac::new(&Default::default())))
    }

    /// A secret for another purpose, which tells nothing of this one. The label is that purpose's
    /// name; it is longer than what an id is checked by, so that neither can stand for the other.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        debug_assert!(label.len() > 12, "{label} could be a message");
        let mut mac = self.0.clone();
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn check(&self, queue: u32, message: u64) -> u64 {
        let mut mac = self.0.clone();
        mac.update(&queue.to_be_bytes());
        mac.update(&message.to_be_bytes());
        let sum = mac.finalize().into_bytes();
        sum.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte)) >> (64 - CHECK_BITS)
    }

    /// The public id of a message in a queue.
    pub fn id(&self, queue: u32, message: u64) -> MessageId {
        let check = u128::from(self.check(queue, message));
        let (q, m) = (u128::from(queue & 0xFF_FFFF), u128::from(message));
        let bits = q << 104
            | (m >> 36 & 0xFF_FFFF) << 80
            | 0x8 << 76
            | (m >> 24 & 0xFFF) << 64
            | 0b10 << 62
            | (m & 0xFF_FFFF) << CHECK_BITS
            | check;
        MessageId(Uuid::from_u128(bits))
    }

    /// The queue's and the message's number, if this installation made the id.
    pub fn open(&self, id: MessageId) -> Option<(u32, u64)> {
        let bits = id.0.as_u128();
        // Every part is masked to its width, so none of the casts loses a bit.
        let queue = (bits >> 104) as u32 & 0xFF_FFFF;
        let high = (bits >> 80) as u64 & 0xFF_FFFF;
        let middle = (bits >> 64) as u64 & 0xFFF;
        let low = (bits >> CHECK_BITS) as u64 & 0xFF_FFFF;
        let message = high << 36 | middle << 24 | low;
        (self.id(queue, message) == id).then_some((queue, message))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// The only right to settle, extend or hand back a lease: random and never issued twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receipt(pub Uuid);

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a message came from, when it is a row of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The upload's public id.
    pub upload_id: Uuid,
    /// The file's name as it was given.
    pub filename: Arc<str>,
    /// The sheet's name; none for a csv file.
    pub sheet: Option<Arc<str>>,
    /// The row in that sheet.
    pub row: RowNumber,
}

/// One message in a consumer's hands.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The lease it belongs to.
    pub receipt: Receipt,
    /// Its position in that lease, from 0: what a settlement names.
    pub position: u16,
    /// Its public id, the same at every attempt.
    pub id: MessageId,
    /// 1 at the first delivery.
    pub attempt: Attempt,
    /// The row it was, if it was one.
    pub origin: Option<Origin>,
    /// The data: a JSON object, as text.
    pub data: Box<str>,
    /// Attributes chosen at publishing (a JSON object of strings, as text), if any were.
    pub attributes: Option<Box<str>>,
    /// When it was published, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it expires if it has not ended by then; `None` for never.
    pub expires_ms: Option<i64>,
}

/// How a message of a queue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageState {
    /// Waits for a delivery, now or from its time on.
    Waiting,
    /// Published with a file that is still being read: held back until it is read to its end.
    Held,
    /// In a consumer's hands.
    InFlight,
    /// Acked.
    Done,
    /// Rejected, or out of attempts.
    Dead,
    /// Waited longer than its queue's retention.
    Expired,
    /// Withdrawn before delivery.
    Cancelled,
}

/// A message of a queue, as looked at without taking it.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its public id.
    pub id: MessageId,
    /// The queue.
    pub queue: QueueName,
    /// How it stands.
    pub state: MessageState,
    /// The row it was, if it was one.
    pub origin: Option<Origin>,
    /// The data: a JSON object, as text.
    pub data: Box<str>,
    /// Attributes chosen at publishing (a JSON object of strings, as text), if any were.
    pub attributes: Option<Box<str>>,
    /// Deliveries so far.
    pub attempts: Attempt,
    /// When it was published, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it can be delivered next; in a consumer's hands, when its deadline passes.
    pub scheduled_ms: i64,
    /// When it expires if it has not ended by then; `None` for never.
    pub expires_ms: Option<i64>,
    /// When it last changed, as far as recorded.
    pub updated_ms: i64,
    /// Why it failed last.
    pub reason: Option<Box<str>>,
}

/// How a queue stands at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct QueueStats {
    /// What it holds.
    pub depth: Depth,
    /// What its dead queue holds; 0 without one.
    pub dead: u64,
    /// How long ago the oldest message was published that has not ended.
    pub oldest: Option<Duration>,
    /// Messages published to it in a second, over the last minute.
    pub published_per_second: f64,
    /// Messages that ended in a second, over the last minute. Ends that are not recorded, because the
    /// queue is for plain messaging, are not counted.
    pub ended_per_second: f64,
}

/// A slice of a queue in one consumer's hands until its deadline.
#[derive(Debug, Clone)]
pub struct Lease {
    /// What settles it.
    pub receipt: Receipt,
    /// How long it lasts from the moment it was received, unless extended.
    pub deadline: Duration,
    /// Its messages, by position.
    pub deliveries: Vec<Delivery>,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Ack: done, with an output (any JSON value, as text) to be kept.
    Done {
        /// JSON text; `None` records `null`.
        output: Option<Box<str>>,
    },
    /// Nack: try again later. At the last attempt the message dies of it.
    Retry {
        /// Why, for the record.
        reason: Box<str>,
        /// When; `None` leaves it to the queue's back-off.
        after: Option<Duration>,
    },
    /// Never try again: dead, and in the dead queue if there is one.
    Reject {
        /// Why, for the record.
        reason: Box<str>,
    },
    /// Handed back unprocessed, by a worker that stops: to be delivered again at once, whatever
    /// the number of attempts, because nothing went wrong with it.
    Release,
}

/// The verdict on one position of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The position, from 0.
    pub position: u16,
    /// What became of it.
    pub verdict: Verdict,
}

/// What a settle call did to one lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Positions that were acked by this call.
    pub done: u32,
    /// Positions that died by this call: rejected, or failed at their last attempt.
    pub dead: u32,
    /// Positions that will come again.
    pub again: u32,
    /// Positions that this receipt could no longer settle: settled before, or swept away.
    pub stale: Vec<u16>,
}

/// What a queue holds at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Waiting for a delivery now.
    pub ready: u64,
    /// Waiting for a time to come: delayed, or backing off.
    pub delayed: u64,
    /// Published but held back until the whole file is.
    pub held: u64,
    /// In consumers' hands.
    pub in_flight: u64,
}

impl Depth {
    /// Everything that has not ended.
    pub fn total(&self) -> u64 {
        self.ready + self.delayed + self.held + self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_opens_to_what_it_was_made_of(queue in 0_u32..1 << 24, message in 0_u64..1 << 60) {
            let key = MessageKey::new(b"secret");
            let id = key.id(queue, message);
            prop_assert_eq!(key.open(id), Some((queue, message)));
            prop_assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
            prop_assert_eq!(id.0.get_version_num(), 8);
            prop_assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
        }

        #[test]
        fn a_changed_id_does_not_open(message in 0_u64..1 << 60, bit in 0_u32..128) {
            let key = MessageKey::new(b"secret");
            let changed = MessageId(Uuid::from_u128(key.id(7, message).0.as_u128() ^ 1 << bit));
            prop_assert_eq!(key.open(changed), None);
            prop_assert_eq!(MessageKey::new(b"other").open(key.id(7, message)), None);
        }
    }
}
