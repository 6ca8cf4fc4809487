//! Results as text with commas: all sheets in one table. Its columns are the sheet, when there are
//! several, the row, the columns of all sheets, each name once, and those that are added.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io;

use super::columns::{Added, Columns, RowEnds, harmless, unquoted};
use super::join::Form;
use super::plan::{ExportPlan, ExportWhat};
use crate::date;
use crate::header::Names;
use crate::shape::CellsOfRow;
use crate::sink::SheetHead;

pub(super) struct Csv<'a> {
    plan: &'a ExportPlan,
    columns: Columns<'a>,
    out: csv::Writer<File>,
    /// The columns of all sheets, each name once, in the order in which they first appear.
    names: Vec<String>,
    /// Of the sheet at hand: which of `names` each of its columns is.
    places: Vec<usize>,
}

impl<'a> Csv<'a> {
    pub(super) fn create(plan: &'a ExportPlan, columns: Columns<'a>) -> io::Result<Self> {
        let mut names: Vec<String> = vec![];
        let mut seen = std::collections::HashSet::new();
        for name in plan.sheets.iter().flat_map(|sheet| &sheet.columns) {
            if seen.insert(name) {
                names.push(name.clone());
            }
        }
        let out = csv::WriterBuilder::new().flexible(true).from_path(&plan.out)?;
        let mut csv = Self { plan, columns, out, names, places: vec![] };
        csv.header()?;
        Ok(csv)
    }

    fn header(&mut self) -> io::Result<()> {
        let mut own = Names::taken_by(&self.names);
        let mut record: Vec<Cow<'_, str>> = vec![];
        if self.plan.sheets.len() > 1 {
            record.push(own.give("sheet").into());
        }
        let first: &[&str] = match self.plan.what {
            ExportWhat::Results => &["row"],
            ExportWhat::Failures => &["row", "problem"],
        };
        record.extend(first.iter().map(|name| Cow::from(own.give(name))));
        let originals = self.names.iter().map(|name| harmless(name.as_str().into()));
        record.extend(originals);
        if self.plan.what == ExportWhat::Results {
            let added = self.columns.names(&self.names);
            record.extend(added.into_iter().map(|name| harmless(name.into())));
        }
        self.out.write_record(record.iter().map(|cell| cell.as_bytes()))?;
        Ok(())
    }
}

impl Form for Csv<'_> {
    fn sheet(&mut self, head: &SheetHead) -> io::Result<()> {
        let known: HashMap<_, _> = self.names.iter().zip(0..).collect();
        self.places = head
            .columns
            .iter()
            .map(|name| known.get(name).copied().unwrap_or(usize::MAX))
            .collect();
        Ok(())
    }

    fn row(
        &mut self,
        head: &SheetHead,
        cells: &CellsOfRow<'_>,
        ends: &RowEnds<'_>,
    ) -> io::Result<()> {
        let mut originals: Vec<Cow<'_, str>> = vec![Cow::Borrowed(""); self.names.len()];
        let mut beyond = vec![];
        for cell in &cells.cells {
            let text = match cell.json {
                b"null" => continue,
                [b'"', ..] => harmless(unquoted(cell.json)),
                other => String::from_utf8_lossy(other),
            };
            let place = cell.column.checked_sub(head.first_column).map(|at| at as usize);
            let place = place.and_then(|at| self.places.get(at).copied());
            match place.and_then(|at| originals.get_mut(at)) {
                Some(place) => *place = text,
                None => beyond.push(text),
            }
        }
        if self.plan.sheets.len() > 1 {
            self.out.write_field(&*harmless(head.name.as_deref().unwrap_or_default().into()))?;
        }
        let values = self.columns.values(ends);
        let row = cells.row.0.to_string();
        let (before, behind) = match self.plan.what {
            ExportWhat::Results => (&[][..], &values[..]),
            ExportWhat::Failures => (&values[1..], &[][..]),
        };
        self.out.write_field(row)?;
        for value in before {
            self.out.write_field(&*cell(value))?;
        }
        for text in &originals {
            self.out.write_field(&**text)?;
        }
        for value in behind {
            self.out.write_field(&*cell(value))?;
        }
        // What stands under no name comes last.
        for text in &beyond {
            self.out.write_field(&**text)?;
        }
        self.out.write_record(None::<&[u8]>)?;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()
    }
}

fn cell<'a>(value: &'a Added<'_>) -> Cow<'a, str> {
    match value {
        Added::Empty => Cow::Borrowed(""),
        Added::Text(text) => harmless(text.as_ref().into()),
        Added::Number(digits) => digits.as_ref().into(),
        Added::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        Added::Moment(ms) => {
            let mut out = vec![];
            date::write_moment(&mut out, *ms);
            String::from_utf8_lossy(&out).into_owned().into()
        }
    }
}
