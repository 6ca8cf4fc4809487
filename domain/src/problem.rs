//! A fault that somebody outside can act on: what is wrong, and where. The same document is a
//! reader's refusal, an upload's recorded fault and, over HTTP, `application/problem+json`
//! (RFC 9457); the command line prints its title, its detail and its address.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Address, Finding};

/// What kind of problem it is. The kind alone decides how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// Not a spreadsheet, or not one of the kinds we read (415).
    WrongKind,
    /// The file needs a password (422).
    Encrypted,
    /// The file is damaged, or says something that cannot be (422).
    Unreadable,
    /// There is no such sheet (422).
    NoSuchSheet,
    /// There is no header, or the one told is not there (422).
    BadHeader,
    /// There is nothing in it to process (422).
    Empty,
    /// A limit was passed: inflated size, ratio, rows, columns, output (413). A cell or a row over its
    /// limit rejects that row alone.
    TooLarge,
    /// Dates are written as text, and it cannot be told in what order (422).
    AmbiguousDates,
    /// Rows are not valid, and one such row is enough to refuse the file (422).
    InvalidRows,
    /// The reader ran out of its memory or its time, or ended without a word (422).
    ReaderDied,
    /// It corrects an upload, and cannot be taken as that (422).
    NotCorrectable,
}

impl ProblemKind {
    /// The title: what is wrong, the same for every problem of the kind.
    pub fn title(self) -> &'static str {
        match self {
            Self::WrongKind => "This is not a spreadsheet that can be read",
            Self::Encrypted => "The workbook is protected by a password",
            Self::Unreadable => "The file is damaged",
            Self::NoSuchSheet => "There is no such sheet",
            Self::BadHeader => "The header row cannot be used",
            Self::Empty => "There are no rows",
            Self::TooLarge => "The file passes a limit",
            Self::AmbiguousDates => "The dates can be read in two ways",
            Self::InvalidRows => "Rows are not valid",
            Self::NotCorrectable => "The file cannot be taken as a correction",
            Self::ReaderDied => "The file could not be read within its limits",
        }
    }
}

/// What is wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind.
    pub kind: ProblemKind,
    /// What a person can act on.
    pub detail: String,
    /// Where in the workbook, as far as known.
    #[serde(default)]
    pub at: Address,
    /// The first problems, one by one, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

impl Problem {
    /// A problem of the file as a whole.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), at: Address::default(), findings: vec![] }
    }

    /// The same problem, at a place.
    #[must_use]
    pub fn at(mut self, at: Address) -> Self {
        self.at = at;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.at.to_string();
        if place.is_empty() {
            write!(f, "{}: {}", self.kind.title(), self.detail)
        } else {
            write!(f, "{}, at {place}: {}", self.kind.title(), self.detail)
        }
    }
}

impl std::error::Error for Problem {}
