//! `rowmill export`: the process that writes one file of results. It is started by the one that wants
//! it, which tells it on its standard input what to write, and limits itself before it opens anything.
//!
//! Exit codes: 0 if the last word was said, 2 if it was not told what to do or cannot limit itself, 3
//! if the other end of the pipe is gone; 101 is a panic.

use std::io::{self, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};

use crate::export::{Said, Told};
use crate::workbook::export::{ExportError, export};

/// Writes one file of results, as standard input says.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    /// Runs the subcommand. Must be called before any thread is started.
    pub(crate) fn run(self) -> ExitCode {
        // A panic is told by its place alone: what it says may hold what stands in the file.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(io::stderr(), "panic at {place}");
        }));
        let told: Told<'_> = match serde_json::from_reader(io::stdin().lock()) {
            Ok(told) => told,
            Err(error) => {
                let _ = writeln!(io::stderr(), "nothing is known of what to write: {error}");
                return ExitCode::from(2);
            }
        };
        if let Err(error) = limit_myself(&told) {
            let _ = writeln!(io::stderr(), "the limits cannot be set: {error}");
            return ExitCode::from(2);
        }
        let last = match export(&told.plan, &mut |rows| drop(say(&Said::Rows(rows)))) {
            Ok(rows) => Said::Written(rows),
            Err(ExportError::Read(problem)) => Said::Unreadable(Box::new(problem)),
            Err(ExportError::Io(error)) if error.kind() == io::ErrorKind::FileTooLarge => {
                Said::Failed(format!("they take more than {} bytes", told.file_bytes))
            }
            Err(ExportError::Io(error)) => Said::Failed(error.to_string()),
        };
        match say(&last) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(3),
        }
    }
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// Memory, processor time, the size of the file, no core dump, and no life without the parent.
fn limit_myself(told: &Told<'_>) -> io::Result<()> {
    let limits = &told.plan.limits;
    let at_most = |resource, soft: u64, hard: u64| {
        setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })
    };
    at_most(Resource::Core, 0, 0)?;
    at_most(Resource::Fsize, told.file_bytes, told.file_bytes)?;
    at_most(Resource::As, limits.memory_bytes, limits.memory_bytes)?;
    at_most(Resource::Cpu, limits.cpu_seconds, limits.cpu_seconds.saturating_add(2))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}
