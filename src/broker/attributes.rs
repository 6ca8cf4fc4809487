//! The attributes of a batch's rows as filters see them: the four that every row of an upload has,
//! and those chosen of its cells.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use bytes::Bytes;

use super::published::{Publishing, RowBatch};
use crate::domain::RowNumber;

/// The attributes of each row of a batch.
#[derive(Debug)]
pub(super) struct RowAttributes<'a> {
    to: &'a Publishing,
    sheet: Option<String>,
    rows: Vec<RowNumber>,
    /// JSON objects of strings; nothing when no row has any.
    chosen: Vec<Option<Bytes>>,
    /// The same taken apart, once a filter asks.
    parsed: OnceLock<Vec<HashMap<String, String>>>,
}

impl<'a> RowAttributes<'a> {
    pub(super) fn of(to: &'a Publishing, batch: &RowBatch) -> Self {
        let any = batch.rows.iter().any(|row| row.attributes.is_some());
        let chosen = batch.rows.iter().filter(|_| any).map(|row| row.attributes.clone());
        Self {
            to,
            sheet: batch.sheet_name.clone(),
            rows: batch.rows.iter().map(|row| row.row).collect(),
            chosen: chosen.collect(),
            parsed: OnceLock::new(),
        }
    }

    /// An attribute of the `at`th row.
    pub(super) fn value(&self, at: usize, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "upload_id" => Some(Cow::Owned(self.to.upload_id.to_string())),
            "filename" => Some(Cow::Borrowed(self.to.filename.as_str())),
            "sheet" => self.sheet.as_deref().map(Cow::Borrowed),
            "row" => self.rows.get(at).map(|row| Cow::Owned(row.to_string())),
            _ if self.chosen.is_empty() => None,
            _ => {
                let parsed = self.parsed.get_or_init(|| self.chosen.iter().map(parse).collect());
                Some(Cow::Borrowed(parsed.get(at)?.get(name)?))
            }
        }
    }
}

/// What a reader wrote is a JSON object of strings; anything else has no attributes.
fn parse(json: &Option<Bytes>) -> HashMap<String, String> {
    let parse = |json: &Bytes| serde_json::from_slice(json).ok();
    json.as_ref().and_then(parse).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::broker::Ticket;
    use crate::domain::Row;
    use crate::store::log::{Fence, TopicId, UploadId};

    #[test]
    fn a_row_has_the_four_and_the_chosen() {
        let to = Publishing {
            topic: TopicId(1),
            fence: Fence { upload: UploadId(1), epoch: 1 },
            upload_id: Uuid::from_u128(7),
            filename: "a.csv".into(),
            held: false,
        };
        let chosen = |json: &'static str| Some(Bytes::from_static(json.as_bytes()));
        let row = |row, attributes| Row {
            attributes,
            ..Row::new(RowNumber(row), Bytes::from_static(b"{}"))
        };
        let mut batch = RowBatch {
            ticket: Ticket { first_id: 0, room: 3 },
            sheet: 0,
            sheet_name: Some("S".into()),
            first_row: RowNumber(2),
            last_row: RowNumber(4),
            turn: 0,
            rows: vec![row(2, None), row(4, chosen(r#"{"country":"D\"E","n":"1"}"#))],
            findings: vec![],
            duplicates: 0,
        };
        let all = RowAttributes::of(&to, &batch);
        assert_eq!(all.value(1, "country").as_deref(), Some("D\"E"));
        assert_eq!(all.value(0, "country"), None);
        assert_eq!(all.value(2, "country"), None);
        assert_eq!(all.value(1, "row").as_deref(), Some("4"));
        assert_eq!(all.value(0, "sheet").as_deref(), Some("S"));
        assert_eq!(all.value(0, "filename").as_deref(), Some("a.csv"));
        assert_eq!(all.value(0, "upload_id").unwrap(), to.upload_id.to_string());
        batch.rows[1].attributes = None;
        let none = RowAttributes::of(&to, &batch);
        assert!(none.chosen.is_empty() && none.value(1, "country").is_none());
    }
}
