//! What can be said of rows. The same JSON is what a topic is given over HTTP, what is recorded with
//! each upload at its start, and what the reader's process is told.

use std::collections::HashSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::{BadSchema, Schema};
use crate::options::BadOption;

/// Characters of a column's name at most.
const NAME_CHARS: usize = 1_024;

/// What a topic demands of the rows that are published to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// A JSON Schema of the row as it is published; an empty cell is to it a key that is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Columns of the file, and what becomes of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnRule>,
    /// What becomes of columns that are not listed.
    pub others: OtherColumns,
}

/// A column of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnRule {
    /// Its name in the header.
    pub column: String,
    /// Its key in the message; the same unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the file must have it, and every row something in it.
    #[serde(default)]
    pub required: bool,
    /// What its cells are converted to; as they are unless told.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<CellType>,
}

impl ColumnRule {
    /// Its key in the message.
    pub fn target(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.column)
    }
}

/// What a cell is converted to, if that loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellType {
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Number,
    /// Text.
    Text,
    /// True or false.
    Boolean,
    /// A day, as `2026-11-21`.
    Date,
}

/// What becomes of columns that the rules do not list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherColumns {
    /// They are published as they are.
    #[default]
    Keep,
    /// They are left out.
    Drop,
    /// The file is refused.
    Refuse,
}

/// What becomes of an upload some of whose rows break the rules, or cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInvalid {
    /// These rows are rejected; the others are published.
    #[default]
    Skip,
    /// It fails, and nothing is published.
    Abort,
}

impl OnInvalid {
    /// Whether it is the one that is not told.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for OnInvalid {
    type Err = BadOption;

    fn from_str(text: &str) -> Result<Self, BadOption> {
        match text {
            "skip" => Ok(Self::Skip),
            "abort" => Ok(Self::Abort),
            _ => Err(BadOption::new("say `skip` or `abort`".into())),
        }
    }
}

/// In what order a date is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// DD/MM/YYYY.
    Dmy,
    /// MM/DD/YYYY.
    Mdy,
}

/// What becomes of dates that are written as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextDates {
    /// They stay text, as everything does that is text in the file.
    #[default]
    Keep,
    /// They become dates, the day first.
    Dmy,
    /// They become dates, the month first.
    Mdy,
    /// They become dates, in the order that each column gives away; to be decided ([`decide`](super::decide))
    /// before anything is published.
    Auto,
    /// What was decided.
    Decided(Vec<Decided>),
}

/// The order of one column's dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The sheet's place in the workbook, from 0.
    pub sheet: u16,
    /// The column, from 0.
    pub column: u32,
    /// The order.
    pub order: Order,
}

impl TextDates {
    /// Whether it is the one that is not told.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The order of a column's dates, if they are to become dates.
    pub(super) fn order_of(&self, sheet: u16, column: u32) -> Option<Order> {
        match self {
            Self::Keep | Self::Auto => None,
            Self::Dmy => Some(Order::Dmy),
            Self::Mdy => Some(Order::Mdy),
            Self::Decided(all) => all
                .iter()
                .find(|one| (one.sheet, one.column) == (sheet, column))
                .map(|one| one.order),
        }
    }
}

impl FromStr for TextDates {
    type Err = BadOption;

    fn from_str(text: &str) -> Result<Self, BadOption> {
        match text {
            "keep" => Ok(Self::Keep),
            "dmy" => Ok(Self::Dmy),
            "mdy" => Ok(Self::Mdy),
            "auto" => Ok(Self::Auto),
            _ => Err(BadOption::new("say `dmy`, `mdy`, `auto` or `keep`".into())),
        }
    }
}

/// Rules that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRules {
    /// The schema is none.
    #[error(transparent)]
    Schema(#[from] BadSchema),
    /// A column's rule makes no sense.
    #[error("`columns[{at}]`: {why}")]
    Column {
        /// Which, from 0.
        at: usize,
        /// Why.
        why: String,
    },
}

impl Rules {
    /// Whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        self.schema.is_none() && self.columns.is_empty() && self.others == OtherColumns::Keep
    }

    /// Refuses rules that cannot be; answers the schema, ready to be asked.
    ///
    /// # Errors
    /// [`BadRules`], with the place in them.
    pub fn check(&self) -> Result<Option<Schema>, BadRules> {
        let (mut columns, mut names) = (HashSet::new(), HashSet::new());
        for (at, rule) in self.columns.iter().enumerate() {
            let bad = |why: String| Err(BadRules::Column { at, why });
            for (field, text) in [("column", rule.column.as_str()), ("name", rule.target())] {
                if text.is_empty() || text.trim() != text {
                    return bad(format!("`{field}` is empty, or has a space at an end"));
                }
                if text.chars().count() > NAME_CHARS {
                    return bad(format!("`{field}` has {NAME_CHARS} characters at most"));
                }
            }
            if !columns.insert(rule.column.as_str()) {
                return bad(format!("the column `{}` is there twice", rule.column));
            }
            if !names.insert(rule.target()) {
                return bad(format!("the name `{}` is there twice", rule.target()));
            }
        }
        self.schema.as_ref().map(Schema::compile).transpose().map_err(BadRules::Schema)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, from_value, json};

    use super::*;

    fn bad(rules: Value) -> String {
        from_value::<Rules>(rules).unwrap().check().unwrap_err().to_string()
    }

    #[test]
    fn rules_name_each_column_once() {
        assert!(bad(json!({"columns": [{"column": "a"}, {"column": "a"}]})).contains("columns[1]"));
        let twice = json!({"columns": [{"column": "a", "name": "b"}, {"column": "b"}]});
        assert!(bad(twice).contains("name `b` is there twice"));
        assert!(bad(json!({"columns": [{"column": " a"}]})).contains("`column`"));
        assert!(bad(json!({"columns": [{"column": "a", "name": ""}]})).contains("`name`"));
        assert!(bad(json!({"schema": {"type": "strin"}})).contains("/type"));
        assert!(from_str::<Rules>(r#"{"columns": [{"column": "a", "typ": "text"}]}"#).is_err());
        assert!(from_str::<Rules>("{}").unwrap().is_empty());
    }

    #[test]
    fn orders_are_said_or_decided() {
        let decided = Decided { sheet: 1, column: 2, order: Order::Mdy };
        let decided = TextDates::Decided(vec![decided]);
        assert_eq!(decided.order_of(1, 2), Some(Order::Mdy));
        assert_eq!(decided.order_of(0, 2), None);
        assert_eq!("dmy".parse::<TextDates>().unwrap().order_of(9, 9), Some(Order::Dmy));
        assert_eq!("keep".parse::<TextDates>().unwrap().order_of(0, 0), None);
        assert!("ymd".parse::<TextDates>().is_err() && "stop".parse::<OnInvalid>().is_err());
        let text = serde_json::to_string(&decided).unwrap();
        assert_eq!(from_str::<TextDates>(&text).unwrap(), decided);
    }
}
