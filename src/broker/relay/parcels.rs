//! Messages as parcels, and back.
//!
//! What rowmill says of a message travels as attributes: the four of a row, and two of its own, when
//! it was published and when it expires. What a foreign program sends has none of these and is a
//! message all the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::broker::carrier::{Handle, Parcel, REASON, Taken};
use crate::broker::error::BrokerError;
use crate::broker::published::{Publishing, RowBatch};
use crate::domain::number::named;
use crate::domain::{Attempt, MessageId, MessageKey, Origin, RowOfUpload};
use crate::store::log::{QueueId, UploadId};

const UPLOAD_ID: &str = "upload_id";
const FILENAME: &str = "filename";
const SHEET: &str = "sheet";
const ROW: &str = "row";
/// When it was published, in milliseconds since 1970 (UTC).
const CREATED: &str = "rowmill-created";
/// When it expires, likewise.
const EXPIRES: &str = "rowmill-expires";

/// When a message is published, and how long it is to wait and may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) now_ms: i64,
    pub(super) delay: Duration,
    pub(super) retention: Option<Duration>,
}

/// A message that is no row.
pub(super) fn parcel(
    id: String,
    data: Bytes,
    mut attributes: BTreeMap<String, String>,
    times: Times,
) -> Parcel {
    attributes.remove(REASON);
    attributes.insert(CREATED.to_owned(), times.now_ms.to_string());
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    match times.retention {
        Some(retention) => {
            let expires = times.now_ms.saturating_add(millis(retention));
            attributes.insert(EXPIRES.to_owned(), expires.to_string());
        }
        None => {
            attributes.remove(EXPIRES);
        }
    }
    Parcel { id, data, attributes, delay: times.delay }
}

/// The `at`th row of a batch.
pub(super) fn row(
    to: &Publishing,
    batch: &RowBatch,
    at: usize,
    id: String,
    times: Times,
) -> Option<Parcel> {
    let row = batch.rows.get(at)?;
    let chosen = row.attributes.as_ref().and_then(|json| serde_json::from_slice(json).ok());
    let mut attributes: BTreeMap<String, String> = chosen.unwrap_or_default();
    attributes.insert(UPLOAD_ID.to_owned(), to.upload_id.to_string());
    attributes.insert(FILENAME.to_owned(), to.filename.clone());
    if let Some(sheet) = &batch.sheet_name {
        attributes.insert(SHEET.to_owned(), sheet.clone());
    }
    attributes.insert(ROW.to_owned(), row.row.to_string());
    Some(parcel(id, row.data.clone(), attributes, times))
}

/// Bytes of a parcel, about, as engines count them.
pub(super) fn bytes(parcel: &Parcel) -> usize {
    let attributes = parcel.attributes.iter().map(|(name, value)| name.len() + value.len());
    parcel.id.len() + parcel.data.len() + attributes.sum::<usize>()
}

/// What a message that is no row comes to as a parcel, without making it: `empty` is what one comes to
/// that has neither data nor attributes.
pub(super) fn bytes_of(data: &Bytes, attributes: &BTreeMap<String, String>, empty: usize) -> usize {
    let own = |name: &str| !matches!(name, REASON | CREATED | EXPIRES);
    let own = attributes.iter().filter(|(name, _)| own(name));
    empty + data.len() + own.map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

/// Whose message a parcel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// Rowmill, into this queue.
    Ours(QueueId),
    /// Another program.
    Foreign,
}

/// A parcel that came out of a carrier, or is seen in one.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub(super) sender: Sender,
    /// Its id in the queue it is in, where it came with that.
    pub(super) id: Option<MessageId>,
    /// Its number; 0 for a foreign one without an id, until it is given one.
    pub(super) number: i64,
    pub(super) row: Option<RowOfUpload>,
    pub(super) attempt: Attempt,
    pub(super) data: Bytes,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) created_ms: i64,
    pub(super) expires_ms: Option<i64>,
    pub(super) reason: Option<String>,
    pub(super) handle: Handle,
}

/// What was taken from a queue at a time, as this installation's key tells it.
pub(super) fn came(key: &MessageKey, queue: QueueId, now_ms: i64, taken: Taken) -> Came {
    let id: Option<MessageId> = taken.id.as_deref().and_then(|id| id.parse().ok());
    let ours = id.and_then(|id| key.open(id)).and_then(known);
    let (sender, number) = match (ours, &taken.id) {
        (Some((of, number)), _) => (Sender::Ours(of), number),
        (None, Some(id)) => {
            let parts: [&[u8]; 3] = [b"foreign", &queue.0.to_be_bytes(), id.as_bytes()];
            (Sender::Foreign, named(&parts))
        }
        (None, None) => (Sender::Foreign, 0),
    };
    let mut attributes = taken.attributes;
    let mut millis = |name| attributes.remove(name).and_then(|text| text.parse::<i64>().ok());
    let (created_ms, expires_ms) = (millis(CREATED).unwrap_or(now_ms), millis(EXPIRES));
    Came {
        sender,
        id: id.filter(|_| sender == Sender::Ours(queue)),
        number,
        row: RowOfUpload::of(number).filter(|_| sender != Sender::Foreign),
        attempt: Attempt::try_from(taken.attempt).unwrap_or(Attempt::MAX).max(1),
        reason: attributes.remove(REASON),
        data: taken.data,
        attributes,
        created_ms,
        expires_ms,
        handle: taken.handle,
    }
}

