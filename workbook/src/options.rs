//! What a person may say about how their file is to be read. Everything has a default that is
//! found out from the file itself; whatever is said here wins over what is found.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::attributes::AttributeColumns;
use super::correction::CorrectionChoice;
use super::rules::{OnInvalid, Rules, TextDates};
use rowmill_domain::RowNumber;

/// An option that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadOption(String);

impl BadOption {
    pub(super) fn new(detail: String) -> Self {
        Self(detail)
    }
}

/// How a file is to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// Which sheet; a csv file has one, without a name.
    pub sheet: SheetChoice,
    /// Which row names the columns.
    pub header_row: HeaderRow,
    /// For csv files alone.
    pub csv: CsvOptions,
    /// Which columns become attributes of their row's message.
    #[serde(skip_serializing_if = "AttributeColumns::is_empty")]
    pub attributes: AttributeColumns,
    /// What the topic demands of rows: as it was when the upload began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Box<Rules>>,
    /// What becomes of dates that are written as text.
    #[serde(skip_serializing_if = "TextDates::is_default")]
    pub dates: TextDates,
    /// What becomes of the upload when rows are not valid.
    #[serde(skip_serializing_if = "OnInvalid::is_default")]
    pub on_invalid: OnInvalid,
    /// Which columns a row is known by.
    #[serde(skip_serializing_if = "AttributeColumns::is_empty")]
    pub key: AttributeColumns,
    /// Whether it is read as the correction of an upload.
    #[serde(skip_serializing_if = "CorrectionChoice::is_found")]
    pub correction: CorrectionChoice,
}

impl ReadOptions {
    /// The same, with every row left as it is in the file.
    pub(crate) fn unchecked(&self) -> Self {
        Self { rules: None, dates: TextDates::Keep, on_invalid: OnInvalid::Skip, ..self.clone() }
    }
}

/// Which sheet, or sheets, become messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SheetChoice {
    /// The first sheet that is not hidden, or the first if all are: what a person sees on opening.
    #[default]
    First,
    /// The sheet of that name, hidden or not.
    Name(String),
    /// The sheet at that place, counted from 1, hidden ones included.
    Index(u16),
    /// Every sheet, hidden ones included, each with its own header; those without rows are skipped.
    All,
}

impl FromStr for SheetChoice {
    type Err = BadOption;

    /// `first`, `all`, `#2` for the second sheet, anything else is a name.
    fn from_str(text: &str) -> Result<Self, BadOption> {
        match text {
            "" => Err(BadOption("the name of a sheet cannot be empty".into())),
            "first" => Ok(Self::First),
            "all" => Ok(Self::All),
            _ => match text.strip_prefix('#').map(str::parse::<u16>) {
                Some(Ok(place)) if place > 0 => Ok(Self::Index(place)),
                Some(Ok(_)) => Err(BadOption("sheets are counted from #1".into())),
                _ => Ok(Self::Name(text.to_owned())),
            },
        }
    }
}

/// Which row names the columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderRow {
    /// The first row with something in it.
    #[default]
    Found,
    /// This one, whatever stands above it.
    Told(RowNumber),
}

impl FromStr for HeaderRow {
    type Err = BadOption;

    /// `found`, or the number of the row, counted from 1.
    fn from_str(text: &str) -> Result<Self, BadOption> {
        match (text, text.parse::<u32>()) {
            ("found", _) => Ok(Self::Found),
            (_, Ok(row)) if row > 0 => Ok(Self::Told(RowNumber(row))),
            _ => Err(BadOption(format!("`{text}` is not a row number, counted from 1"))),
        }
    }
}

/// How a csv file is written. `None` is found out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CsvOptions {
    /// What stands between two fields: one ASCII character.
    pub delimiter: Option<char>,
    /// What encloses a field: one ASCII character.
    pub quote: Option<char>,
    /// A label of the Encoding Standard, such as `utf-8`, `windows-1252`, `shift_jis`.
    pub encoding: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_from_text() {
        assert_eq!("first".parse(), Ok(SheetChoice::First));
        assert_eq!("all".parse(), Ok(SheetChoice::All));
        assert_eq!("#2".parse(), Ok(SheetChoice::Index(2)));
        assert_eq!("#x".parse(), Ok(SheetChoice::Name("#x".into())));
        assert!("#0".parse::<SheetChoice>().is_err());
        assert_eq!("3".parse(), Ok(HeaderRow::Told(RowNumber(3))));
        assert!("0".parse::<HeaderRow>().is_err());
    }

    #[test]
    fn options_survive_json_and_have_defaults() {
        let some = ReadOptions {
            sheet: SheetChoice::Name("Orders".into()),
            header_row: HeaderRow::Told(RowNumber(4)),
            csv: CsvOptions { delimiter: Some(';'), ..CsvOptions::default() },
            attributes: "country,\"a, b\"".parse().unwrap(),
            rules: Some(Box::default()),
            dates: TextDates::Auto,
            on_invalid: OnInvalid::Abort,
            key: "id".parse().unwrap(),
            correction: CorrectionChoice::Off,
        };
        let text = serde_json::to_string(&some).unwrap();
        assert_eq!(serde_json::from_str::<ReadOptions>(&text).unwrap(), some);
        assert_eq!(serde_json::from_str::<ReadOptions>("{}").unwrap(), ReadOptions::default());
    }
}
