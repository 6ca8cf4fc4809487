//! A parcel as RabbitMQ's own clients see it: `message_id`, headers of text, a JSON body.
//!
//! Some headers mean something to the server: `CC` and `BCC` are further addresses, and a message
//! whose `CC` is a text closes the channel; `x-death` and its like are the server's notes. An
//! attribute of such a name, which a column may well have, travels under [`ESCAPE`] and its name.

use std::collections::BTreeMap;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::broker::carrier::{Failed, Parcel, REASON};

/// How many deliveries a message had before it was sent anew, after a delay: the server counts those
/// of one life only.
const ATTEMPTS: &str = "rowmill-attempts";
/// When a message in a delay queue is due, in milliseconds since 1970 (UTC).
const DUE: &str = "rowmill-due";
/// The type of a message that asks whether its queue is there, and says nothing else.
const PROBE: &str = "rowmill-probe";
/// What stands before an attribute's name that the server would take for its own.
const ESCAPE: &str = "rowmill-attribute-";
/// How much of a reason travels, in bytes.
const REASON_BYTES: usize = 4 << 10;
/// What a header frame has beside its headers, at most: four short texts, numbers, its own head.
const FRAME_REST: usize = 8 << 10;
const PERSISTENT: u8 = 2;

/// How large a message may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Body and headers.
    pub(super) parcel: usize,
    /// A frame: headers must fit into one.
    pub(super) frame: usize,
}

/// A message on its way to the server.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// The queue.
    pub(super) key: ShortString,
    pub(super) body: Bytes,
    pub(super) properties: BasicProperties,
}

/// What is changed of a message that is sent anew.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anew<'a> {
    /// It goes on where it was, later: this many deliveries are behind it, and it is due then.
    Later(u32, Option<i64>),
    /// It waited in a delay queue and is due.
    Due,
    /// It goes to the dead, and why.
    Dead(&'a str),
    /// A new life.
    Fresh,
}

impl Letter {
    /// A parcel for a queue, or for a delay queue until it is due.
    ///
    /// # Errors
    /// [`Failed::Refused`]: it does not fit.
    pub(super) fn of(
        parcel: Parcel,
        key: ShortString,
        due_ms: Option<i64>,
        sizes: Sizes,
    ) -> Result<Self, Failed> {
        let mut headers = BTreeMap::new();
        for (name, value) in parcel.attributes {
            headers.insert(header(&name)?, AMQPValue::LongString(value.into()));
        }
        headers.extend(due_ms.map(|due_ms| (DUE.into(), AMQPValue::LongLongInt(due_ms))));
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(short(parcel.id, "id")?);
        Self::checked(key, parcel.data, properties, headers, sizes)
    }

    /// What was taken, to be sent anew: as it was, but for what the server wrote on it and what a
    /// second sending would be refused or misled by.
    ///
    /// # Errors
    /// [`Failed::Refused`]: it does not fit any more.
    pub(super) fn anew(
        body: &Bytes,
        properties: &BasicProperties,
        how: Anew<'_>,
        key: ShortString,
        sizes: Sizes,
    ) -> Result<Self, Failed> {
        let mut headers = properties.headers().as_ref().map_or_else(BTreeMap::new, |headers| {
            let kept = headers.inner().iter().filter(|(name, _)| !ours(name.as_str()));
            kept.map(|(name, value)| (name.clone(), value.clone())).collect()
        });
        match how {
            Anew::Later(attempts, due_ms) => {
                headers.insert(ATTEMPTS.into(), AMQPValue::LongLongInt(attempts.into()));
                headers.extend(due_ms.map(|due_ms| (DUE.into(), AMQPValue::LongLongInt(due_ms))));
            }
            Anew::Due => {
                // Deliveries to whoever brings it on are none.
                let attempts = number(properties, ATTEMPTS);
                headers.extend(attempts.map(|n| (ATTEMPTS.into(), AMQPValue::LongLongInt(n))));
            }
            Anew::Dead(reason) => {
                let end = reason.floor_char_boundary(REASON_BYTES);
                headers.insert(REASON.into(), AMQPValue::LongString(reason[..end].into()));
            }
            Anew::Fresh => {
                headers.remove(REASON);
            }
        }
        // The sender's user must be the connection's, and its expiry would cut a delay short.
        let mut kept = BasicProperties::default().with_delivery_mode(PERSISTENT);
        macro_rules! keep {
            ($($field:ident $with:ident)*) => {$(
                if let Some(value) = properties.$field() { kept = kept.$with(value.clone()); }
            )*};
        }
        keep!(content_type with_content_type content_encoding with_content_encoding
            priority with_priority correlation_id with_correlation_id reply_to with_reply_to
            message_id with_message_id timestamp with_timestamp kind with_type app_id with_app_id);
        Self::checked(key, body.clone(), kept, headers, sizes)
    }

    /// A message that is lost or answered for by whether its queue is there.
    pub(super) fn probe(key: ShortString) -> Self {
        let properties = BasicProperties::default().with_type(PROBE.into());
        Self { key, body: Bytes::new(), properties }
    }

