//! The columns that are added to the original's: which, under which names, and what stands in them.
//! Names that the original has are left to it: a file with a `status` makes ours `status_2`.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::ends::{EndOfRow, Status};
use super::plan::{ExportPlan, ExportWhat, QueuePlan};
use crate::correction::{ADDED, added as added_to_failures};
use crate::header::Names;

/// Digits of a number that a spreadsheet program keeps.
const DIGITS: usize = 15;

/// What stands in an added cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Added<'a> {
    Empty,
    Text(Cow<'a, str>),
    /// A number as JSON spells it, of no more digits than a spreadsheet program keeps.
    Number(Cow<'a, str>),
    Bool(bool),
    /// Milliseconds since 1970.
    Moment(i64),
}

/// A row beside its original cells.
#[derive(Debug)]
pub(super) struct RowEnds<'a> {
    pub(super) row: u32,
    /// In each queue.
    pub(super) ends: &'a [Option<EndOfRow>],
    /// Why it became no message.
    pub(super) rejected: Option<&'a str>,
    /// What is wrong and where, for a table of failures.
    pub(super) problem: &'a str,
    /// What it is where nothing is told.
    pub(super) untold: Status,
}

impl RowEnds<'_> {
    pub(super) fn status(&self, queue: usize) -> Status {
        match self.ends.get(queue) {
            Some(Some(end)) => end.status,
            _ if self.rejected.is_some() => Status::Rejected,
            _ => self.untold,
        }
    }

    pub(super) fn error(&self, queue: usize) -> &str {
        match self.ends.get(queue) {
            Some(Some(end)) => &end.error,
            _ => self.rejected.unwrap_or_default(),
        }
    }
}

/// The added columns.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    what: ExportWhat,
    queues: &'a [QueuePlan],
    keys: Vec<HashMap<&'a str, usize>>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(plan: &'a ExportPlan) -> Self {
        let places = |queue: &'a QueuePlan| {
            queue.keys.iter().enumerate().map(|(i, key)| (key.as_str(), i)).collect()
        };
        Self {
            what: plan.what,
            queues: &plan.queues,
            keys: plan.queues.iter().map(places).collect(),
        }
    }

    /// How many stand before the original's; the others stand behind.
    pub(super) fn leading(&self) -> usize {
        match self.what {
            ExportWhat::Results => 0,
            ExportWhat::Failures => ADDED.len(),
        }
    }

    /// The names, beside those that are taken.
    pub(super) fn names(&self, taken: &[String]) -> Vec<String> {
        if self.what == ExportWhat::Failures {
            return added_to_failures(taken).into();
        }
        let mut names = Names::taken_by(taken);
        let mut all = vec![];
        for queue in self.queues {
            // With several queues, the name of a column says whose it is.
            let of = |name: &str| match self.queues {
                [_] => name.to_owned(),
                _ => format!("{name} ({})", queue.name),
            };
            all.push(names.give(&of("status")));
            if queue.rest {
                all.push(names.give(&of("result")));
            }
            for key in &queue.keys {
                all.push(names.give(&of(&format!("result.{key}"))));
            }
            all.extend(["error", "attempts", "finished_at"].map(|name| names.give(&of(name))));
        }
        all
    }

    /// What stands in them for a row.
    pub(super) fn values<'r>(&self, row: &'r RowEnds<'_>) -> Vec<Added<'r>> {
        if self.what == ExportWhat::Failures {
            return vec![
                Added::Number(row.row.to_string().into()),
                Added::Text(row.problem.into()),
            ];
        }
        let mut all = vec![];
        for (place, queue) in self.queues.iter().enumerate() {
            all.push(Added::Text(row.status(place).word().into()));
            let end = row.ends.get(place).and_then(Option::as_ref);
            let output = end.map_or("", |end| end.output.as_str());
            self.spread(place, queue, output, &mut all);
            all.push(text(row.error(place)));
            match end {
                Some(end) if !matches!(end.status, Status::Pending | Status::Unrouted) => {
                    all.push(Added::Number(end.attempts.to_string().into()));
                    all.push(Added::Moment(end.at_ms));
                }
                _ => all.extend([Added::Empty, Added::Empty]),
            }
        }
        all
    }

    /// An output over its columns: `result`, if there is one, and one for each key.
    fn spread<'r>(
        &self,
        place: usize,
        queue: &QueuePlan,
        output: &'r str,
        all: &mut Vec<Added<'r>>,
    ) {
        let first = all.len() + usize::from(queue.rest);
        all.resize(first + queue.keys.len(), Added::Empty);
        let mut rest = String::new();
        let spread = fields(output, |key, value| {
            match self.keys.get(place).and_then(|keys| keys.get(key)) {
                Some(at) => all[first + at] = added(value),
                None => {
                    rest.push(if rest.is_empty() { '{' } else { ',' });
                    rest.push_str(&serde_json::Value::from(key).to_string());
                    rest.push(':');
                    rest.push_str(value);
                }
            }
        });
        if !queue.rest {
            return;
        }
        if !spread {
            all[first - 1] = added(output);
        } else if !rest.is_empty() {
            rest.push('}');
            all[first - 1] = Added::Text(rest.into());
        }
    }
}

