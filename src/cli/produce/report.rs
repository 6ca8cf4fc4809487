//! What a producer came to, for a person or as JSON.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::error::ProduceError;
use crate::domain::{Problem, TopicName};
use crate::workbook::Totals;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// With the file.
    Ended,
    /// It was told to stop; the same command goes on.
    Stopped,
    /// It could not go on.
    Failed,
}

/// What it came to. Rows of this attempt; those that an earlier one had published are counted again,
/// though they are published once.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    status: Status,
    file: PathBuf,
    topic: String,
    /// Rows that some queue takes.
    published: u64,
    /// Rows that none takes.
    unrouted: u64,
    /// Rows that became no message; known at the end of the file, as are blank ones and warnings.
    pub(super) rejected: u64,
    blank: u64,
    warnings: u64,
    seconds: f64,
    rows_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

impl Report {
    pub(super) fn new(file: PathBuf, topic: &TopicName) -> Self {
        Self {
            status: Status::Failed,
            file,
            topic: topic.to_string(),
            published: 0,
            unrouted: 0,
            rejected: 0,
            blank: 0,
            warnings: 0,
            seconds: 0.0,
            rows_per_second: 0.0,
            error: None,
            problem: None,
        }
    }

    /// A row was published, in so many copies.
    pub(super) fn count(&mut self, copies: usize) {
        if copies > 0 {
            self.published += 1;
        } else {
            self.unrouted += 1;
        }
    }

    /// The file was read to its end.
    pub(super) fn read(&mut self, totals: &Totals) {
        self.rejected = totals.rejected_rows;
        self.blank = totals.blank_rows;
        self.warnings = totals.warnings;
    }

    pub(super) fn ended(
        &mut self,
        status: Status,
        failure: Option<&ProduceError>,
        elapsed: Duration,
    ) {
        self.status = status;
        let seconds = elapsed.as_secs_f64();
        self.seconds = round(seconds);
        if seconds > 0.0 {
            // A count of rows is far below what a float holds exactly.
            self.rows_per_second = round((self.published + self.unrouted) as f64 / seconds);
        }
        self.error = failure.map(ToString::to_string);
        if let Some(ProduceError::File(problem)) = failure {
            self.problem = Some(problem.clone());
        }
    }

    pub(super) fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if json {
            serde_json::to_writer(&mut out, self)?;
            return writeln!(out);
        }
        let file = self.file.display();
        match self.status {
            Status::Ended => write!(out, "{file}: ")?,
            Status::Stopped => write!(out, "{file}: stopped (the same command goes on): ")?,
            // The error is told by itself.
            Status::Failed => return Ok(()),
        }
        writeln!(
            out,
            "{} published to {}, {} taken by no queue, {} rejected in {} s ({}/s)",
            self.published,
            self.topic,
            self.unrouted,
            self.rejected,
            self.seconds,
            self.rows_per_second
        )
    }
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
