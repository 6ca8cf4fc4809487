//! A parcel as an entry of a stream, and a delivery's handle.
//!
//! What was not written by this driver is read with good will: an entry without `data` is taken for
//! an object of its plain fields, so that `XADD {orders} * number 7` is a message.

use std::collections::BTreeMap;

use bytes::Bytes;
use redis::Value;

use crate::broker::carrier::{Failed, Handle, Parcel, Taken};

/// The sender's id of a parcel.
const ID: &str = "id";
/// The data of a parcel.
const DATA: &str = "data";
/// Before the name of an attribute.
const ATTRIBUTE: &str = "attr:";
/// Deliveries in earlier entries of the same parcel.
const ATTEMPTS: &str = "attempts";
/// When the first of those came, in milliseconds.
const SINCE: &str = "since";

/// The field of an attribute.
pub(super) fn attribute(name: &str) -> String {
    format!("{ATTRIBUTE}{name}")
}

/// Hands the fields of a parcel on, a name and a value in turn.
pub(super) fn fields(parcel: &Parcel, mut add: impl FnMut(&[u8])) {
    add(ID.as_bytes());
    add(parcel.id.as_bytes());
    add(DATA.as_bytes());
    add(&parcel.data);
    let mut field = String::from(ATTRIBUTE);
    for (name, value) in &parcel.attributes {
        field.truncate(ATTRIBUTE.len());
        field.push_str(name);
        add(field.as_bytes());
        add(value.as_bytes());
    }
}

/// How many fields and values those are.
pub(super) fn field_count(parcel: &Parcel) -> usize {
    2 * (2 + parcel.attributes.len())
}

/// How large a parcel is: body and headers together.
pub(super) fn size(parcel: &Parcel) -> usize {
    let attributes = parcel.attributes.iter().map(|(name, value)| name.len() + value.len());
    parcel.id.len() + parcel.data.len() + attributes.sum::<usize>()
}

/// An entry, as read.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its id in the stream.
    pub(super) id: String,
    sender_id: Option<String>,
    data: Bytes,
    attributes: BTreeMap<String, String>,
    /// Deliveries before those of this entry.
    pub(super) attempts: u32,
    /// When the parcel came, in milliseconds.
    pub(super) since: i64,
}

/// A value that must be an array.
pub(super) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// A value that must be a number.
pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// A value that must be bytes.
pub(super) fn text(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(text) => Some(text),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

fn string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

impl Entry {
    /// Reads `[id, [field, value, …]]`; `None` when it is nothing of the kind.
    pub(super) fn read(value: Value) -> Option<Self> {
        let mut parts = array(value)?.into_iter();
        Self::of(parts.next()?, parts.next()?)
    }

    /// Reads an id and its fields.
    pub(super) fn of(id: Value, fields: Value) -> Option<Self> {
        let id = string(text(id)?);
        let mut entry = Self {
            since: id.split('-').next()?.parse().ok()?,
            id,
            sender_id: None,
            data: Bytes::new(),
            attributes: BTreeMap::new(),
            attempts: 0,
        };
        let (mut data, mut plain) = (None, serde_json::Map::new());
        let mut fields = array(fields)?.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            let (name, value) = (string(text(name)?), text(value)?);
            match name.as_str() {
                ID => entry.sender_id = Some(string(value)),
                DATA => data = Some(Bytes::from(value)),
                ATTEMPTS => entry.attempts = string(value).parse().unwrap_or(0),
                SINCE => entry.since = string(value).parse().unwrap_or(entry.since),
                _ => match name.strip_prefix(ATTRIBUTE) {
                    Some(name) => drop(entry.attributes.insert(name.to_owned(), string(value))),
                    None => drop(plain.insert(name, string(value).into())),
                },
            }
        }
        let plain = || Bytes::from(serde_json::Value::Object(plain).to_string());
        entry.data = data.unwrap_or_else(plain);
        Some(entry)
    }

    /// As a delivery, the `count`th of this entry; nobody else gets it before `until_ms`.
    pub(super) fn taken(self, count: u32, until_ms: Option<i64>) -> Taken {
        Taken {
            handle: Delivery { entry: self.id, count, until_ms }.handle(),
            id: self.sender_id,
            data: self.data,
            attributes: self.attributes,
            attempt: self.attempts.saturating_add(count),
        }
    }

    /// As something that waits.
    pub(super) fn parcel(self) -> Parcel {
        Parcel {
            id: self.sender_id.unwrap_or_default(),
            data: self.data,
            attributes: self.attributes,
            delay: std::time::Duration::ZERO,
        }
    }
}