fn text(text: &str) -> Added<'_> {
    if text.is_empty() { Added::Empty } else { Added::Text(text.into()) }
}

/// A JSON value as a cell.
fn added(json: &str) -> Added<'_> {
    match json.as_bytes() {
        [] | b"null" => Added::Empty,
        b"true" => Added::Bool(true),
        b"false" => Added::Bool(false),
        [b'"', ..] => match unquoted(json.as_bytes()) {
            Cow::Borrowed(inside) => text(inside),
            Cow::Owned(inside) if inside.is_empty() => Added::Empty,
            Cow::Owned(inside) => Added::Text(inside.into()),
        },
        [b'-' | b'0'..=b'9', ..]
            if digits(json) <= DIGITS && json.parse::<f64>().is_ok_and(f64::is_finite) =>
        {
            Added::Number(json.into())
        }
        _ => Added::Text(json.into()),
    }
}

/// The digits of a number that matter.
fn digits(number: &str) -> usize {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let all = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|b| *b == b'0');
    all.count()
}

/// The text of a JSON string; what is none has none.
pub(super) fn unquoted(json: &[u8]) -> Cow<'_, str> {
    match json {
        [b'"', inside @ .., b'"'] if !inside.contains(&b'\\') => {
            std::str::from_utf8(inside).map_or(Cow::Borrowed(""), Cow::Borrowed)
        }
        _ => Cow::Owned(serde_json::from_slice(json).unwrap_or_default()),
    }
}

/// Hands over the fields of a JSON object, each value as it is written; `false` for anything else, and
/// for an object without fields, of which nothing would be left.
pub fn fields<'a>(json: &'a str, mut each: impl FnMut(&str, &'a str)) -> bool {
    struct Fields<F>(F);

    impl<'de, F: FnMut(&str, &'de str)> Visitor<'de> for Fields<F> {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<u64, A::Error> {
            let mut count = 0;
            while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                (self.0)(&key.0, value.get());
                count += 1;
            }
            Ok(count)
        }
    }

    #[derive(serde::Deserialize)]
    struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

    if !json.starts_with('{') {
        return false;
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    reader.deserialize_map(Fields(&mut each)).is_ok_and(|count| count > 0)
}

/// Text that a spreadsheet program would take for a formula, led by an apostrophe, which such programs
/// show as nothing. A plain number, such as `-5` or `+4930123`, is none.
pub fn harmless(text: Cow<'_, str>) -> Cow<'_, str> {
    let risky = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let number = || text.parse::<f64>().is_ok_and(f64::is_finite);
    if risky && !number() { format!("'{text}").into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_become_cells() {
        assert_eq!(added("12.5"), Added::Number("12.5".into()));
        assert_eq!(added("1234567890123456"), Added::Text("1234567890123456".into()));
        assert_eq!(added("0.0000123456789012345"), Added::Number("0.0000123456789012345".into()));
        assert_eq!(added("1e999"), Added::Text("1e999".into()));
        assert_eq!(added(r#""a\"b""#), Added::Text("a\"b".into()));
        assert_eq!(added(r#""""#), Added::Empty);
        assert_eq!(added("null"), Added::Empty);
        assert_eq!(added("[1]"), Added::Text("[1]".into()));
    }

    #[test]
    fn objects_are_spread_and_the_rest_is_kept() {
        let queue = QueuePlan { name: "q".into(), keys: vec!["a".into(), "b".into()], rest: true };
        let queues = [queue];
        let columns = Columns {
            what: ExportWhat::Results,
            queues: &queues,
            keys: vec![HashMap::from([("a", 0), ("b", 1)])],
        };
        let spread = |output: &'static str| {
            let mut all = vec![];
            columns.spread(0, &queues[0], output, &mut all);
            all
        };
        let text = |text: &'static str| Added::Text(text.into());
        assert_eq!(
            spread(r#"{"b":"x","c":{"d":1}}"#),
            [text(r#"{"c":{"d":1}}"#), Added::Empty, text("x")]
        );
        assert_eq!(spread(r#"{"a":1}"#), [Added::Empty, Added::Number("1".into()), Added::Empty]);
        assert_eq!(spread("[1]"), [text("[1]"), Added::Empty, Added::Empty]);
        assert_eq!(spread("{}"), [text("{}"), Added::Empty, Added::Empty]);
        assert_eq!(spread(""), [Added::Empty, Added::Empty, Added::Empty]);
        let taken = ["status".to_owned(), "result.a".to_owned()];
        assert_eq!(
            columns.names(&taken),
            ["status_2", "result", "result.a_2", "result.b", "error", "attempts", "finished_at"]
        );
    }

    #[test]
    fn formulas_in_text_are_led_by_an_apostrophe_and_numbers_are_not() {
        for (text, shown) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("-5", "-5"),
            ("+4930123", "+4930123"),
            ("-inf", "'-inf"),
            ("+1+1", "'+1+1"),
            ("plain", "plain"),
        ] {
            assert_eq!(harmless(text.into()), shown);
        }
    }
}
