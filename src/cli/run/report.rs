//! What a run came to, for a person or as JSON.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::error::RunError;
use crate::cli::paint::{BAD, GOOD, WARN, unless_none};
use crate::domain::Finding;
use crate::store::log::Counts;
use crate::workbook::Totals;

/// Findings shown to a person; the rest is counted.
const SHOWN: usize = 10;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// Every message has its outcome.
    Ended,
    /// It had before: nothing was run.
    AlreadyEnded,
    /// It was stopped; the same command goes on.
    Stopped,
}

/// What a run came to.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) status: Status,
    pub(super) upload_id: uuid::Uuid,
    pub(super) file: PathBuf,
    /// Rows that became messages.
    pub(super) published: u64,
    pub(super) done: u64,
    pub(super) dead: u64,
    /// Messages without an outcome.
    pub(super) waiting: u64,
    /// Rows that did not become messages.
    pub(super) rejected: u64,
    pub(super) blank: u64,
    pub(super) warnings: u64,
    /// By this attempt.
    pub(super) seconds: f64,
    /// Outcomes of this attempt by its seconds of work.
    pub(super) rows_per_second: f64,
    pub(super) results: Option<PathBuf>,
    /// The file once more with its results, as a workbook.
    pub(super) workbook: Option<PathBuf>,
    /// The rows that can be corrected, if there are any.
    pub(super) failures: Option<PathBuf>,
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(
        status: Status,
        upload_id: uuid::Uuid,
        file: PathBuf,
        published: u64,
        counts: Counts,
        totals: Totals,
    ) -> Self {
        Self {
            status,
            upload_id,
            file,
            published,
            done: counts.done,
            dead: counts.dead + counts.expired + counts.cancelled,
            waiting: published.saturating_sub(counts.ended()),
            rejected: totals.rejected_rows,
            blank: totals.blank_rows,
            warnings: totals.warnings,
            seconds: 0.0,
            rows_per_second: 0.0,
            results: None,
            workbook: None,
            failures: None,
            findings: vec![],
        }
    }

    pub(super) fn timed(&mut self, all: Duration, work: Duration, ended: u64) {
        self.seconds = round(all.as_secs_f64());
        let work = work.as_secs_f64();
        // A count of rows is far below what a float holds exactly.
        self.rows_per_second = if work > 0.0 { round(ended as f64 / work) } else { 0.0 };
    }

    /// Whether there is nothing to mend.
    pub(super) fn all_done(&self) -> bool {
        self.dead == 0 && self.rejected == 0 && self.waiting == 0
    }

    pub(super) fn print(&self, json: bool) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        if json {
            serde_json::to_writer(&mut out, self)?;
            return writeln!(out);
        }
        self.print_findings()?;
        let file = self.file.display();
        let (dead, bad) = (unless_none(self.dead, BAD), unless_none(self.rejected, WARN));
        match self.status {
            Status::Ended => writeln!(
                out,
                "{file}: {GOOD}{} done{GOOD:#}, {dead}{} dead{dead:#}, {bad}{} rejected{bad:#} of {} rows in {} s ({}/s)",
                self.done,
                self.dead,
                self.rejected,
                self.published + self.rejected,
                self.seconds,
                self.rows_per_second
            )?,
            Status::AlreadyEnded => writeln!(
                out,
                "{file} was run before: {} done, {} dead, {} rejected. Nothing was run; --again runs it all again{}",
                self.done,
                self.dead,
                self.rejected,
                if self.dead > 0 { ", --retry-dead what is dead" } else { "" }
            )?,
            Status::Stopped => writeln!(
                out,
                "{file}: stopped with {} done, {} dead, {} waiting. The same command goes on from here",
                self.done, self.dead, self.waiting
            )?,
        }
        match &self.results {
            Some(results) => writeln!(out, "results: {}", results.display())?,
            None => return Ok(()),
        }
        for path in self.workbook.iter().chain(&self.failures) {
            writeln!(out, "         {}", path.display())?;
        }
        Ok(())
    }

    fn print_findings(&self) -> io::Result<()> {
        let mut err = anstream::stderr().lock();
        for finding in self.findings.iter().take(SHOWN) {
            let (word, style) = match finding.kind {
                crate::domain::FindingKind::Warning => ("warning", WARN),
                crate::domain::FindingKind::Rejected => ("rejected", BAD),
                crate::domain::FindingKind::Duplicate => ("duplicate", WARN),
            };
            writeln!(err, "{style}{word}:{style:#} {finding}")?;
        }
        let more = (self.warnings + self.rejected).saturating_sub(SHOWN as u64);
        if more > 0 && self.findings.len() >= SHOWN {
            writeln!(err, "… and {more} more")?;
        }
        Ok(())
    }
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// Says on stdout, as JSON, why a run could not be.
#[allow(clippy::print_stdout)] // what --json asked for
pub(super) fn print_failure(error: &RunError) {
    let problem = match error {
        RunError::File(problem) => serde_json::to_value(problem).ok(),
        _ => None,
    };
    println!(
        "{}",
        serde_json::json!({"status": "failed", "error": error.to_string(), "problem": problem})
    );
}
