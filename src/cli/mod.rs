//! The command line: a file a subcommand, each with its arguments and a `run`.

pub mod read;
pub mod sample;
