//! The frames that a client sends: JSON, told apart by `type`.
//!
//! They are read in two steps, the type and then the fields that belong to it, so that an output is
//! kept as it is written and a refusal says what is wrong with the frame that was meant.

use std::time::Duration;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::Pushed;
use crate::domain::{MessageId, Verdict};
use crate::http::HttpLimits;

/// Characters of an id that are said back in an error.
const ID_CHARACTERS: usize = 64;

/// What a client says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// A delivery has ended.
    Verdict(MessageId, Verdict),
    /// It needs longer.
    Extend(MessageId, Duration),
    /// So many may be in its hands.
    Credit(usize),
}

/// Why a frame cannot be understood or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) detail: String,
    pub(super) id: Option<String>,
}

impl From<Refusal> for Pushed {
    fn from(Refusal { detail, id }: Refusal) -> Self {
        Self::Error { detail, id }
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Ack,
    Nack,
    Reject,
    Extend,
    Credit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    id: String,
    #[serde(default)]
    output: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nack {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    id: String,
    #[serde(default)]
    delay_seconds: Option<f64>,
    #[serde(default)]
    reason: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reject {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    id: String,
    #[serde(default)]
    reason: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extend {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    id: String,
    seconds: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credit {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    credit: usize,
}

/// Reads a frame; the highest credit is as many messages as one receive may bring.
///
/// # Errors
/// What to tell the client.
pub(super) fn read(text: &str, limits: &HttpLimits) -> Result<Said, Refusal> {
    let head: Head<'_> = serde_json::from_str(text)
        .map_err(|error| Refusal { detail: format!("that is no frame: {error}"), id: None })?;
    let id = head.id.and_then(|id| serde_json::from_str::<String>(id.get()).ok());
    let id = id.map(|id| id.chars().take(ID_CHARACTERS).collect());
    let refused = |detail| Refusal { detail, id: id.clone() };
    let kind = head.kind.ok_or_else(|| refused("the frame has no `type`".into()))?;
    let kind: Kind = serde_json::from_str(kind.get())
        .map_err(|_| refused("`type` is ack, nack, reject, extend or credit".into()))?;
    match kind {
        Kind::Ack => fields(text).and_then(|Ack { id, output, .. }| {
            let output = output.map(|output| -> Box<str> { output.into() });
            Ok(Said::Verdict(message(&id)?, Verdict::Done { output }))
        }),
        Kind::Nack => fields(text).and_then(|Nack { id, delay_seconds, reason, .. }| {
            let after = delay_seconds.map(|asked| limits.message.delay(asked)).transpose()?;
            let reason = reason.unwrap_or_default();
            Ok(Said::Verdict(message(&id)?, Verdict::Retry { reason, after }))
        }),
        Kind::Reject => fields(text).and_then(|Reject { id, reason, .. }| {
            let reason = reason.unwrap_or_default();
            Ok(Said::Verdict(message(&id)?, Verdict::Reject { reason }))
        }),
        Kind::Extend => fields(text).and_then(|Extend { id, seconds, .. }| {
            let lasting = limits.message.lasting(seconds)?;
            Ok(Said::Extend(message(&id)?, lasting))
        }),
        Kind::Credit => fields(text).and_then(|Credit { credit, .. }| match credit {
            credit if credit <= limits.messages => Ok(Said::Credit(credit)),
            credit => Err(format!("`credit` is 0 to {}, not {credit}", limits.messages)),
        }),
    }
    .map_err(refused)
}

fn fields<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("the frame cannot be understood: {error}"))
}

fn message(id: &str) -> Result<MessageId, String> {
    id.parse().map_err(|_| "`id` is no id of a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000100-0000-8000-8000-00403cc45d7f";

    fn said(text: &str) -> Result<Said, Refusal> {
        let limits = HttpLimits { messages: 100, ..HttpLimits::default() };
        read(&text.replace("ID", ID), &limits)
    }

    #[test]
    fn frames_are_understood() {
        let id: MessageId = ID.parse().unwrap();
        let done = |output: Option<&str>| {
            Said::Verdict(id, Verdict::Done { output: output.map(Into::into) })
        };
        let retry = |reason: &str, after| {
            Said::Verdict(id, Verdict::Retry { reason: reason.into(), after })
        };
        for (text, expected) in [
            (r#"{"type":"ack","id":"ID"}"#, done(None)),
            (r#"{"id":"ID","output":{"a":1.50},"type":"ack"}"#, done(Some(r#"{"a":1.50}"#))),
            (r#"{"type":"ack","id":"ID","output":null}"#, done(None)),
            (r#"{"type":"nack","id":"ID"}"#, retry("", None)),
            (
                r#"{"type":"nack","id":"ID","delay_seconds":0.5,"reason":"é"}"#,
                retry("é", Some(Duration::from_millis(500))),
            ),
            (
                r#"{"type":"reject","id":"ID","reason":"no"}"#,
                Said::Verdict(id, Verdict::Reject { reason: "no".into() }),
            ),
            (
                r#"{"type":"extend","id":"ID","seconds":90}"#,
                Said::Extend(id, Duration::from_secs(90)),
            ),
            (r#"{"type":"credit","credit":0}"#, Said::Credit(0)),
            (r#"{"type":"credit","credit":100}"#, Said::Credit(100)),
        ] {
            assert_eq!(said(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_understood_says_what_is_wrong() {
        for (text, detail, id) in [
            ("", "no frame", None),
            ("ack", "no frame", None),
            ("[]", "no frame", None),
            ("{}", "no `type`", None),
            (r#"{"type":"ack","id":"ID""#, "no frame", None),
            (r#"{"type":7,"id":"ID"}"#, "`type` is", Some(ID)),
            (r#"{"type":"eat","id":"ID"}"#, "`type` is", Some(ID)),
            (r#"{"type":"ack"}"#, "missing field `id`", None),
            (r#"{"type":"ack","id":7}"#, "invalid type", None),
            (r#"{"type":"ack","id":"one"}"#, "no id", Some("one")),
            (r#"{"type":"ack","id":"ID","result":1}"#, "unknown field `result`", Some(ID)),
            (r#"{"type":"nack","id":"ID","output":1}"#, "unknown field `output`", Some(ID)),
            (r#"{"type":"nack","id":"ID","delay_seconds":-1}"#, "`delay_seconds` is 0", Some(ID)),
            (r#"{"type":"nack","id":"ID","delay_seconds":1e300}"#, "`delay_seconds`", Some(ID)),
            (r#"{"type":"extend","id":"ID"}"#, "missing field `seconds`", Some(ID)),
            (r#"{"type":"extend","id":"ID","seconds":0}"#, "`seconds` is 1", Some(ID)),
            (r#"{"type":"extend","id":"ID","seconds":43201}"#, "`seconds` is 1", Some(ID)),
            (r#"{"type":"credit","credit":101}"#, "`credit` is 0 to 100", None),
            (r#"{"type":"credit","credit":-1}"#, "invalid value", None),
        ] {
            let refusal = said(text).unwrap_err();
            assert!(refusal.detail.contains(detail), "{text}: {refusal:?}");
            assert_eq!(refusal.id.as_deref(), id, "{text}");
        }
        let long = format!(r#"{{"type":"ack","id":"{}"}}"#, "x".repeat(10_000));
        assert_eq!(said(&long).unwrap_err().id.map(|id| id.len()), Some(ID_CHARACTERS));
    }
}
