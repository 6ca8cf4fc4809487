//! Places in a workbook, as a person names them (`Orders!C17`), and what was found there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A row of a sheet, 1-based, as the spreadsheet program shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowNumber(pub u32);

impl fmt::Display for RowNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A column of a sheet, 0-based; shown as its letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ColumnNumber(pub u32);

impl fmt::Display for ColumnNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = [0_u8; 8];
        let mut at = letters.len();
        let mut rest = u64::from(self.0) + 1;
        while rest > 0 {
            at -= 1;
            // `rest - 1` modulo 26 is below 26, and u32::MAX needs seven letters.
            letters[at] = b'A' + ((rest - 1) % 26) as u8;
            rest = (rest - 1) / 26;
        }
        letters[at..].iter().try_for_each(|b| fmt::Write::write_char(f, char::from(*b)))
    }
}

/// Where in a workbook: `Orders!C17`, or less where less is known. A csv file has no sheet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The sheet's name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sheet: Option<String>,
    /// The row, 1-based.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub row: Option<RowNumber>,
    /// The column, 0-based.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<ColumnNumber>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = match (self.column, self.row) {
            (Some(column), Some(row)) => format!("{column}{row}"),
            (Some(column), None) => format!("{column}:{column}"),
            (None, Some(row)) => format!("{row}:{row}"),
            (None, None) => String::new(),
        };
        match &self.sheet {
            Some(sheet) if cell.is_empty() => f.write_str(sheet),
            Some(sheet) => write!(f, "{sheet}!{cell}"),
            None => f.write_str(&cell),
        }
    }
}

/// What a finding means for its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The row became a message; something in it deserves a look.
    Warning,
    /// The row did not become a message.
    Rejected,
    /// The row did not become a message because one that is known by the same did.
    Duplicate,
}

/// Something a person should know about a cell or a row, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Warned of, or rejected.
    pub kind: FindingKind,
    /// Where.
    pub at: Address,
    /// What, in words a person can act on.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_by_letters() {
        let names = [0, 25, 26, 701, 702, 16_383, u32::MAX].map(|n| ColumnNumber(n).to_string());
        assert_eq!(names[..6], ["A", "Z", "AA", "ZZ", "AAA", "XFD"]);
        assert_eq!(names[6], "MWLQKWV");
    }

    #[test]
    fn addresses_read_as_in_a_formula() {
        let mut at = Address {
            sheet: Some("Orders".into()),
            row: Some(RowNumber(17)),
            column: Some(ColumnNumber(2)),
        };
        assert_eq!(at.to_string(), "Orders!C17");
        at.column = None;
        assert_eq!(at.to_string(), "Orders!17:17");
        at.sheet = None;
        assert_eq!(at.to_string(), "17:17");
        assert_eq!(Address { sheet: Some("S".into()), ..Address::default() }.to_string(), "S");
    }
}
