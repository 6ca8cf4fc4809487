//! What went wrong, as `application/problem+json` (RFC 9457).

use serde::{Deserialize, Serialize};

/// A problem document. What does not apply is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// A name of the kind, `/problems/` and words with hyphens.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words, the same for all of the kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What a person can act on.
    pub detail: String,
    /// The file it is about, where several were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// The sheet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// The row of the sheet, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u32>,
    /// The column, such as `C`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The first invalid rows, where they are why a file was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<super::Finding>,
    /// One of each file, when several were sent and none was taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    pub files: Vec<Problem>,
}
