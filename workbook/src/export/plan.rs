//! What is to be written, and of what. It is told to the process that writes as JSON.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ends::Status;
use crate::limits::ReadLimits;
use crate::options::{BadOption, ReadOptions};
use crate::sink::SheetHead;

/// Which rows, and which columns beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportWhat {
    /// Every row where it was; what became of it stands behind it.
    Results,
    /// Rows that were rejected or are dead; in front of each, its number and what is wrong.
    Failures,
}

/// The form of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportForm {
    /// A workbook.
    Xlsx,
    /// Text with commas, all sheets one after another.
    Csv,
    /// A JSON object a row, a line each.
    Ndjson,
}

impl fmt::Display for ExportWhat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Results => "results",
            Self::Failures => "failures",
        })
    }
}

impl fmt::Display for ExportForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xlsx => "xlsx",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        })
    }
}

impl FromStr for ExportForm {
    type Err = BadOption;

    fn from_str(text: &str) -> Result<Self, BadOption> {
        match text.to_ascii_lowercase().as_str() {
            "xlsx" => Ok(Self::Xlsx),
            "csv" => Ok(Self::Csv),
            "ndjson" => Ok(Self::Ndjson),
            _ => Err(BadOption::new(format!("`{text}` is none of xlsx, csv and ndjson"))),
        }
    }
}

/// Everything that the writing needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportPlan {
    /// What.
    pub what: ExportWhat,
    /// In which form.
    pub form: ExportForm,
    /// The original.
    pub file: PathBuf,
    /// How it was read.
    pub options: ReadOptions,
    /// How far reading may go.
    pub limits: ReadLimits,
    /// The ends of its rows ([`ends`](super::ends)).
    pub ends: PathBuf,
    /// The problems of its rejected rows, in the same form.
    pub rejects: PathBuf,
    /// What is written.
    pub out: PathBuf,
    /// The upload's id: a workbook of failures says by it what it corrects.
    pub upload: String,
    /// The sheets, as they were recorded.
    pub sheets: Vec<SheetHead>,
    /// The queues, in the order of their numbers in [`ends`](super::ends).
    pub queues: Vec<QueuePlan>,
    /// What is said of a row whose end is not told.
    pub untold: Status,
}

/// A queue's part in the columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePlan {
    /// Its name.
    pub name: String,
    /// Keys of outputs that have a column of their own, in their order.
    pub keys: Vec<String>,
    /// Whether there are outputs, or parts of them, that are beside the keys: they share a column.
    pub rest: bool,
}
