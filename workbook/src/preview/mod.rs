//! A look at a file before it is sent: every row is read and none is handed on. What is gathered
//! says what the columns are over their whole length and where cells disagree, what the first rows
//! are, which rows come again, and whether its dates can be told.
//!
//! [`Profile`] is a [`Sink`] like the one that rows go to, so that a look sees just what an upload
//! would send.

mod column;
mod dates;
mod kind;
mod row;
mod twins;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use column::{ColumnPreview, Dates};
pub use dates::DateOrder;
pub use kind::Kind;
pub use twins::Duplicates;

use super::attributes::{AttributeColumns, column_of};
use super::sheets::Listed;
use super::sink::{SheetHead, Sink, Stop, Totals};
use column::Column;
use rowmill_domain::{ColumnNumber, Finding, RowNumber, units};
use twins::Twins;

/// What to look for, and how much of it to keep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreviewOptions {
    /// Columns that a row is known by; the whole row when there are none.
    pub key: AttributeColumns,
    /// How much is kept and told.
    pub limits: PreviewLimits,
}

/// How much of a look is kept and told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreviewLimits {
    /// First rows shown of each sheet. 10.
    pub rows: usize,
    /// Bytes of all first rows together. 1 MiB.
    #[serde(with = "units::size")]
    pub row_bytes: usize,
    /// Addresses told of whatever disagrees in a column, and of rows that come again. 10.
    pub addresses: usize,
    /// Findings told. 100.
    pub findings: usize,
    /// Sheets listed, and shown when all are read. 100.
    pub sheets: usize,
    /// Columns shown, of all sheets together. 1,000.
    pub columns: usize,
    /// Rows among which those that come again are looked for, 16 bytes each and as much again.
    /// 4,000,000.
    pub kept_rows: usize,
}

impl Default for PreviewLimits {
    fn default() -> Self {
        Self {
            rows: 10,
            row_bytes: 1 << 20,
            addresses: 10,
            findings: 100,
            sheets: 100,
            columns: 1_000,
            kept_rows: 4_000_000,
        }
    }
}

/// What a file is, as an upload would read it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Preview {
    /// The sheets of the workbook, in its order; none of a csv file.
    pub workbook: Vec<ListedSheet>,
    /// The sheets that were read.
    pub sheets: Vec<SheetPreview>,
    /// What was counted.
    pub totals: Totals,
    /// Rejected rows and warnings, the first of them.
    pub findings: Vec<Finding>,
    /// Rows that come again.
    pub duplicates: Duplicates,
    /// The upload that the file says it corrects.
    #[serde(default)]
    pub corrects: Option<String>,
}

/// A sheet as the workbook lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSheet {
    /// Its name.
    pub name: String,
    /// Whether a person does not see it.
    pub hidden: bool,
}

/// A sheet that was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SheetPreview {
    /// Its name; a csv file has none.
    pub name: Option<String>,
    /// The row that the names were taken from.
    pub header_row: RowNumber,
    /// Rows under it.
    pub rows: u64,
    /// The columns, those without a name in the header last.
    pub columns: Vec<ColumnPreview>,
    /// Columns that are not shown, because there are too many.
    pub columns_left_out: usize,
    /// The first rows, as they would be sent.
    pub first: Vec<FirstRow>,
}

/// A row as it would be sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FirstRow {
    /// Its number in the sheet.
    pub row: RowNumber,
    /// The row.
    pub data: Box<RawValue>,
}

/// Looks at rows.
#[derive(Debug)]
pub struct Profile<'a> {
    options: &'a PreviewOptions,
    listed: Vec<ListedSheet>,
    ended: Vec<SheetPreview>,
    names: HashMap<u16, Option<String>>,
    sheet: Option<Sheet>,
    findings: Vec<Finding>,
    corrects: Option<String>,
    twins: Twins,
    /// Columns that may still be shown.
    columns: usize,
    /// Bytes of first rows that may still be.
    row_bytes: usize,
}

/// The sheet at hand.
#[derive(Debug)]
struct Sheet {
    head: SheetHead,
    rows: u64,
    columns: Vec<Column>,
    /// Columns without a name in the header, by their keys.
    beyond: Vec<String>,
    /// Places of the columns that a row is known by; empty for all.
    key: Vec<usize>,
    first: Vec<FirstRow>,
}

