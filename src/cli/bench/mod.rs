//! `rowmill bench`: measurements that a user can repeat, on any database.
//!
//! `sync-async`, which is what `rowmill bench` alone does, is about time that is spent waiting: what
//! it buys to have many rows in flight at once. `queue` is about the engine alone: how many messages
//! a second it publishes, fetches and settles.
//!
//! Both make topics and queues of their own, with names that nobody else has, and take back what
//! they put there; so they can be pointed at a database that is in use.

mod cases;
mod chart;
mod error;
mod load;
mod queue;
mod report;
mod scene;
mod server;
mod sync_async;

use std::process::ExitCode;

use clap::Subcommand;

use super::common::Common;
use super::{STOPPED, complain};
use crate::worker::Stop;
use error::BenchError;

/// Measure: rows one by one against rows together, or the engine alone.
///
/// Without a subcommand it does what `sync-async` does.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    which: Option<Which>,
    #[command(flatten)]
    sync_async: sync_async::Args,
}

#[derive(Debug, Subcommand)]
enum Which {
    SyncAsync(sync_async::Args),
    Queue(queue::Args),
}

impl Args {
    pub(super) async fn run(self, common: &Common) -> ExitCode {
        common.start_log();
        let stop = Stop::default();
        let signals = tokio::spawn(super::signals::listen(stop.clone(), common.voice()));
        let ended = match self.which.unwrap_or(Which::SyncAsync(self.sync_async)) {
            Which::SyncAsync(args) => args.run(&stop).await,
            Which::Queue(args) => args.run(&stop).await,
        };
        signals.abort();
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error @ BenchError::Stopped) => {
                complain(&error);
                ExitCode::from(STOPPED)
            }
            Err(error) => complain(&error),
        }
    }
}

/// Prints what was asked for.
#[allow(clippy::print_stdout)] // the boundary where figures are told to a person or a program
fn print(text: &str) {
    println!("{text}");
}
