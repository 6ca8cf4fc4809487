//! Rows on their way to a sink, checked one after another. Memory holds one row, and the problems of
//! one row; of an upload that shall be whole or not at all, also the first problems of the file.

use std::borrow::Cow;
use std::fmt;
use std::io;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::dates::iso;
use super::plan::{Column, Plan};
use super::schema::{Schema, short};
use super::terms::{OnInvalid, OtherColumns, Rules, TextDates};
use super::value::{text_of, typed};
use crate::limits::ReadLimits;
use crate::options::ReadOptions;
use crate::preview::column_of_letters;
use crate::shape::CellsOfRow;
use crate::sheets::Listed;
use crate::sink::{SheetHead, Sink, Stop, Totals};
use rowmill_domain::{
    Address, ColumnNumber, Finding, FindingKind, Problem, ProblemKind, RowNumber,
};

/// Problems after which a file that shall be whole or not at all is not read further.
const FIRST: usize = 20;
/// Those of them that are told in words; the others stand beside.
const IN_WORDS: usize = 3;
/// Rejected rows after which the sink is told that the reader is alive.
const SILENT: u64 = 10_000;

/// Lets `read` hand its rows to `sink`, checked as the options say.
///
/// # Errors
/// As of `read`; and [`ProblemKind::InvalidRows`] where one row that breaks the rules is enough.
pub(crate) fn checked(
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
    read: impl FnOnce(&mut dyn Sink) -> Result<Totals, Stop>,
) -> Result<Totals, Stop> {
    let asks = options.rules.as_deref().is_some_and(|rules| !rules.is_empty());
    let converts = !matches!(options.dates, TextDates::Keep | TextDates::Auto);
    if !asks && !converts && options.on_invalid == OnInvalid::Skip {
        return read(sink);
    }
    let none = Rules::default();
    let rules = options.rules.as_deref().unwrap_or(&none);
    let schema = rules.check().map_err(|error| {
        Problem::new(ProblemKind::InvalidRows, format!("the topic's rules cannot be used: {error}"))
    })?;
    let mut checked = Checked {
        sink,
        rules,
        dates: &options.dates,
        on_invalid: options.on_invalid,
        limits,
        schema,
        sheet: None,
        out: vec![],
        found: vec![],
        first: vec![],
        rejected: 0,
        invalid: 0,
        told: 0,
        silent: 0,
    };
    let totals = read(&mut checked)?;
    checked.end(totals)
}

struct Checked<'a> {
    sink: &'a mut dyn Sink,
    rules: &'a Rules,
    dates: &'a TextDates,
    on_invalid: OnInvalid,
    limits: &'a ReadLimits,
    schema: Option<Schema>,
    sheet: Option<(SheetHead, Plan)>,
    /// The row at hand, as it is to be published.
    out: Vec<u8>,
    /// What is wrong with it.
    found: Vec<Found>,
    /// The first problems of the file, if one is enough.
    first: Vec<Finding>,
    /// Rows that broke the rules.
    rejected: u64,
    /// These, and those that the reader rejected.
    invalid: u64,
    /// Findings that the sink was told.
    told: u64,
    /// Rejected rows since the sink heard anything.
    silent: u64,
}

/// Something that is wrong with the row at hand.
struct Found {
    column: Option<u32>,
    detail: String,
}