/// What a handle says: the entry, and which of its deliveries. One that came again has another count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) entry: String,
    pub(super) count: u32,
    /// Until when nobody else gets it, unless it is told to end sooner: by the server's clock, in
    /// milliseconds, and not later than it is.
    pub(super) until_ms: Option<i64>,
}

impl Delivery {
    pub(super) fn handle(&self) -> Handle {
        Handle(match self.until_ms {
            Some(until) => format!("{}/{}/{until}", self.entry, self.count),
            None => format!("{}/{}", self.entry, self.count),
        })
    }

    /// Reads a handle.
    pub(super) fn of(handle: &Handle) -> Result<Self, Failed> {
        let read = || {
            let mut parts = handle.0.split('/');
            let (entry, count) = (parts.next()?, parts.next()?.parse().ok()?);
            let until_ms = parts.next().map(|until| until.parse().ok());
            let until_ms = if let Some(until) = until_ms { Some(until?) } else { None };
            let (time, number) = entry.split_once('-')?;
            let _: (u64, u64) = (time.parse().ok()?, number.parse().ok()?);
            let over = parts.next().is_none();
            over.then(|| Self { entry: entry.to_owned(), count, until_ms })
        };
        read().ok_or_else(|| Failed::Refused(format!("`{}` is no receipt of Redis", handle.0)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(fields: &[&str]) -> Entry {
        let fields = Value::Array(fields.iter().map(|field| bulk(field)).collect());
        Entry::of(bulk("1700000000000-3"), fields).unwrap()
    }

    #[test]
    fn a_parcel_comes_back_as_it_went() {
        let parcel = Parcel {
            id: "7".into(),
            data: Bytes::from_static(b"{\"id\": \"data\"}"),
            attributes: [("id", "1"), ("attr:x", "2"), ("", "3")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            delay: Duration::ZERO,
        };
        let mut sent = Vec::new();
        fields(&parcel, |part| sent.push(String::from_utf8(part.to_vec()).unwrap()));
        assert_eq!(sent.len(), field_count(&parcel));
        let sent: Vec<_> = sent.iter().map(String::as_str).collect();
        assert_eq!(entry(&sent).parcel(), parcel);
    }

    #[test]
    fn what_others_wrote_is_read_with_good_will() {
        let plain = entry(&["number", "7", "name", "ü\"", "attr:row", "1"]).taken(1, None);
        assert_eq!(
            plain.data,
            Bytes::from_static("{\"name\":\"ü\\\"\",\"number\":\"7\"}".as_bytes())
        );
        assert_eq!(plain.attributes, BTreeMap::from([("row".to_owned(), "1".to_owned())]));
        assert_eq!((plain.id, plain.attempt), (None, 1));
        let again = entry(&["data", "{}", "attempts", "4", "since", "1600000000000"]);
        assert_eq!(again.since, 1_600_000_000_000);
        assert_eq!(again.taken(2, None).attempt, 6);
        assert_eq!(entry(&["data", "{}"]).since, 1_700_000_000_000);
    }

    #[test]
    fn a_handle_names_its_delivery() {
        for until_ms in [None, Some(1_700_000_060_000)] {
            let delivery = Delivery { entry: "1700000000000-3".into(), count: 2, until_ms };
            assert_eq!(Delivery::of(&delivery.handle()).unwrap(), delivery);
        }
        for bad in ["", "1-1", "1/2", "a-1/2", "1-1/x", "1-1-1/2", "-1-1/2", "1-1/2/x", "1-1/2/3/4"]
        {
            assert!(Delivery::of(&Handle(bad.into())).is_err(), "{bad} was taken");
        }
    }
}
