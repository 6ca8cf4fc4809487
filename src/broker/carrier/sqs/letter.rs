//! Parcels as SQS messages, and back.
//!
//! The body is the data. SQS takes the characters of XML 1.0 only; of those that it does not, JSON has
//! just U+FFFE and U+FFFF, which become their escapes. Id and attributes are message attributes of
//! type String. SQS takes ten, with names of a certain form and no empty values: the id, what an
//! upload sets and the reason of a death come first, then the others by name; what has no place
//! travels in one more, [`MORE`], as a JSON object. Of a foreign message, attributes of type Number
//! are taken as text and binary ones as base64, and when rowmill moves it to another queue they go on
//! as that.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_sqs::types::{Message, MessageAttributeValue};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::super::{Parcel, REASON};

/// The attribute that a parcel's id travels as.
pub(super) const ID: &str = "rowmill-id";
/// The attribute that holds those that SQS cannot take as they are: a JSON object.
pub(super) const MORE: &str = "rowmill-attributes";
/// Attributes of a message.
const ATTRIBUTES: usize = 10;
/// The longest name of one, in bytes.
const NAME_LONGEST: usize = 256;
const STRING: &str = "String";
/// Those that come first when there are too many: what an upload sets.
const FIRST: [&str; 6] = [ID, REASON, "upload_id", "sheet", "row", "filename"];

/// What is in a parcel.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    pub(super) id: Option<String>,
    pub(super) data: Bytes,
    pub(super) attributes: BTreeMap<String, String>,
}

impl Contents {
    /// What it needs of memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.data.len() + attributes.sum::<usize>()
    }

    /// What is in a message.
    pub(super) fn of(message: &mut Message) -> Self {
        let mut attributes = BTreeMap::new();
        for (name, value) in message.message_attributes.take().unwrap_or_default() {
            let text = match (value.string_value, value.binary_value) {
                (Some(text), _) => text,
                (None, Some(bytes)) => BASE64_STANDARD.encode(bytes),
                (None, None) => String::new(),
            };
            attributes.insert(name, text);
        }
        if let Some(more) = attributes.remove(MORE) {
            match serde_json::from_str::<BTreeMap<String, String>>(&more) {
                Ok(more) => more.into_iter().for_each(|(name, value)| {
                    attributes.entry(name).or_insert(value);
                }),
                // Somebody else's, who means something else by that name.
                Err(_) => drop(attributes.insert(MORE.to_owned(), more)),
            }
        }
        let id = attributes.remove(ID);
        Self { id, data: message.body.take().unwrap_or_default().into(), attributes }
    }
}

/// A message as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) body: String,
    pub(super) attributes: HashMap<String, MessageAttributeValue>,
    pub(super) delay_seconds: i32,
    /// What SQS counts as its size, in bytes.
    pub(super) size: usize,
}

impl Letter {
    /// A parcel's.
    ///
    /// # Errors
    /// Why SQS cannot carry it.
    pub(super) fn of(parcel: Parcel, delay_seconds: i32) -> Result<Self, String> {
        let Parcel { id, data, attributes, .. } = parcel;
        if attributes.contains_key(ID) {
            return Err(format!("the attribute `{ID}` is where a parcel's own id travels"));
        }
        let id = Some(id).filter(|id| !id.is_empty());
        let letter = Self::pack(&Contents { id, data, attributes })?;
        Ok(Self { delay_seconds, ..letter })
    }

    /// That of a parcel that died for a reason: as much of it as goes into `most` bytes.
    ///
    /// # Errors
    /// Why SQS cannot carry it.
    pub(super) fn dead(
        contents: &Contents,
        reason: &str,
        reason_most: usize,
        most: usize,
    ) -> Result<Self, String> {
        let mut reason = reason;
        let mut room = reason_most;
        loop {
            reason = &reason[..reason.floor_char_boundary(room.min(reason.len()))];
            let mut contents = contents.clone();
            contents.attributes.insert(REASON.to_owned(), reason.to_owned());
            let letter = Self::pack(&contents)?;
            if letter.size <= most || reason.is_empty() {
                return Ok(letter);
            }
            room = reason.len() / 2;
        }
    }