impl Checked<'_> {
    /// Checks a row. Afterwards `found` says what is wrong, or `out` is the row as it is published,
    /// unless that is what it was.
    fn judge(&mut self, json: &[u8]) -> Result<(), Stop> {
        self.found.clear();
        let Some((_, plan)) = &self.sheet else { return Ok(()) };
        if !plan.changes && self.schema.is_none() && plan.columns.iter().all(|one| !one.required) {
            return Ok(());
        }
        let pairs: Pairs<'_> = serde_json::from_slice(json).map_err(io::Error::from)?;
        let mut judged = Judged { out: &mut self.out, found: &mut self.found, row: Map::new() };
        judged.out.clear();
        for (place, (key, value)) in pairs.0.iter().enumerate() {
            match plan.columns.get(place) {
                Some(column) => judged.cell(column, value.get(), self.schema.is_some())?,
                None => judged.beyond(plan, key.get(), value.get(), self.schema.is_some())?,
            }
        }
        judged.out.extend_from_slice(if judged.out.is_empty() { b"{}" } else { b"}" });
        let row = Value::Object(judged.row);
        if let Some(schema) = &self.schema {
            let most = usize::try_from(self.limits.findings).unwrap_or(usize::MAX).max(1);
            for problem in schema.problems(&row, most) {
                let column = problem.key.as_deref().and_then(|key| place_of(plan, &pairs, key));
                // What could not be converted is told once, not again as what is missing for that.
                if column.is_some() && self.found.iter().any(|found| found.column == column) {
                    continue;
                }
                let detail = match problem.key {
                    Some(key) => format!("`{}`: {}", short(&key), problem.detail),
                    None => problem.detail,
                };
                self.found.push(Found { column, detail });
            }
        }
        self.found.sort_by_key(|found| found.column.map_or((1, 0), |column| (0, column)));
        Ok(())
    }

    fn at(&self, row: RowNumber, column: Option<u32>) -> Address {
        let sheet = self.sheet.as_ref().and_then(|(head, _)| head.name.clone());
        Address { sheet, row: Some(row), column: column.map(ColumnNumber) }
    }

    /// Tells of the row at hand that it is rejected, and why.
    fn reject(&mut self, row: RowNumber) -> Result<(), Stop> {
        self.rejected += 1;
        self.invalid += 1;
        // A row is told of whole or not at all: what was recorded of one is all that is looked at.
        let room = self.limits.findings.saturating_sub(self.told);
        if self.told > 0 && self.found.len() as u64 > room {
            self.told = self.limits.findings;
        }
        for found in std::mem::take(&mut self.found) {
            let at = self.at(row, found.column);
            self.tell(Finding { kind: FindingKind::Rejected, at, detail: found.detail })?;
        }
        self.silent += 1;
        if self.silent >= SILENT {
            self.silent = 0;
            self.sink.pulse()?;
        }
        self.enough()
    }

    fn tell(&mut self, finding: Finding) -> Result<(), Stop> {
        if self.on_invalid == OnInvalid::Abort
            && finding.kind == FindingKind::Rejected
            && self.first.len() < FIRST
        {
            self.first.push(finding.clone());
        }
        if self.told >= self.limits.findings {
            return Ok(());
        }
        self.told += 1;
        self.sink.finding(finding)
    }

    /// Whether so much is wrong that reading on tells nobody anything.
    fn enough(&mut self) -> Result<(), Stop> {
        if self.first.len() < FIRST { Ok(()) } else { Err(self.broken("at least ").into()) }
    }

    fn broken(&mut self, at_least: &str) -> Problem {
        let first = std::mem::take(&mut self.first);
        let words: Vec<_> = first.iter().take(IN_WORDS).map(ToString::to_string).collect();
        let more = if first.len() > words.len() { "; and so on" } else { "" };
        let rows = if self.invalid == 1 { "row is" } else { "rows are" };
        let detail =
            format!("{at_least}{} {rows} not valid: {}{more}", self.invalid, words.join("; "));
        let at = first.first().map(|first| first.at.clone()).unwrap_or_default();
        let mut problem = Problem::new(ProblemKind::InvalidRows, detail).at(at);
        problem.findings = first;
        problem
    }

    fn end(mut self, mut totals: Totals) -> Result<Totals, Stop> {
        totals.rows = totals.rows.saturating_sub(self.rejected);
        totals.rejected_rows += self.rejected;
        if self.first.is_empty() { Ok(totals) } else { Err(self.broken("").into()) }
    }
}

impl Sink for Checked<'_> {
    fn listed(&mut self, sheets: &[Listed]) {
        self.sink.listed(sheets);
    }

    fn corrects(&mut self, upload: &str) -> Result<(), Stop> {
        self.sink.corrects(upload)
    }

    fn sheet(&mut self, head: &SheetHead) -> Result<(), Stop> {
        let plan = Plan::of(head, self.rules, self.dates)?;
        self.sheet = Some((head.clone(), plan));
        self.sink.sheet(head)
    }

    fn row(&mut self, row: RowNumber, json: &[u8], attributes: Option<&[u8]>) -> Result<(), Stop> {
        // Who asks for cells was told with them, and has no use for the row.
        if self.sink.wants_cells() {
            return self.sink.row(row, json, attributes);
        }
        self.sink.original(row, json)?;
        self.judge(json)?;
        if !self.found.is_empty() {
            return self.reject(row);
        }
        self.silent = 0;
        let changed = self.sheet.as_ref().is_some_and(|(_, plan)| plan.changes);
        self.sink.row(row, if changed { &self.out } else { json }, attributes)
    }

    fn finding(&mut self, finding: Finding) -> Result<(), Stop> {
        let rejected = finding.kind == FindingKind::Rejected;
        self.invalid += u64::from(rejected);
        self.tell(finding)?;
        if rejected { self.enough() } else { Ok(()) }
    }

    fn wants_cells(&self) -> bool {
        self.sink.wants_cells()
    }

    fn cells(&mut self, row: &CellsOfRow<'_>) -> Result<(), Stop> {
        if row.refused.is_none() {
            self.judge(row.json)?;
            if let Some(first) = self.found.first() {
                let column = first.column;
                let mut all = first.detail.clone();
                for found in self.found.iter().skip(1) {
                    all = format!("{all}; {}: {}", self.at(row.row, found.column), found.detail);
                }
                let CellsOfRow { row, json, dates_from_1904, ref cells, .. } = *row;
                let refused = Some((column, all.as_str()));
                let cells = cells.clone();
                return self.sink.cells(&CellsOfRow { row, json, refused, dates_from_1904, cells });
            }
        }
        self.sink.cells(row)
    }
}

