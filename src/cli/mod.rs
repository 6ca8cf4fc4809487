//! The command line: a file a subcommand, each with its arguments and what it does. A new command
//! is one file, one variant and one arm.

mod api_args;
mod bench;
mod common;
mod completions;
mod config;
mod database;
mod delayed;
mod digest;
mod export;
mod handler;
mod health;
mod ingest;
mod key;
mod maintain;
mod metrics;
mod migrate;
mod openapi;
mod paint;
mod produce;
mod read;
mod read_limits;
mod results;
mod run;
mod sample;
mod serve;
mod signals;
mod uploads;
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Every row of a spreadsheet becomes a durable message; workers process the messages
/// concurrently; the spreadsheet comes back with results.
#[derive(Debug, Parser)]
#[command(name = "rowmill", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: common::Common,
    #[command(subcommand)]
    command: Command,
}

// What help says of a command is the documentation of its arguments.
#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Serve(Box<serve::Args>),
    Work(Box<work::Args>),
    Ingest(ingest::Args),
    Produce(produce::Args),
    Migrate(migrate::Args),
    Maintain(maintain::Args),
    Key(key::Args),
    Sample(sample::Args),
    Bench(bench::Args),
    Health(health::Args),
    Openapi(openapi::Args),
    Config(config::Args),
    Uploads(uploads::Args),
    Results(results::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Read(read::Args),
    #[command(hide = true)]
    Export(export::Args),
}

impl Cli {
    /// Runs the command and answers the process's exit code.
    pub fn run(self) -> ExitCode {
        let common = &self.common;
        match self.command {
            // Before anything is started: the reader limits its own process first.
            Command::Read(args) => args.run(),
            Command::Export(args) => args.run(),
            Command::Run(args) => block_on(args.run(common)),
            Command::Serve(args) => block_on(args.run(common)),
            Command::Work(args) => block_on(args.run(common)),
            Command::Ingest(args) => block_on(args.run(common)),
            Command::Produce(args) => block_on(args.run(common)),
            Command::Migrate(args) => block_on(args.run()),
            Command::Maintain(args) => block_on(args.run(common)),
            Command::Key(args) => block_on(args.run()),
            Command::Sample(args) => args.run(),
            Command::Bench(args) => block_on(args.run(common)),
            Command::Health(args) => block_on(args.run()),
            Command::Openapi(args) => args.run(),
            Command::Config(args) => args.run(common),
            Command::Uploads(args) => block_on(args.run(common)),
            Command::Results(args) => block_on(args.run(common)),
            Command::Completions(args) => args.run(),
        }
    }
}

/// Exit code of a command that could not do what it was asked.
const COULD_NOT: u8 = 2;
/// Exit code of a command that was stopped before its end: what a shell gives for Ctrl-C.
const STOPPED: u8 = 130;

/// Says on stderr why a command could not do what it was asked.
#[allow(clippy::print_stderr)] // the boundary where errors are told to a person
fn complain(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many layers already say their cause; saying it twice helps nobody.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    let bad = paint::BAD;
    anstream::eprintln!("{bad}rowmill:{bad:#} {text}");
    ExitCode::from(COULD_NOT)
}

fn block_on(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(command);
            // What is left are tasks of cancelled handlers; the process does not wait for them.
            runtime.shutdown_background();
            code
        }
        Err(error) => complain(&error),
    }
}
