//! Rows and their ends, side by side. Both come in the order of sheets and rows, so that one look at
//! the next record is enough.

use std::io;

use super::columns::{Columns, RowEnds};
use super::csv::Csv;
use super::ends::{EndOfRow, Ends, Status};
use super::handed::{Batch, Handed};
use super::ndjson::Ndjson;
use super::plan::{ExportForm, ExportPlan, ExportWhat};
use super::xlsx::Xlsx;
use crate::shape::CellsOfRow;
use crate::sink::SheetHead;
use rowmill_domain::{Address, ColumnNumber};

/// How often progress is told, in rows.
const EVERY: u64 = 5_000;

/// A form of the file.
pub(super) trait Form {
    /// A sheet begins.
    fn sheet(&mut self, head: &SheetHead) -> io::Result<()>;
    /// A row of it.
    fn row(
        &mut self,
        head: &SheetHead,
        cells: &CellsOfRow<'_>,
        ends: &RowEnds<'_>,
    ) -> io::Result<()>;
    /// Nothing more comes.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

pub(super) struct Join<'a> {
    plan: &'a ExportPlan,
    ends: Ends,
    rejects: Ends,
    form: Box<dyn Form + 'a>,
    head: Option<SheetHead>,
    of_row: Vec<Option<EndOfRow>>,
    passed: u64,
    written: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Join<'a> {
    pub(super) fn open(plan: &'a ExportPlan, progress: &'a mut dyn FnMut(u64)) -> io::Result<Self> {
        let columns = Columns::new(plan);
        let form: Box<dyn Form + 'a> = match plan.form {
            ExportForm::Xlsx => Box::new(Xlsx::create(plan, columns)?),
            ExportForm::Csv => Box::new(Csv::create(plan, columns)?),
            ExportForm::Ndjson => Box::new(Ndjson::create(plan)?),
        };
        Ok(Self {
            plan,
            ends: Ends::open(&plan.ends)?,
            rejects: Ends::open(&plan.rejects)?,
            form,
            head: None,
            of_row: vec![],
            passed: 0,
            written: 0,
            progress,
        })
    }

    pub(super) fn finish(self) -> io::Result<u64> {
        self.form.finish()?;
        (self.progress)(self.passed);
        Ok(self.written)
    }

    /// Why the row became no message: what was recorded, or else what the reader says again.
    fn rejected(&mut self, head: &SheetHead, cells: &CellsOfRow<'_>) -> io::Result<Option<String>> {
        let mut told: Option<String> = None;
        self.rejects.of_row(head.index, cells.row.0, |reject| match &mut told {
            Some(told) => {
                told.push_str("; ");
                told.push_str(&reject.error);
            }
            None => told = Some(reject.error),
        })?;
        Ok(told.or_else(|| {
            let (column, detail) = cells.refused?;
            let at = Address {
                sheet: head.name.clone(),
                row: Some(cells.row),
                column: column.map(ColumnNumber),
            };
            Some(format!("{at}: {detail}"))
        }))
    }

    /// What is wrong with the row and where; `None` when nothing is.
    fn problem(
        &self,
        head: &SheetHead,
        cells: &CellsOfRow<'_>,
        rejected: Option<&str>,
    ) -> Option<String> {
        let dead = |end: &&EndOfRow| end.status == Status::Dead;
        let mut dead = self.of_row.iter().flatten().filter(dead).peekable();
        if dead.peek().is_none() {
            return rejected.map(str::to_owned);
        }
        let at = Address { sheet: head.name.clone(), row: Some(cells.row), column: None };
        let several = self.plan.queues.len() > 1;
        let told: Vec<_> = dead
            .map(|end| match self.plan.queues.get(usize::from(end.queue)) {
                Some(queue) if several => format!("{}: {}", queue.name, end.error),
                _ => end.error.clone(),
            })
            .collect();
        Some(format!("{at}: {}", told.join("; ")))
    }

    /// Writes what was read.
    pub(super) fn take(&mut self, batch: &Batch) -> io::Result<()> {
        batch.iter().try_for_each(|handed| match handed {
            Handed::Sheet(head) => {
                self.head = Some(head.clone());
                self.form.sheet(head)
            }
            Handed::Row(cells) => self.row(&cells),
        })
    }

    fn row(&mut self, cells: &CellsOfRow<'_>) -> io::Result<()> {
        let Some(head) = self.head.take() else { return Ok(()) };
        self.of_row.clear();
        self.of_row.resize(self.plan.queues.len(), None);
        let of_row = &mut self.of_row;
        self.ends.of_row(head.index, cells.row.0, |end| {
            if let Some(place) = of_row.get_mut(usize::from(end.queue)) {
                *place = Some(end);
            }
        })?;
        let rejected = self.rejected(&head, cells)?;
        let problem = match self.plan.what {
            ExportWhat::Results => Some(String::new()),
            ExportWhat::Failures => self.problem(&head, cells, rejected.as_deref()),
        };
        if let Some(problem) = problem {
            let ends = RowEnds {
                row: cells.row.0,
                ends: &self.of_row,
                rejected: rejected.as_deref(),
                problem: &problem,
                untold: self.plan.untold,
            };
            self.form.row(&head, cells, &ends)?;
            self.written += 1;
        }
        self.head = Some(head);
        self.passed += 1;
        if self.passed.is_multiple_of(EVERY) {
            (self.progress)(self.passed);
        }
        Ok(())
    }
}
