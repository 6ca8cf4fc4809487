//! Columns whose cells become attributes of their row's message, for queues to filter by.
//!
//! They are named as the rows' keys are, so a name means the same column in the header, in the data
//! and here. What an attribute holds is the cell's text: a string as it stands, anything else as its
//! JSON is written; of an empty cell there is no attribute. Every sheet that is read must have the
//! columns: a row that silently lacks what queues split by would go where nobody expects it.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::cell;
use super::options::BadOption;
use super::sink::SheetHead;
use rowmill_domain::{Address, Problem, ProblemKind};

/// Columns that may be chosen at most.
pub const MOST_COLUMNS: usize = 16;
/// Characters of a chosen column's name at most.
pub const MOST_NAME_CHARS: usize = 128;
/// Characters of an attribute's value at most. A row with a longer one is rejected.
pub const MOST_VALUE_CHARS: usize = 1_024;
/// Attributes that every message of an upload has.
pub const OF_EVERY_ROW: [&str; 4] = ["upload_id", "filename", "sheet", "row"];
/// Names of columns that a refusal lists.
const LISTED: usize = 20;
/// Characters of a name that a refusal shows.
const SHOWN: usize = 80;

/// The names of the chosen columns, each once, in the order chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttributeColumns(Vec<String>);

impl AttributeColumns {
    /// Whether none is chosen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in the order chosen.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl FromStr for AttributeColumns {
    type Err = BadOption;

    /// `country,city`; a name with a comma in it stands in double quotes, as in a csv file.
    fn from_str(text: &str) -> Result<Self, BadOption> {
        let bad = |detail: String| Err(BadOption::new(detail));
        let mut records = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        let mut names: Vec<String> = vec![];
        match records.records().next() {
            Some(Ok(record)) => names.extend(record.iter().map(|name| name.trim().to_owned())),
            Some(Err(error)) => return bad(error.to_string()),
            None => {}
        }
        if records.records().next().is_some() {
            return bad("the names stand in one line, with commas between them".into());
        }
        if names.is_empty() || names.iter().any(String::is_empty) {
            return bad("the name of a column cannot be empty".into());
        }
        if names.len() > MOST_COLUMNS {
            return bad(format!("{} columns are chosen; the limit is {MOST_COLUMNS}", names.len()));
        }
        let mut seen = HashSet::new();
        for name in &names {
            if name.chars().count() > MOST_NAME_CHARS {
                let detail = format!("a name has {MOST_NAME_CHARS} characters at most");
                return bad(detail);
            }
            if OF_EVERY_ROW.contains(&name.as_str()) {
                return bad(format!("every message of an upload has `{name}` as it is"));
            }
            if !seen.insert(name) {
                return bad(format!("`{name}` is there twice"));
            }
        }
        Ok(Self(names))
    }
}

impl AttributeColumns {
    /// Whether a header has all of them; `why` says what they are wanted for.
    ///
    /// # Errors
    /// [`ProblemKind::BadHeader`], with the first that is missing.
    pub fn check(&self, head: &SheetHead, why: &str) -> Result<(), Problem> {
        self.0.iter().try_for_each(|name| column_of(name, head, why).map(drop))
    }
}

/// Writes the attributes of rows of one sheet after another.
#[derive(Debug)]
pub(crate) struct Attributes<'a> {
    chosen: &'a [String],
    /// Of the sheet at hand: each chosen column, counted from 0, and its name as a JSON key.
    columns: Vec<(u32, Box<[u8]>)>,
    json: Vec<u8>,
}

/// A value that is too long to be an attribute, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong(pub(crate) usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cell has {} characters; an attribute has {MOST_VALUE_CHARS} at most", self.0)
    }
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(chosen: &'a AttributeColumns) -> Self {
        Self { chosen: &chosen.0, columns: Vec::new(), json: Vec::new() }
    }

    /// Finds the chosen columns in a sheet's header.
    pub(crate) fn find(&mut self, head: &SheetHead) -> Result<(), Problem> {
        self.columns.clear();
        for name in self.chosen {
            let place = column_of(name, head, "chosen as an attribute")?;
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            let mut key = Vec::new();
            cell::write_text(&mut key, name);
            key.push(b':');
            self.columns.push((head.first_column.saturating_add(place), key.into()));
        }
        Ok(())
    }

    /// Puts a row's attributes together; `cell` finds a cell's JSON by its column. A value that is too
    /// long is told with its column, and leaves the row without attributes.
    pub(crate) fn write<'c>(
        &mut self,
        cell: impl Fn(u32) -> Option<&'c [u8]>,
    ) -> Result<(), (u32, TooLong)> {
        self.json.clear();
        for (column, key) in &self.columns {
            let Some(json) = cell(*column).filter(|json| *json != b"null") else { continue };
            // No text has more characters than its JSON has bytes.
            if json.len() > MOST_VALUE_CHARS {
                let chars = cell::header_text(json).chars().count();
                if chars > MOST_VALUE_CHARS {
                    self.json.clear();
                    return Err((*column, TooLong(chars)));
                }
            }
            self.json.push(if self.json.is_empty() { b'{' } else { b',' });
            self.json.extend_from_slice(key);
            if json.starts_with(b"\"") {
                self.json.extend_from_slice(json);
            } else {
                // Numbers and truth values have nothing to escape.
                self.json.push(b'"');
                self.json.extend_from_slice(json);
                self.json.push(b'"');
            }
        }
        if !self.json.is_empty() {
            self.json.push(b'}');
        }
        Ok(())
    }

    /// The attributes of the row that was written last, if it has any.
    pub(crate) fn of_row(&self) -> Option<&[u8]> {
        (!self.json.is_empty()).then_some(self.json.as_slice())
    }
}

