//! `rowmill run`: a file to its results in one process, on one machine, and on again after
//! whatever interrupted it.
//!
//! The state is a SQLite file beside the input (or the database that is named). An upload there is
//! found again by its *run key*: the hash of the file's bytes and of the reading options. What
//! remains to be done follows from what is recorded, and nothing else: an upload that was not
//! published whole is read again, covered rows skipped; messages in the hands of a process that is
//! gone are handed out again; an ended one only has its results written.
//!
//! One process at a time works on a run: a lock that the system takes from a dead process (a file's
//! on SQLite, a session's on PostgreSQL) says that whoever held leases before is gone.

mod args;
mod corrections;
mod error;
mod identity;
mod keeper;
mod mill;
mod opening;
mod progress;
mod report;
mod results;
mod workbooks;

use std::process::ExitCode;

pub(super) use args::Args;

use super::common::Common;
use super::{STOPPED, complain};
use crate::worker::Stop;
use report::Report;

impl Args {
    pub(super) async fn run(self, common: &Common) -> ExitCode {
        common.start_log();
        let stop = Stop::default();
        let signals = tokio::spawn(super::signals::listen(stop.clone(), common.voice()));
        let json = self.json;
        let ended = mill::run(self, common, &stop).await;
        signals.abort();
        match ended {
            Err(error::RunError::Stopped) => {
                complain(&error::RunError::Stopped);
                ExitCode::from(STOPPED)
            }
            Ok(report) => finish(&report, json),
            Err(error) => {
                if json {
                    report::print_failure(&error);
                }
                complain(&error)
            }
        }
    }
}

fn finish(report: &Report, json: bool) -> ExitCode {
    if let Err(error) = report.print(json) {
        return complain(&error);
    }
    match report.status {
        report::Status::Stopped => ExitCode::from(STOPPED),
        _ if report.all_done() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
