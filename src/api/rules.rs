//! What a topic demands of what is published to it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::object;

/// What a topic demands of what is published to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// A JSON Schema of a row as it is published, and of the data of a message. An empty cell is to
    /// it a key that is not there. `$ref` refers to parts of the schema itself, such as
    /// `#/$defs/amount`, and never in a circle; patterns do not look ahead or behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Map<String, Value>>,
    /// Columns of a spreadsheet, and what becomes of each.
    #[serde(deserialize_with = "object::each", skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnRule>,
    /// What becomes of columns that are not listed.
    pub others: OtherColumns,
}

/// A column of a spreadsheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnRule {
    /// Its name in the header.
    #[schema(min_length = 1, max_length = 1_024)]
    pub column: String,
    /// Its key in the message; the same unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 1_024)]
    pub name: Option<String>,
    /// Whether a file must have it, and every row something in it.
    #[serde(default)]
    pub required: bool,
    /// What its cells are converted to, where nothing is lost; a row with a cell that is no such
    /// thing is rejected.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<CellType>,
}

/// What a cell is converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CellType {
    /// A whole number of 64 bits: a number without a fraction, or text of digits without zeros in
    /// front.
    Integer,
    /// A number, or text that JSON would read as one.
    Number,
    /// Text; numbers and truth values as they are written.
    Text,
    /// A truth value, or the text `true` or `false` in capitals or not.
    Boolean,
    /// A day: a date cell without a time, or text such as `2026-11-21`.
    Date,
}

/// What becomes of columns that the rules do not list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtherColumns {
    /// They are published as they are.
    #[default]
    Keep,
    /// They are left out.
    Drop,
    /// A file that has some is refused.
    Refuse,
}

/// `PUT /topics/{topic}`: all that can be said of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TopicTerms {
    /// What it demands of what is published to it; nothing unless told.
    #[serde(deserialize_with = "object::maybe", skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
}
