//! `rowmill completions`: what a shell needs to complete rowmill's commands and options.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Cli, complain};

/// Print what a shell needs to complete rowmill's commands and options.
///
/// bash: rowmill completions bash > ~/.local/share/bash-completion/completions/rowmill
/// zsh: rowmill completions zsh > a directory of $fpath, as _rowmill
/// fish: rowmill completions fish > ~/.config/fish/completions/rowmill.fish
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    pub(super) fn run(self) -> ExitCode {
        // In memory first: the generator takes a pipe that was closed for a defect of its own.
        let mut script = vec![];
        generate(self.shell, &mut Cli::command(), "rowmill", &mut script);
        match io::stdout().lock().write_all(&script) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => complain(&error),
            _ => ExitCode::SUCCESS,
        }
    }
}