/// Which of a header's columns has that name, from 0; `why` says what it is wanted for.
pub(crate) fn column_of(name: &str, head: &SheetHead, why: &str) -> Result<usize, Problem> {
    let found = head.columns.iter().position(|column| column == name);
    found.ok_or_else(|| missing(name, head, why))
}

fn missing(name: &str, head: &SheetHead, why: &str) -> Problem {
    let shown = |name: &str| -> String { name.chars().take(SHOWN).collect() };
    let names: Vec<_> = head.columns.iter().take(LISTED).map(|name| shown(name)).collect();
    let more = if head.columns.len() > names.len() { ", ..." } else { "" };
    let detail = format!(
        "the column `{}` was {why}; the header has `{}`{more}",
        shown(name),
        names.join("`, `")
    );
    let at = Address { sheet: head.name.clone(), row: Some(head.header_row), ..Address::default() };
    Problem::new(ProblemKind::BadHeader, detail).at(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowmill_domain::RowNumber;

    fn chosen(text: &str) -> AttributeColumns {
        text.parse().unwrap()
    }

    fn head() -> SheetHead {
        SheetHead {
            index: 0,
            name: Some("Orders".into()),
            header_row: RowNumber(2),
            first_column: 3,
            columns: vec!["id".into(), "country".into(), "a\"b".into()],
        }
    }

    #[test]
    fn names_are_read_as_a_line_of_a_csv_file() {
        assert_eq!(chosen("country").0, ["country"]);
        assert_eq!(chosen(" country ,\"a, b\",c\"d").0, ["country", "a, b", "c\"d"]);
        let many: Vec<_> = (0..=MOST_COLUMNS).map(|n| format!("c{n}")).collect();
        let long = "x".repeat(MOST_NAME_CHARS + 1);
        assert!(many[1..].join(",").parse::<AttributeColumns>().is_ok());
        for bad in ["", ",", "a,", "a,a", "row", "a,sheet", "a\nb", &many.join(","), &long] {
            assert!(bad.parse::<AttributeColumns>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn cells_become_texts() {
        let columns = chosen("a\"b,country,id");
        let mut attributes = Attributes::new(&columns);
        attributes.find(&head()).unwrap();
        let mut row = |cells: [&'static str; 3]| {
            attributes.write(|column| Some(cells[5 - column as usize].as_bytes())).unwrap();
            attributes.of_row().map(|json| String::from_utf8(json.to_vec()).unwrap())
        };
        assert_eq!(
            row(["\"x\\ny\"", "\"DE\"", "12"]).unwrap(),
            r#"{"a\"b":"x\ny","country":"DE","id":"12"}"#
        );
        assert_eq!(
            row(["null", "true", "1.5e300"]).unwrap(),
            r#"{"country":"true","id":"1.5e300"}"#
        );
        assert_eq!(row(["null", "null", "null"]), None);
    }

    #[test]
    fn a_value_is_as_long_as_its_text() {
        let columns = chosen("id");
        let mut attributes = Attributes::new(&columns);
        attributes.find(&head()).unwrap();
        let mut of = |chars: usize| {
            let text = format!("\"{}\"", "\\u0001".repeat(chars));
            attributes.write(|column| (column == 3).then_some(text.as_bytes()))
        };
        assert_eq!(of(MOST_VALUE_CHARS), Ok(()));
        assert_eq!(of(MOST_VALUE_CHARS + 1), Err((3, TooLong(MOST_VALUE_CHARS + 1))));
        assert_eq!(attributes.of_row(), None);
    }

    #[test]
    fn a_name_that_is_not_in_the_header_is_refused_with_the_header() {
        let columns = chosen("id,land");
        let refused = Attributes::new(&columns).find(&head()).unwrap_err();
        assert_eq!(refused.kind, ProblemKind::BadHeader);
        assert_eq!(refused.at.to_string(), "Orders!2:2");
        assert!(refused.detail.contains("`land`"), "{refused}");
        assert!(refused.detail.contains("`id`, `country`, `a\"b`"), "{refused}");
    }
}