    fn checked(
        key: ShortString,
        body: Bytes,
        properties: BasicProperties,
        headers: BTreeMap<ShortString, AMQPValue>,
        sizes: Sizes,
    ) -> Result<Self, Failed> {
        let headers = FieldTable::from(headers);
        let (bytes, most) = (table_bytes(&headers), sizes.frame.saturating_sub(FRAME_REST));
        if bytes > most {
            let why = format!("its attributes have {bytes} bytes, and room is for {most}");
            return Err(Failed::Refused(why));
        }
        let (bytes, most) = (bytes + body.len(), sizes.parcel);
        if bytes > most {
            return Err(Failed::Refused(format!("it has {bytes} bytes, and room is for {most}")));
        }
        Ok(Self { key, body, properties: properties.with_headers(headers) })
    }

    /// What it counts for among what is unconfirmed, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.body.len() + self.properties.headers().as_ref().map_or(0, table_bytes)
    }
}

/// What the sender called it.
pub(super) fn id(properties: &BasicProperties) -> Option<String> {
    properties.message_id().as_ref().map(ToString::to_string)
}

/// Which delivery this is, from 1 on.
pub(super) fn attempt(properties: &BasicProperties) -> u32 {
    let number = |name: &str| number(properties, name).unwrap_or(0).max(0);
    // From 4.3 on the server counts failures by one number and deliveries by another.
    let before = number("x-acquired-count").max(number("x-delivery-count"));
    let all = before.saturating_add(number(ATTEMPTS)).saturating_add(1);
    u32::try_from(all).unwrap_or(u32::MAX)
}

/// When a message in a delay queue is due, in milliseconds since 1970 (UTC), if it says so.
pub(super) fn due_ms(properties: &BasicProperties) -> Option<i64> {
    number(properties, DUE)
}

/// Whether it is no message, but asked for its queue.
pub(super) fn is_probe(properties: &BasicProperties) -> bool {
    properties.kind().as_ref().is_some_and(|kind| kind.as_str() == PROBE)
}

fn number(properties: &BasicProperties, header: &str) -> Option<i64> {
    properties.headers().as_ref()?.inner().get(header).and_then(integer)
}

/// What travels beside it. A message that the server itself gave to the dead says so as its reason.
pub(super) fn attributes(properties: &BasicProperties) -> BTreeMap<String, String> {
    let Some(headers) = properties.headers() else { return BTreeMap::new() };
    let told = headers.inner().iter().filter(|(name, _)| !ours(name.as_str()));
    let mut attributes: BTreeMap<String, String> = told
        .filter_map(|(name, value)| {
            let name = name.as_str();
            Some((name.strip_prefix(ESCAPE).unwrap_or(name).to_owned(), text(value)?))
        })
        .collect();
    if let Some(reason) = death(headers).filter(|_| !attributes.contains_key(REASON)) {
        attributes.insert(REASON.to_owned(), reason);
    }
    attributes
}

/// Why the server gave it up last, if it did.
fn death(headers: &FieldTable) -> Option<String> {
    let deaths = headers.inner().get("x-death")?.as_array()?;
    let AMQPValue::FieldTable(last) = deaths.as_slice().first()? else { return None };
    let reason = text(last.inner().get("reason")?)?;
    Some(match reason.as_str() {
        "delivery_limit" => {
            "RabbitMQ gave it up: it was delivered too often and never settled".to_owned()
        }
        other => format!("RabbitMQ gave it up: {other}"),
    })
}

/// Whether a header is the server's note, or this driver's.
fn ours(name: &str) -> bool {
    let own = ["CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count", ATTEMPTS, DUE];
    own.contains(&name)
        || ["x-first-death-", "x-last-death-", "x-opt-"].iter().any(|own| name.starts_with(own))
}

fn header(attribute: &str) -> Result<ShortString, Failed> {
    if ours(attribute) || attribute.starts_with(ESCAPE) {
        return short(format!("{ESCAPE}{attribute}"), "attribute's name");
    }
    short(attribute.to_owned(), "attribute's name")
}

fn short(text: String, what: &str) -> Result<ShortString, Failed> {
    ShortString::try_new(text)
        .map_err(|_| Failed::Refused(format!("an {what} has at most 255 bytes here")))
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::Boolean(value) => Some(value.to_string()),
        AMQPValue::Float(value) => Some(value.to_string()),
        AMQPValue::Double(value) => Some(value.to_string()),
        AMQPValue::Timestamp(seconds) => Some(seconds.to_string()),
        other => integer(other).map(|number| number.to_string()),
    }
}

fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(n) => Some((*n).into()),
        AMQPValue::ShortShortUInt(n) => Some((*n).into()),
        AMQPValue::ShortInt(n) => Some((*n).into()),
        AMQPValue::ShortUInt(n) => Some((*n).into()),
        AMQPValue::LongInt(n) => Some((*n).into()),
        AMQPValue::LongUInt(n) => Some((*n).into()),
        AMQPValue::LongLongInt(n) => Some(*n),
        _ => None,
    }
}

fn table_bytes(table: &FieldTable) -> usize {
    let entry = |(name, value): (&ShortString, &AMQPValue)| 1 + name.as_str().len() + bytes(value);
    4 + table.inner().iter().map(entry).sum::<usize>()
}