    /// The same without a reason, for a new life.
    ///
    /// # Errors
    /// Why SQS cannot carry it.
    pub(super) fn reborn(mut contents: Contents) -> Result<Self, String> {
        contents.attributes.remove(REASON);
        Self::pack(&contents)
    }

    fn pack(contents: &Contents) -> Result<Self, String> {
        let body = body(&contents.data)?;
        let (real, more) = sort(contents);
        let more = (!more.is_empty()).then(|| json(&more)).transpose()?;
        let mut size = body.len();
        let mut attributes = HashMap::with_capacity(real.len() + 1);
        for (name, value) in real.into_iter().chain(more.as_deref().map(|more| (MORE, more))) {
            size += name.len() + STRING.len() + value.len();
            let value = MessageAttributeValue::builder().data_type(STRING).string_value(value);
            attributes.insert(name.to_owned(), value.build().map_err(|error| error.to_string())?);
        }
        Ok(Self { body, attributes, delay_seconds: 0, size })
    }
}

type Pairs<'a> = Vec<(&'a str, &'a str)>;

/// Those that are message attributes, and those that travel in [`MORE`].
fn sort(contents: &Contents) -> (Pairs<'_>, BTreeMap<&str, &str>) {
    let id = contents.id.iter().map(|id| (ID, id.as_str()));
    let others = contents.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let (mut real, more): (Pairs<'_>, Pairs<'_>) =
        id.chain(others).partition(|(name, value)| carries_name(name) && carries_value(value));
    let mut more = BTreeMap::from_iter(more);
    if real.len() + usize::from(!more.is_empty()) > ATTRIBUTES {
        let rank = |name: &str| FIRST.iter().position(|first| *first == name);
        real.sort_by_key(|(name, _)| rank(name).unwrap_or(FIRST.len()));
        more.extend(real.split_off(ATTRIBUTES - 1));
    }
    (real, more)
}

fn carries_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let reserved = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    (1..=NAME_LONGEST).contains(&name.len())
        && name.bytes().all(good)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !reserved("aws.")
        && !reserved("amazon.")
        && name != MORE
}

fn carries_value(value: &str) -> bool {
    !value.is_empty() && value.chars().all(carries)
}

