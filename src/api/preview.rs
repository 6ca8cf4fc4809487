//! A look at a file that is not sent yet: what `POST /file/upload?dry_run=true` answers.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{Finding, Problem};

/// What became of one file of a dry run.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum PreviewAnswer {
    /// Seen.
    Seen(Box<Preview>),
    /// It would be refused.
    Refused(Box<Problem>),
}

/// By hand, because what is told apart by trying cannot hold rows as they are written.
impl<'de> Deserialize<'de> for PreviewAnswer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(from)?;
        let json = json.get();
        let seen = serde_json::from_str(json).map(Self::Seen);
        let answer = seen.or_else(|_| serde_json::from_str(json).map(Self::Refused));
        answer.map_err(D::Error::custom)
    }
}

/// A file as an upload would read it. Nothing of it is kept.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Preview {
    /// The file's name as sent.
    pub filename: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in hex.
    pub content_hash: String,
    /// The sheets of the workbook, in its order; none of a csv file.
    pub workbook: Vec<ListedSheet>,
    /// The sheets that were read.
    pub sheets: Vec<SheetPreview>,
    /// What was counted.
    pub counts: PreviewCounts,
    /// Rejected rows and warnings, the first of them.
    pub findings: Vec<Finding>,
    /// Rows that come again.
    pub duplicates: Duplicates,
    /// How long it would take.
    pub estimate: Estimate,
    /// The upload that it corrects: rows have the numbers that they have there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<uuid::Uuid>,
}

/// A sheet as the workbook lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ListedSheet {
    /// Its name.
    pub name: String,
    /// Whether a person does not see it on opening the workbook.
    pub hidden: bool,
    /// Whether it was read.
    pub chosen: bool,
}

/// Why a row is the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeaderBecause {
    /// It is the first row with something in it.
    FirstFilled,
    /// The request said so.
    Told,
}

/// A sheet that was read.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SheetPreview {
    /// Its name; a csv file has none.
    pub name: Option<String>,
    /// The row that names the columns.
    pub header_row: u32,
    /// Why that one.
    pub header_because: HeaderBecause,
    /// Rows under it that would become messages.
    pub rows: u64,
    /// The columns; those without a name in the header come last, under their letters.
    pub columns: Vec<ColumnPreview>,
    /// Columns that are not shown, because there are too many.
    pub columns_left_out: u64,
    /// The first rows, as they would be sent.
    pub first: Vec<FirstRow>,
}

/// What kind of value a cell is, or most cells of a column. In a csv file it is what the text reads as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CellKind {
    /// Text.
    Text,
    /// A number without a fraction.
    Integer,
    /// Any other number.
    Number,
    /// True or false.
    Boolean,
    /// A day.
    Date,
    /// A day and a time.
    DateTime,
    /// A time of day.
    Time,
    /// An amount of time.
    Duration,
}

/// A column, looked at from its first cell to its last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ColumnPreview {
    /// Its name: a key of every row.
    pub name: String,
    /// Its letters.
    pub column: String,
    /// What most of its cells are; nothing when all are blank.
    pub kind: Option<CellKind>,
    /// Cells with something in them.
    pub filled: u64,
    /// Rows that have nothing there.
    pub blank: u64,
    /// Cells of other kinds.
    pub disagreeing: u64,
    /// The first of these.
    pub disagree: Vec<Disagreeing>,
    /// Cells of text that read as numbers, in a workbook.
    pub numbers_as_text: u64,
    /// Dates that are written as text.
    pub dates: Option<TextDates>,
}

/// A cell of another kind than its column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Disagreeing {
    /// Where, such as `Orders!C17`.
    pub address: String,
    /// What it is.
    pub kind: CellKind,
}

/// In what order the dates of a column are written, as far as its cells give it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DateOrder {
    /// DD/MM.
    DayFirst,
    /// MM/DD.
    MonthFirst,
    /// Both would do for every cell.
    Ambiguous,
    /// Some cells can only be the one, some only the other.
    Mixed,
}

/// The dates of a column that are written as text. They are sent as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TextDates {
    /// The order.
    pub order: DateOrder,
    /// How many there are.
    pub cells: u64,
    /// The first cell that only the day first makes a date.
    pub day_first: Option<String>,
    /// The first that only the month first does.
    pub month_first: Option<String>,
}

/// A row as it would be sent.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FirstRow {
    /// Its number in the sheet.
    pub row: u32,
    /// The row.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PreviewCounts {
    /// Rows that would become messages.
    pub rows: u64,
    /// Rows that would not.
    pub rejected: u64,
    /// Blank rows passed over.
    pub blank: u64,
    /// Warnings.
    pub warnings: u64,
}

/// Rows that come again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Duplicates {
    /// The columns that a row is known by; all of them when none was named.
    pub key: Vec<String>,
    /// How many rows come again.
    pub rows: u64,
    /// The first of these.
    pub first: Vec<Twin>,
    /// Rows that have nothing in a column of the key.
    pub without_key: u64,
    /// Whether every row was compared with all before it: in a very long file, only with so many.
    pub complete: bool,
}

/// A row that comes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Twin {
    /// Where it is.
    pub address: String,
    /// Where it was first.
    pub first: String,
}

/// How long a file would take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Estimate {
    /// Seconds that reading it took just now; an upload reads and publishes at about that rate.
    pub reading_seconds: f64,
    /// Seconds until its rows are worked off, behind what waits already, at the rate of the last
    /// minute; nothing when nothing was worked off in it, or no queue takes rows.
    pub working_seconds: Option<f64>,
}
