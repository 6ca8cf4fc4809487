//! A table of failures that comes back corrected. It says itself what it corrects (`told`); who knows
//! that upload makes a [`Correction`] of it, and the file is read by that (`mended`): its rows have the
//! numbers, the sheets and the columns of the original, as if they had been read there.

mod mended;
mod told;

use std::collections::HashSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::export::sheet_name;
use super::header::Names;
use super::options::BadOption;
use super::sink::SheetHead;

pub(crate) use mended::read;
pub(crate) use told::told;

/// The document property by which a table of failures says whose they are.
pub const PROPERTY: &str = "rowmill-upload";
/// The names of the columns that a table of failures has before those of the original, unless these
/// have them: which row it was, and what is wrong with it.
pub(crate) const ADDED: [&str; 2] = ["row", "problem"];
/// The attribute of a corrected row that says whose row it was.
pub const ATTRIBUTE: &str = "corrects";
/// Bytes of names of columns that are told to the process that reads: it is told them as an argument.
const NAMES_BYTES: usize = 48 << 10;

/// What it means that a file says it corrects an upload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionChoice {
    /// It is told to whoever reads it, who may read it again as that.
    #[default]
    Found,
    /// Nothing: it is a file like any other.
    Off,
    /// It is read as the correction of this upload.
    Of(Box<Correction>),
}

impl CorrectionChoice {
    /// Whether nothing was said.
    pub fn is_found(&self) -> bool {
        *self == Self::Found
    }

    /// What is corrected.
    pub fn of(&self) -> Option<&Correction> {
        match self {
            Self::Of(correction) => Some(correction),
            Self::Found | Self::Off => None,
        }
    }
}

impl FromStr for CorrectionChoice {
    type Err = BadOption;

    /// `found` or `off`.
    fn from_str(text: &str) -> Result<Self, BadOption> {
        match text {
            "found" => Ok(Self::Found),
            "off" => Ok(Self::Off),
            _ => Err(BadOption::new("it is `found` or `off`".into())),
        }
    }
}

/// The upload that a file corrects, as far as reading the file needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// Its public id.
    pub upload: String,
    /// The first of a chain of corrections: the upload itself, or what that corrects.
    pub root: String,
    /// Its sheets.
    pub sheets: Vec<CorrectedSheet>,
}

/// A sheet of the upload, and how it is found in the file that corrects it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrectedSheet {
    /// Its name in a table of failures.
    pub title: String,
    /// The sheet's number in the original; so is what follows.
    pub index: u16,
    /// Its name.
    pub name: Option<String>,
    /// The row that names the columns.
    pub header_row: u32,
    /// The column, from 0, of the first name.
    pub first_column: u32,
    /// The names of the columns that stand before them in a table of failures.
    pub added: [String; 2],
    /// The names, which a correction must have; none when they are too many to be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
}

impl Correction {
    /// The correction of an upload whose sheets were these.
    pub fn new(upload: String, root: String, heads: &[SheetHead]) -> Self {
        let mut titles: Vec<String> = vec![];
        let mut seen = HashSet::new();
        let mut bytes = 0;
        let mut sheets = vec![];
        for head in heads.iter().filter(|head| seen.insert(head.index)) {
            let title = sheet_name(head.name.as_deref().unwrap_or_default(), &titles);
            titles.push(title.clone());
            bytes += head.columns.iter().map(|name| name.len() + 4).sum::<usize>();
            sheets.push(CorrectedSheet {
                title,
                index: head.index,
                name: head.name.clone(),
                header_row: head.header_row.0,
                first_column: head.first_column,
                added: added(&head.columns),
                columns: head.columns.clone(),
            });
        }
        if bytes > NAMES_BYTES {
            sheets.iter_mut().for_each(|sheet| sheet.columns.clear());
        }
        Self { upload, root, sheets }
    }

    /// The sheet that goes by a name in a table of failures. What did not fit a sheet there goes on in
    /// another, `NAME (2)`.
    fn sheet(&self, title: &str) -> Option<&CorrectedSheet> {
        let exactly = |title: &str| self.sheets.iter().find(|sheet| sheet.title == title);
        exactly(title).or_else(|| {
            let (base, number) = title.rsplit_once(" (")?;
            number.strip_suffix(')')?.parse::<u32>().ok()?;
            exactly(base)
        })
    }
}

/// The names of the columns that are added in front, beside those that are taken.
pub(crate) fn added(taken: &[String]) -> [String; 2] {
    let mut names = Names::taken_by(taken);
    ADDED.map(|name| names.give(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowmill_domain::RowNumber;

    #[test]
    fn sheets_are_found_by_what_they_are_called_in_a_table_of_failures() {
        let head = |index, name: Option<&str>, columns: &[&str]| SheetHead {
            index,
            name: name.map(str::to_owned),
            header_row: RowNumber(3),
            first_column: 1,
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        };
        let heads = [
            head(0, Some("a/b"), &["id", "row"]),
            head(2, Some("a_b"), &["x"]),
            head(2, None, &[]),
        ];
        let correction = Correction::new("u".into(), "u".into(), &heads);
        let titles: Vec<_> = correction.sheets.iter().map(|sheet| sheet.title.as_str()).collect();
        assert_eq!(titles, ["a_b", "a_b (2)"]);
        assert_eq!(correction.sheets[0].added, ["row_2", "problem"]);
        let index = |title| correction.sheet(title).map(|sheet| sheet.index);
        assert_eq!((index("a_b"), index("a_b (2)"), index("a_b (3)")), (Some(0), Some(2), Some(0)));
        assert_eq!((index("Notes"), index("Notes (2)")), (None, None));
        let csv = Correction::new("u".into(), "u".into(), &[head(0, None, &["id"])]);
        assert_eq!(csv.sheets[0].title, "Sheet");
    }

    #[test]
    fn names_that_are_too_many_are_not_told() {
        let head = SheetHead {
            index: 0,
            name: None,
            header_row: RowNumber(1),
            first_column: 0,
            columns: (0..16_384).map(|n| format!("column {n}")).collect(),
        };
        let correction = Correction::new("u".into(), "u".into(), &[head]);
        assert!(correction.sheets[0].columns.is_empty());
        assert!(serde_json::to_string(&correction).unwrap().len() < 64 << 10);
    }

    #[test]
    fn a_choice_survives_json() {
        let of = CorrectionChoice::Of(Box::new(Correction::new("u".into(), "r".into(), &[])));
        for choice in [CorrectionChoice::Found, CorrectionChoice::Off, of] {
            let json = serde_json::to_string(&choice).unwrap();
            assert_eq!(serde_json::from_str::<CorrectionChoice>(&json).unwrap(), choice);
        }
        assert_eq!("off".parse(), Ok(CorrectionChoice::Off));
        assert!("on".parse::<CorrectionChoice>().is_err());
    }
}
