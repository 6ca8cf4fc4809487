//! The binary: picks the subcommand. `read` limits its own process and must run before any runtime
//! or thread is started.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rowmill::cli;

#[derive(Debug, Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(hide = true)]
    Read(cli::read::Args),
    Sample(cli::sample::Args),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Read(args) => args.run(),
        Command::Sample(args) => args.run(),
    }
}