fn known((queue, number): (u32, u64)) -> Option<(QueueId, i64)> {
    Some((QueueId(i32::try_from(queue).ok()?), i64::try_from(number).ok()?))
}

impl Came {
    /// The upload it is a row of.
    pub(super) fn upload(&self) -> Option<UploadId> {
        self.row.map(|row| UploadId(row.upload))
    }

    /// Takes out of the attributes where it came from, if it is a row.
    pub(super) fn origin(&mut self) -> Option<Origin> {
        let row = self.row?.row;
        let upload_id: Uuid = self.attributes.remove(UPLOAD_ID)?.parse().ok()?;
        let filename = Arc::from(self.attributes.remove(FILENAME).unwrap_or_default());
        let sheet = self.attributes.remove(SHEET).map(Arc::from);
        self.attributes.remove(ROW);
        Some(Origin { upload_id, filename, sheet, row })
    }

    /// The attributes that are left, as JSON; nothing when there are none.
    pub(super) fn attributes_json(&self) -> Result<Option<Box<str>>, BrokerError> {
        if self.attributes.is_empty() {
            return Ok(None);
        }
        let json = serde_json::to_string(&self.attributes);
        Ok(Some(json.map_err(|error| BrokerError::Store(Box::new(error)))?.into()))
    }

    /// The data as text. Rowmill's own was looked at when it was published; a foreign program may
    /// have sent anything.
    pub(super) fn text(&self) -> Option<Box<str>> {
        let text = std::str::from_utf8(&self.data).ok()?;
        if self.sender == Sender::Foreign {
            let object = text.trim_start().starts_with('{');
            let json = object && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            return json.then(|| text.trim().into());
        }
        Some(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(id: Option<String>, data: &'static str) -> Taken {
        let attributes = BTreeMap::from([("color".to_owned(), "red".to_owned())]);
        let handle = Handle("1-0".into());
        Taken { id, data: Bytes::from_static(data.as_bytes()), attributes, attempt: 2, handle }
    }

    #[test]
    fn what_is_sent_comes_back_as_it_was() {
        let key = MessageKey::new(b"secret");
        let times =
            Times { now_ms: 5, delay: Duration::ZERO, retention: Some(Duration::from_millis(10)) };
        let attributes = BTreeMap::from([(REASON.to_owned(), "an earlier life".to_owned())]);
        let id = || key.id(3, 77).to_string();
        let empty = bytes(&parcel(id(), Bytes::new(), BTreeMap::new(), times));
        let known = bytes_of(&Bytes::from_static(b"{}"), &attributes, empty);
        let sent = parcel(id(), Bytes::from_static(b"{}"), attributes, times);
        assert_eq!(known, bytes(&sent));
        let back = Taken {
            id: Some(sent.id.clone()),
            data: sent.data.clone(),
            attributes: sent.attributes.clone(),
            attempt: 1,
            handle: Handle("h".into()),
        };
        let came = came(&key, QueueId(9), 100, back);
        assert_eq!((came.sender, came.number), (Sender::Ours(QueueId(3)), 77));
        assert_eq!((came.created_ms, came.expires_ms, came.reason.as_deref()), (5, Some(15), None));
        assert_eq!(came.attributes_json().unwrap(), None);
    }

    #[test]
    fn what_a_foreign_program_sent_is_a_message_by_its_own_id() {
        let key = MessageKey::new(b"secret");
        let of = |queue, id: Option<&str>, data| {
            came(&key, QueueId(queue), 100, taken(id.map(str::to_owned), data))
        };
        let one = of(1, Some("order-7"), r#" {"a":1} "#);
        assert_eq!((one.sender, one.row, one.created_ms), (Sender::Foreign, None, 100));
        assert_eq!(one.number, of(1, Some("order-7"), "{}").number);
        assert_ne!(one.number, of(2, Some("order-7"), "{}").number);
        assert_eq!(one.text().as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(of(1, None, "{}").number, 0);
        for bad in ["", "[1]", "{\"a\":", "hello"] {
            assert_eq!(of(1, None, bad).text(), None, "{bad}");
        }
    }
}
