//! What a row is known by: the values of the columns that were named, hashed. Texts and numbers that
//! read the same are the same, so that `17` in a workbook is `17` in a csv file. A row that lacks any of
//! the values is like no other.

use sha2::{Digest, Sha256};

use crate::domain::RowNumber;
use crate::store::log::{RowKey, TopicId};
use crate::workbook::AttributeColumns;
use crate::workbook::export::fields;

/// The columns that rows of a topic are known by.
#[derive(Debug)]
pub(super) struct KeyColumns {
    topic: TopicId,
    /// In their own order: which one is named first makes no difference.
    names: Vec<String>,
}

impl KeyColumns {
    /// `None` when no column is named.
    pub(super) fn of(topic: TopicId, columns: &AttributeColumns) -> Option<Self> {
        let mut names: Vec<String> = columns.names().map(str::to_owned).collect();
        names.sort_unstable();
        (!names.is_empty()).then_some(Self { topic, names })
    }

    /// The names, as one text.
    pub(super) fn shown(&self) -> String {
        self.names.join("`, `")
    }

    /// The key of a row, which is a JSON object.
    pub(super) fn key(&self, data: &[u8]) -> Option<RowKey> {
        let mut values: Vec<Option<&str>> = vec![None; self.names.len()];
        fields(std::str::from_utf8(data).ok()?, |name, value| {
            if let Ok(place) = self.names.binary_search_by(|known| known.as_str().cmp(name))
                && let Some(place) = values.get_mut(place)
            {
                *place = Some(value).filter(|value| *value != "null");
            }
        });
        let mut hash = Sha256::new();
        hash.update(b"key");
        hash.update(self.topic.0.to_be_bytes());
        for (name, value) in self.names.iter().zip(values) {
            add(&mut hash, name);
            add(&mut hash, &text(value?)?);
        }
        Some(half(hash))
    }
}

/// The key of a row of an upload that is corrected: of all who correct it, one shall.
pub(super) fn correction_key(root: &str, sheet: u16, row: RowNumber) -> RowKey {
    let mut hash = Sha256::new();
    hash.update(b"correction");
    add(&mut hash, root);
    hash.update(sheet.to_be_bytes());
    hash.update(row.0.to_be_bytes());
    half(hash)
}

/// With its length, so that no two lists of texts are the same bytes.
fn add(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

fn half(hash: Sha256) -> RowKey {
    let mut key = RowKey::default();
    let hash = hash.finalize();
    key.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    key
}

/// A value as it reads.
fn text(json: &str) -> Option<String> {
    if json.starts_with('"') {
        return serde_json::from_str(json).ok();
    }
    let number = json.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    match number && json.contains(['.', 'e', 'E']) {
        true => json.parse::<f64>().ok().map(|number| number.to_string()),
        false => Some(json.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &str) -> KeyColumns {
        KeyColumns::of(TopicId(1), &names.parse().unwrap()).unwrap()
    }

    #[test]
    fn rows_are_known_by_what_stands_in_the_named_columns() {
        let of = |json: &str| columns("id,country").key(json.as_bytes());
        let first = of(r#"{"id":17,"country":"DE","n":1}"#);
        assert!(first.is_some());
        assert_eq!(first, of(r#"{"n":2,"country":"DE","id":"17"}"#));
        assert_ne!(first, of(r#"{"id":17,"country":"FR"}"#));
        assert_ne!(of(r#"{"id":"1","country":"23"}"#), of(r#"{"id":"12","country":"3"}"#));
        assert_eq!(of(r#"{"id":null,"country":"DE"}"#), None);
        assert_eq!(of(r#"{"country":"DE"}"#), None);
        let same = columns("country,id").key(br#"{"id":17,"country":"DE"}"#);
        assert_eq!(first, same);
    }

    #[test]
    fn a_key_is_its_topics_and_its_columns() {
        let row = br#"{"a":"1","b":"1"}"#;
        let other = KeyColumns { topic: TopicId(2), names: vec!["a".into()] };
        assert_ne!(columns("a").key(row), columns("b").key(row));
        assert_ne!(columns("a").key(row), other.key(row));
    }

    #[test]
    fn numbers_are_the_same_however_they_are_spelled() {
        assert_eq!(text("2.50"), text("2.5"));
        assert_eq!(text("1e3"), text("1000"));
        assert_eq!(text("\"a\\nb\"").as_deref(), Some("a\nb"));
        assert_eq!(text("true").as_deref(), Some("true"));
    }

    #[test]
    fn a_corrected_row_has_one_key_whoever_corrects_it() {
        let of = |root, sheet, row| correction_key(root, sheet, RowNumber(row));
        assert_eq!(of("u", 0, 17), of("u", 0, 17));
        assert_ne!(of("u", 0, 17), of("u", 0, 18));
        assert_ne!(of("u", 0, 17), of("v", 0, 17));
    }
}