impl<'a> Profile<'a> {
    /// Looks as the options say.
    pub fn new(options: &'a PreviewOptions) -> Self {
        Self {
            options,
            listed: vec![],
            ended: vec![],
            names: HashMap::new(),
            sheet: None,
            findings: vec![],
            corrects: None,
            twins: Twins::new(options.limits.kept_rows, options.limits.addresses),
            columns: options.limits.columns,
            row_bytes: options.limits.row_bytes,
        }
    }

    /// What was seen.
    pub fn end(mut self, totals: Totals) -> Preview {
        self.close();
        let names = self.names;
        Preview {
            workbook: self.listed,
            sheets: self.ended,
            totals,
            findings: self.findings,
            corrects: self.corrects,
            duplicates: self.twins.end(|sheet| names.get(&sheet).cloned().flatten()),
        }
    }

    fn close(&mut self) {
        let Some(sheet) = self.sheet.take() else { return };
        let Sheet { head, rows, columns, beyond, first, .. } = sheet;
        if self.ended.len() == self.options.limits.sheets {
            return;
        }
        let name = head.name.as_deref();
        let side_by_side = head.first_column..;
        let places = side_by_side.zip(head.columns).chain(
            beyond.into_iter().map(|key| (column_of_letters(&key).unwrap_or(u32::MAX), key)),
        );
        let columns_left_out = columns.len().saturating_sub(self.columns);
        let columns: Vec<_> = columns
            .into_iter()
            .zip(places)
            .take(self.columns)
            .map(|(column, (place, key))| {
                column.end(key, ColumnNumber(place), name, rows, self.options.limits.addresses)
            })
            .collect();
        self.columns -= columns.len();
        self.ended.push(SheetPreview {
            name: head.name,
            header_row: head.header_row,
            rows,
            columns,
            columns_left_out,
            first,
        });
    }
}

impl Sink for Profile<'_> {
    fn listed(&mut self, sheets: &[Listed]) {
        self.listed = sheets
            .iter()
            .take(self.options.limits.sheets)
            .map(|sheet| ListedSheet { name: sheet.name.clone(), hidden: sheet.hidden })
            .collect();
    }

    fn corrects(&mut self, upload: &str) -> Result<(), Stop> {
        self.corrects = Some(upload.to_owned());
        Ok(())
    }

    fn sheet(&mut self, head: &SheetHead) -> Result<(), Stop> {
        self.close();
        let key = self.options.key.names().map(|name| column_of(name, head, "named as the key"));
        let key = key.collect::<Result<Vec<_>, _>>()?;
        self.names.insert(head.index, head.name.clone());
        self.sheet = Some(Sheet {
            columns: head.columns.iter().map(|_| Column::default()).collect(),
            head: head.clone(),
            rows: 0,
            beyond: vec![],
            key,
            first: vec![],
        });
        Ok(())
    }

    fn row(&mut self, row: RowNumber, json: &[u8], _: Option<&[u8]>) -> Result<(), Stop> {
        let Some(sheet) = &mut self.sheet else { return Ok(()) };
        sheet.rows += 1;
        if sheet.first.len() < self.options.limits.rows && json.len() <= self.row_bytes {
            self.row_bytes -= json.len();
            let data = serde_json::from_slice(json).map_err(std::io::Error::from)?;
            sheet.first.push(FirstRow { row, data });
        }
        row::look(sheet, &mut self.twins, row, json, self.options.limits.addresses)
            .map_err(std::io::Error::from)?;
        Ok(())
    }

    fn finding(&mut self, finding: Finding) -> Result<(), Stop> {
        if self.findings.len() < self.options.limits.findings {
            self.findings.push(finding);
        }
        Ok(())
    }
}

