//! The binary: everything is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    rowmill::cli::Cli::parse().run()
}