/// A value with its kind.
fn bytes(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::Void => 0,
        AMQPValue::LongString(text) => 4 + text.len(),
        AMQPValue::ShortString(text) => 4 + text.as_str().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldTable(table) => table_bytes(table),
        AMQPValue::FieldArray(values) => 4 + values.as_slice().iter().map(bytes).sum::<usize>(),
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SIZES: Sizes = Sizes { parcel: 1 << 20, frame: 128 << 10 };

    fn parcel(attributes: &[(&str, &str)]) -> Parcel {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Parcel {
            id: "7".into(),
            data: Bytes::from_static(b"{}"),
            attributes: attributes.iter().map(own).collect(),
            delay: Duration::ZERO,
        }
    }

    fn letter(parcel: Parcel) -> Result<Letter, Failed> {
        Letter::of(parcel, "q".into(), None, SIZES)
    }

    #[test]
    fn names_that_the_server_has_a_use_for_come_back_as_they_went() {
        let servers = ["CC", "BCC", "x-death", "x-delivery-count"];
        let all = [&servers[..], &[ATTEMPTS, DUE, "a", ESCAPE, "x-own", ""]].concat();
        let sent = parcel(&all.iter().map(|name| (*name, "v")).collect::<Vec<_>>());
        let letter = letter(sent.clone()).unwrap();
        let headers = letter.properties.headers().as_ref().unwrap();
        assert!(!headers.contains_key("CC") && headers.contains_key("rowmill-attribute-CC"));
        assert!(headers.contains_key("a") && headers.contains_key("x-own"));
        assert_eq!(attributes(&letter.properties), sent.attributes);
        assert_eq!(attempt(&letter.properties), 1);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |parcel| matches!(letter(parcel), Err(Failed::Refused(_)));
        let long = "n".repeat(256);
        assert!(refused(Parcel { id: long.clone(), ..parcel(&[]) }));
        assert!(refused(parcel(&[(&long, "")])));
        assert!(refused(parcel(&[("a", &"v".repeat(128 << 10))])));
        assert!(refused(Parcel { data: vec![b' '; 1 << 20].into(), ..parcel(&[]) }));
        assert!(!refused(parcel(&[(&long[1..], &"v".repeat(100 << 10))])));
    }

    #[test]
    fn sent_anew_it_keeps_what_it_had_and_counts_on() {
        let mut headers = BTreeMap::from([
            ("a".into(), AMQPValue::LongString("1".into())),
            ("n".into(), AMQPValue::LongInt(-3)),
            ("CC".into(), AMQPValue::FieldArray(vec![].into())),
            ("x-delivery-count".into(), AMQPValue::LongLongInt(2)),
            (ATTEMPTS.into(), AMQPValue::LongLongInt(4)),
        ]);
        let with = |headers: &BTreeMap<ShortString, AMQPValue>| {
            let headers = FieldTable::from(headers.clone());
            let properties = BasicProperties::default().with_headers(headers);
            properties.with_user_id("u".into()).with_expiration("9".into()).with_app_id("p".into())
        };
        let properties = with(&headers);
        assert_eq!(attempt(&properties), 7);
        let send = |properties: &BasicProperties, how| {
            Letter::anew(&Bytes::new(), properties, how, "q".into(), SIZES).unwrap().properties
        };
        let later = send(&properties, Anew::Later(7, Some(5)));
        assert_eq!((attempt(&later), due_ms(&later)), (8, Some(5)));
        // However often it is looked at meanwhile.
        let mut looked_at = later.headers().clone().unwrap();
        looked_at.insert("x-delivery-count".into(), AMQPValue::LongLongInt(9));
        let due = send(&later.clone().with_headers(looked_at), Anew::Due);
        assert_eq!((attempt(&due), due_ms(&due)), (8, None));
        assert_eq!(attributes(&due), attributes(&properties));
        assert_eq!(attributes(&later), attributes(&properties));
        assert_eq!((later.user_id(), later.expiration()), (&None, &None));
        assert_eq!(later.app_id(), &Some("p".into()));
        assert!(!later.headers().as_ref().unwrap().contains_key("CC"));

        let reason = "ü".repeat(REASON_BYTES);
        let dead = send(&properties, Anew::Dead(&reason));
        assert_eq!(attempt(&dead), 1);
        assert_eq!(attributes(&dead)[REASON], "ü".repeat(REASON_BYTES / 2));
        let fresh = send(&dead, Anew::Fresh);
        assert!(!attributes(&fresh).contains_key(REASON) && attributes(&fresh)["n"] == "-3");

        let death = |reason: &str| {
            let reason = AMQPValue::LongString(reason.into());
            let death = FieldTable::from(BTreeMap::from([("reason".into(), reason)]));
            AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into())
        };
        headers.insert("x-death".into(), death("delivery_limit"));
        assert!(attributes(&with(&headers))[REASON].contains("too often"));
        headers.insert("x-death".into(), death("maxlen"));
        assert!(attributes(&with(&headers))[REASON].ends_with("maxlen"));
    }
}