/// The column that a key without a name stands for: its letters, and perhaps `_2`.
fn column_of_letters(key: &str) -> Option<u32> {
    let letters = key.split('_').next()?;
    let mut place = 0_u32;
    for letter in letters.bytes() {
        let digit = u32::from(letter.checked_sub(b'A').filter(|n| *n < 26)?) + 1;
        place = place.checked_mul(26)?.checked_add(digit)?;
    }
    place.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::limits::ReadLimits;
    use crate::options::{ReadOptions, SheetChoice};
    use rowmill_domain::ProblemKind;

    fn looked(text: &str, key: &str) -> Result<Preview, Stop> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.csv");
        std::fs::write(&path, text).unwrap();
        let key = if key.is_empty() { AttributeColumns::default() } else { key.parse().unwrap() };
        look(&path, &ReadOptions::default(), PreviewOptions { key, ..PreviewOptions::default() })
    }

    fn look(path: &Path, read: &ReadOptions, options: PreviewOptions) -> Result<Preview, Stop> {
        let mut profile = Profile::new(&options);
        let totals = crate::read(path, read, &ReadLimits::default(), &mut profile)?;
        Ok(profile.end(totals))
    }

    #[test]
    fn a_csv_file_is_seen_whole() {
        let seen = looked(
            "id,amount,when\n1,2.50,03/04/2026\n\n2,3,13/04/2026\n3,much,01/02/2026\n1,2.50,03/04/2026\n",
            "",
        )
        .unwrap();
        let [sheet] = &seen.sheets[..] else { panic!("{seen:?}") };
        assert_eq!((sheet.name.as_deref(), sheet.header_row, sheet.rows), (None, RowNumber(1), 4));
        let kinds: Vec<_> = sheet.columns.iter().map(|c| (c.name.as_str(), c.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("id", Some(Kind::Integer)),
                ("amount", Some(Kind::Number)),
                ("when", Some(Kind::Text))
            ]
        );
        let amount = &sheet.columns[1];
        assert_eq!(amount.disagreeing, 1);
        assert_eq!(amount.disagree[0].0.to_string(), "B5");
        assert_eq!(sheet.columns[2].dates.as_ref().unwrap().order, DateOrder::DayFirst);
        assert_eq!((seen.duplicates.rows, seen.duplicates.complete), (1, true));
        assert_eq!(sheet.first[0].data.get(), r#"{"id":"1","amount":"2.50","when":"03/04/2026"}"#);
        assert_eq!(seen.totals.blank_rows, 1);
    }

    #[test]
    fn rows_are_known_by_their_key() {
        let seen = looked("id,n\nA,1\nB,2\nA,3\n,4\n,5\n", "id").unwrap();
        assert_eq!((seen.duplicates.rows, seen.duplicates.without_key), (1, 2));
        let (again, first) = &seen.duplicates.first[0];
        assert_eq!((again.row, first.row), (Some(RowNumber(4)), Some(RowNumber(2))));
        match looked("id,n\nA,1\n", "Id") {
            Err(Stop::Problem(problem)) => assert_eq!(problem.kind, ProblemKind::BadHeader),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn columns_without_a_name_are_shown_with_their_letters() {
        let seen = looked("a,b\n1,2\n3,4,5\n", "").unwrap();
        let last = seen.sheets[0].columns.last().unwrap();
        assert_eq!((last.name.as_str(), last.column), ("C", ColumnNumber(2)));
        assert_eq!((last.filled, last.blank), (1, 1));
        assert_eq!(seen.findings.len(), 1);
        for (key, place) in [("A", Some(0)), ("AA_2", Some(26)), ("", None), ("x", None)] {
            assert_eq!(column_of_letters(key), place, "{key}");
        }
    }

    #[test]
    fn a_workbook_lists_its_sheets() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources");
        let file = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let file = file.into_iter().find(|path| path.to_string_lossy().contains("21")).unwrap();
        let read = ReadOptions { sheet: SheetChoice::All, ..ReadOptions::default() };
        let seen = look(
            &file,
            &read,
            PreviewOptions {
                limits: PreviewLimits { rows: 3, ..PreviewLimits::default() },
                ..PreviewOptions::default()
            },
        )
        .unwrap();
        assert!(!seen.workbook.is_empty() && !seen.workbook[0].hidden);
        assert_eq!(seen.sheets[0].name.as_ref(), Some(&seen.workbook[0].name));
        assert_eq!((seen.sheets[0].rows, seen.sheets[0].first.len()), (21, 3));
        let json = serde_json::to_string(&seen).unwrap();
        let again: Preview = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), json);
    }
}
