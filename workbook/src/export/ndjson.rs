//! Results as lines of JSON: an object a row, with the row as it was stored under `data`. With several
//! queues, what became of it stands under `queues`, by their names.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::columns::RowEnds;
use super::ends::Status;
use super::join::Form;
use super::plan::{ExportPlan, ExportWhat};
use crate::cell::write_text;
use crate::date;
use crate::shape::CellsOfRow;
use crate::sink::SheetHead;

pub(super) struct Ndjson<'a> {
    plan: &'a ExportPlan,
    out: BufWriter<File>,
    line: Vec<u8>,
}

impl<'a> Ndjson<'a> {
    pub(super) fn create(plan: &'a ExportPlan) -> io::Result<Self> {
        let out = BufWriter::with_capacity(256 << 10, File::create(&plan.out)?);
        Ok(Self { plan, out, line: vec![] })
    }

    fn key(&mut self, name: &str) {
        if !matches!(self.line.last(), Some(b'{') | None) {
            self.line.push(b',');
        }
        write_text(&mut self.line, name);
        self.line.push(b':');
    }

    fn text(&mut self, name: &str, text: &str) {
        self.key(name);
        write_text(&mut self.line, text);
    }

    /// What became of the row in a queue.
    fn end(&mut self, ends: &RowEnds<'_>, place: usize) {
        let status = ends.status(place);
        self.text("status", status.word());
        let end = ends.ends.get(place).and_then(Option::as_ref);
        if let Some(end) = end.filter(|end| !end.output.is_empty()) {
            self.key("result");
            self.line.extend_from_slice(end.output.as_bytes());
        }
        if !ends.error(place).is_empty() {
            self.text("error", ends.error(place));
        }
        if let Some(end) = end.filter(|_| !matches!(status, Status::Pending | Status::Unrouted)) {
            self.key("attempts");
            self.line.extend_from_slice(end.attempts.to_string().as_bytes());
            self.key("finished_at");
            self.line.push(b'"');
            date::write_moment(&mut self.line, end.at_ms);
            self.line.push(b'"');
        }
    }
}

impl Form for Ndjson<'_> {
    fn sheet(&mut self, _: &SheetHead) -> io::Result<()> {
        Ok(())
    }

    fn row(
        &mut self,
        head: &SheetHead,
        cells: &CellsOfRow<'_>,
        ends: &RowEnds<'_>,
    ) -> io::Result<()> {
        self.line.clear();
        self.line.push(b'{');
        if let Some(name) = &head.name {
            self.text("sheet", name);
        }
        self.key("row");
        self.line.extend_from_slice(cells.row.0.to_string().as_bytes());
        if self.plan.what == ExportWhat::Failures {
            self.text("problem", ends.problem);
        }
        if self.plan.queues.len() == 1 {
            self.end(ends, 0);
        } else {
            self.key("queues");
            self.line.push(b'{');
            let plan = self.plan;
            for (place, queue) in plan.queues.iter().enumerate() {
                self.key(&queue.name);
                self.line.push(b'{');
                self.end(ends, place);
                self.line.push(b'}');
            }
            self.line.push(b'}');
        }
        self.key("data");
        self.line.extend_from_slice(cells.json);
        self.line.extend_from_slice(b"}\n");
        self.out.write_all(&self.line)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()
    }
}