/// Whether SQS takes a character: those of XML 1.0.
fn carries(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn body(data: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(data).map_err(|_| "the data is not UTF-8".to_owned())?;
    if text.is_empty() {
        return Err("SQS carries no empty data".to_owned());
    }
    match text.chars().find(|c| !carries(*c)) {
        None => Ok(text.to_owned()),
        Some('\u{fffe}' | '\u{ffff}') => Ok(escaped(text)),
        Some(c) => Err(format!("the data has the bare control character U+{:04X}", u32::from(c))),
    }
}

fn json(more: &BTreeMap<&str, &str>) -> Result<String, String> {
    Ok(escaped(&serde_json::to_string(more).map_err(|error| error.to_string())?))
}

/// The same JSON without the two characters that only stand for themselves within strings.
fn escaped(json: &str) -> String {
    json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parcel(data: &str, attributes: &[(&str, &str)]) -> Parcel {
        Parcel {
            id: "id-1".to_owned(),
            data: Bytes::from(data.to_owned()),
            attributes: attributes.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            delay: Duration::ZERO,
        }
    }

    fn back(letter: &Letter) -> Contents {
        let mut message = Message::builder().body(letter.body.clone()).build();
        message.message_attributes = Some(letter.attributes.clone());
        Contents::of(&mut message)
    }

    fn string<'a>(letter: &'a Letter, name: &str) -> Option<&'a str> {
        letter.attributes.get(name)?.string_value()
    }

    #[test]
    fn usual_attributes_are_message_attributes() {
        let letter = Letter::of(parcel("{}", &[("row", "7"), ("a.b", "ü")]), 3).unwrap();
        assert_eq!(string(&letter, ID), Some("id-1"));
        assert_eq!(string(&letter, "row"), Some("7"));
        assert_eq!(letter.attributes.len(), 3);
        assert_eq!(letter.delay_seconds, 3);
        // Body, then name, type and value of each.
        assert_eq!(letter.size, 2 + (10 + 6 + 4) + (3 + 6 + 1) + (3 + 6 + 2));
    }

    #[test]
    fn what_sqs_does_not_take_travels_together() {
        let long = "n".repeat(257);
        let odd = [
            ("", "no name"),
            ("empty", ""),
            ("AWS.x", "1"),
            ("amazon.y", "2"),
            ("a..b", "3"),
            (".a", "4"),
            ("white space", "5"),
            ("control", "\u{1}\u{fffe}"),
            (MORE, "{}"),
            (&long, "6"),
        ];
        let attributes: Vec<_> = odd.into_iter().chain([("plain", "7")]).collect();
        let letter = Letter::of(parcel("{}", &attributes), 0).unwrap();
        assert_eq!(letter.attributes.len(), 3, "{letter:?}");
        assert!(string(&letter, MORE).unwrap().chars().all(carries));
        let back = back(&letter);
        assert_eq!(back.id.as_deref(), Some("id-1"));
        assert_eq!(back.attributes, parcel("{}", &attributes).attributes);
    }

    #[test]
    fn of_too_many_the_important_ones_stay_outside() {
        let many: Vec<_> = (0..20).map(|n| format!("column{n}")).collect();
        let mut attributes: Vec<_> = many.iter().map(|name| (name.as_str(), "x")).collect();
        attributes.extend([("upload_id", "u"), ("sheet", "s"), ("row", "9"), ("filename", "f")]);
        let letter = Letter::of(parcel("{}", &attributes), 0).unwrap();
        assert_eq!(letter.attributes.len(), ATTRIBUTES);
        for name in [ID, "upload_id", "sheet", "row", "filename", MORE] {
            assert!(string(&letter, name).is_some(), "{name}");
        }
        assert_eq!(back(&letter).attributes, parcel("{}", &attributes).attributes);
        let ten = Letter::of(parcel("{}", &attributes[..9]), 0).unwrap();
        assert!(string(&ten, MORE).is_none(), "ten fit");
    }

    #[test]
    fn a_body_keeps_its_meaning() {
        let same = "{\"a\":\"\u{7f}\u{85}\u{10ffff}\\u0000\"\r\n}";
        assert_eq!(body(same.as_bytes()).unwrap(), same);
        let bytes = "{\"a\":\"\u{ffff}\u{fffe}\"}";
        let escaped = body(bytes.as_bytes()).unwrap();
        assert_eq!(escaped, r#"{"a":"\uffff\ufffe"}"#);
        let value = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&escaped), value(bytes));
        for refused in [&b""[..], b"\xff", b"{\"a\":\"\x00\"}"] {
            assert!(body(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_reason_is_cut_to_the_room_there_is() {
        let contents = Contents { data: "{}".into(), ..Contents::default() };
        let reason = "é".repeat(300);
        let whole = Letter::dead(&contents, &reason, 1_000, 1_000).unwrap();
        assert_eq!(string(&whole, REASON), Some(&*reason));
        let cut = Letter::dead(&contents, &reason, 101, 1_000).unwrap();
        assert_eq!(string(&cut, REASON), Some(&*"é".repeat(50)));
        let tight = Letter::dead(&contents, &reason, 1_000, 100).unwrap();
        assert!(tight.size <= 100 && string(&tight, REASON).is_some_and(|it| it.len() >= 30));
        let silent = Letter::dead(&contents, "", 1_000, 1_000).unwrap();
        assert_eq!(back(&silent).attributes.get(REASON).map(String::as_str), Some(""));
        let mut died = back(&whole);
        assert!(died.attributes.contains_key(REASON));
        died = back(&Letter::reborn(died).unwrap());
        assert!(died.attributes.is_empty());
    }

    #[test]
    fn foreign_attributes_come_as_text() {
        let value = |kind: &str| MessageAttributeValue::builder().data_type(kind);
        let mut message = Message::builder()
            .body("not json")
            .message_attributes("n", value("Number").string_value("1.50").build().unwrap())
            .message_attributes(
                "b",
                value("Binary").binary_value(b"\x00\xff".to_vec().into()).build().unwrap(),
            )
            .message_attributes(MORE, value("String").string_value("[]").build().unwrap())
            .build();
        let contents = Contents::of(&mut message);
        let wanted = [("n", "1.50"), ("b", "AP8="), (MORE, "[]")];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(contents.attributes, wanted.into());
        assert_eq!((contents.id, &*contents.data), (None, &b"not json"[..]));
    }
}