/// A row while it is judged.
struct Judged<'a> {
    out: &'a mut Vec<u8>,
    found: &'a mut Vec<Found>,
    /// What the schema is asked about: cells with something in them.
    row: Map<String, Value>,
}

impl Judged<'_> {
    fn cell(&mut self, column: &Column, json: &str, keep: bool) -> Result<(), io::Error> {
        let mut wrong = |detail| self.found.push(Found { column: Some(column.number), detail });
        let mut value = Cow::Borrowed(json);
        if let Some(order) = column.order
            && let Some(text) = text_of(json)
        {
            match iso(&text, order) {
                Some(Ok(date)) => value = format!("\"{date}\"").into(),
                Some(Err(why)) => {
                    wrong(why);
                    return Ok(());
                }
                None => {}
            }
        }
        if let Some(kind) = column.kind {
            value = match typed(&value, kind) {
                Ok(typed) => typed.into_owned().into(),
                Err(why) => {
                    wrong(why);
                    return Ok(());
                }
            };
        }
        let empty = value == "null" || text_of(&value).is_some_and(|text| text.trim().is_empty());
        if column.required && empty {
            wrong("the column is required, and there is nothing".to_owned());
            return Ok(());
        }
        let Some((name, key)) = &column.key else { return Ok(()) };
        self.push(key, &value);
        if keep && value != "null" {
            self.row.insert(name.clone(), serde_json::from_str(&value)?);
        }
        Ok(())
    }

    /// A cell whose column has no name in the header.
    fn beyond(&mut self, plan: &Plan, key: &str, value: &str, keep: bool) -> Result<(), io::Error> {
        let name = text_of(key).unwrap_or_default();
        let mut wrong =
            |detail| self.found.push(Found { column: column_of_letters(&name), detail });
        match plan.beyond {
            OtherColumns::Drop => return Ok(()),
            OtherColumns::Refuse => {
                wrong("the topic's rules do not have this column".to_owned());
                return Ok(());
            }
            OtherColumns::Keep if plan.has(&name) => {
                wrong(format!("another column has the name `{name}`"));
                return Ok(());
            }
            OtherColumns::Keep => {}
        }
        self.push(key, value);
        if keep && value != "null" {
            self.row.insert(name.into_owned(), serde_json::from_str(value)?);
        }
        Ok(())
    }

    fn push(&mut self, key: &str, value: &str) {
        self.out.push(if self.out.is_empty() { b'{' } else { b',' });
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(value.as_bytes());
    }
}

/// Where the cell of a key of the message stands.
fn place_of(plan: &Plan, pairs: &Pairs<'_>, key: &str) -> Option<u32> {
    plan.column_of(key).or_else(|| {
        let mut beyond = pairs.0.iter().skip(plan.columns.len());
        let found = beyond.any(|(name, _)| text_of(name.get()).is_some_and(|name| name == key));
        if found { column_of_letters(key) } else { None }
    })
}

/// A row as it is written: its keys and values in their order, neither of them read.
pub(super) struct Pairs<'j>(pub(super) Vec<(&'j RawValue, &'j RawValue)>);

impl<'de: 'j, 'j> Deserialize<'de> for Pairs<'j> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Row<'j>(std::marker::PhantomData<&'j ()>);

        impl<'de: 'j, 'j> Visitor<'de> for Row<'j> {
            type Value = Pairs<'j>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'j>, A::Error> {
                let mut pairs = vec![];
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        from.deserialize_map(Row(std::marker::PhantomData))
    }
}
