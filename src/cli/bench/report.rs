//! The figures of the comparison, as a table and as JSON.

use std::fmt::Write;

use serde_json::json;

use super::cases::{Case, Delays, ORIGINAL_DELAYS};
use super::error::BenchError;
use super::server::IN_FLIGHT;

/// What came out.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) delays: Delays,
    pub(super) cases: Vec<Case>,
    /// One a database.
    pub(super) columns: Vec<Column>,
}

/// What came out on one database.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) database: &'static str,
    /// One a case.
    pub(super) seconds: Vec<f64>,
}

impl Report {
    pub(super) fn new(delays: Delays, cases: Vec<Case>) -> Self {
        Self { delays, cases, columns: vec![] }
    }

    /// The published figure of a case, where it was published for these delays.
    pub(super) fn original(&self, case: Case) -> Option<f64> {
        case.original().filter(|_| self.delays.create == ORIGINAL_DELAYS.create)
    }

    pub(super) fn table(&self) -> String {
        let Delays { create, consume } = self.delays;
        let mut text = format!(
            "Seconds; creating a row takes {}, working on a message {}; {IN_FLIGHT} rows in flight.\n\n",
            humantime::format_duration(create),
            humantime::format_duration(consume),
        );
        // Writing to a string cannot fail.
        let _ = write!(text, "{:<26}{:>9}{:>9}", "", "original", "ideal");
        for column in &self.columns {
            let _ = write!(text, "{:>12}", column.database);
        }
        for (at, case) in self.cases.iter().enumerate() {
            let original =
                self.original(*case).map_or("-".into(), |seconds| format!("{seconds:.2}"));
            let ideal = case.ideal(self.delays).as_secs_f64();
            let _ = write!(text, "\n{:<26}{original:>9}{ideal:>9.2}", case.what());
            for column in &self.columns {
                let _ = write!(text, "{:>12.2}", column.seconds[at]);
            }
        }
        text
    }

    pub(super) fn json(&self) -> Result<String, BenchError> {
        let cases = self.cases.iter().enumerate().map(|(at, case)| {
            let measured = self.columns.iter().map(
                |column| json!({ "database": column.database, "seconds": column.seconds[at] }),
            );
            json!({
                "case": case.name(),
                "original_seconds": self.original(*case),
                "ideal_seconds": case.ideal(self.delays).as_secs_f64(),
                "measured": measured.collect::<Vec<_>>(),
            })
        });
        Ok(serde_json::to_string(&json!({
            "delay_seconds": self.delays.create.as_secs_f64(),
            "consume_delay_seconds": self.delays.consume.as_secs_f64(),
            "rows_in_flight": IN_FLIGHT,
            "cases": cases.collect::<Vec<_>>(),
        }))?)
    }
}
