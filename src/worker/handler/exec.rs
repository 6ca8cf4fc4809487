//! `--exec CMD {column} …`: runs a program once per message.
//!
//! The program gets its arguments from templates (never through a shell), the message as JSON on
//! stdin, and the message's id and attempt in the environment. Its exit code is the verdict: 0 is
//! done, 65 (`EX_DATAERR` of sysexits.h) rejects the row, everything else is tried again.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Handler;
use super::child::{ChildGroup, Ended};
use super::output::ExecOutput;
use super::payload::payload;
use super::program::{ProgramError, find};
use super::template::{Fields, Template, TemplateError};
use crate::domain::{Delivery, QueueName, Verdict, units};

/// `EX_DATAERR`: the input is at fault, so another attempt would not help.
const EXIT_REJECT: i32 = 65;

/// How often a start is tried while the machine is short of something.
const SPAWN_TRIES: u32 = 6;

/// The wait after the first of them; it doubles.
const SPAWN_PAUSE: Duration = Duration::from_millis(20);

/// Limits on one command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecLimits {
    /// Bytes kept of stdout, and of stderr. 64 KiB; what exceeds it is read and counted.
    #[serde(with = "units::size")]
    pub output_bytes: usize,
    /// Bytes of stderr's end (or stdout's) quoted in the reason of a failure. 2 KiB.
    #[serde(with = "units::size")]
    pub reason_bytes: usize,
    /// Time between SIGTERM and SIGKILL. 2 s; keep it below the worker's `cancel_grace`.
    #[serde(with = "units::time")]
    pub kill_grace: Duration,
    /// How long the pipes of a child that has exited may stay open, should something it left
    /// behind hold them. 500 ms.
    #[serde(with = "units::time")]
    pub pipe_grace: Duration,
    /// Starts under way at once. 4: making a process keeps a core busy, and hundreds at once would
    /// keep every other task of the worker waiting.
    pub spawns: usize,
}

impl Default for ExecLimits {
    fn default() -> Self {
        Self {
            output_bytes: 64 * 1024,
            reason_bytes: 2 * 1024,
            kill_grace: Duration::from_secs(2),
            pipe_grace: Duration::from_millis(500),
            spawns: 4,
        }
    }
}

/// Why a command line cannot be a handler.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// Nothing to run.
    #[error("no command was given")]
    NoCommand,
    /// The program cannot be run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// An argument is not a template, or not one for these columns.
    #[error("argument {position}, {source}")]
    Argument {
        /// Which argument, 1 being the first after the program.
        position: usize,
        /// What is wrong with it.
        source: TemplateError,
    },
}

/// A command as a handler.
#[derive(Debug)]
pub struct Exec {
    program: PathBuf,
    arguments: Vec<Template>,
    queue: QueueName,
    limits: ExecLimits,
    spawns: Semaphore,
}

impl Exec {
    /// The handler for a command line: the program, then its argument templates. The program is
    /// looked up now (in PATH, if its name has no slash) and is not a template.
    ///
    /// # Errors
    /// [`ExecError`]: there is no such program, it cannot be run, or an argument's braces are wrong.
    pub fn new(argv: &[String], queue: QueueName, limits: ExecLimits) -> Result<Self, ExecError> {
        let (program, arguments) = argv.split_first().ok_or(ExecError::NoCommand)?;
        let program = find(program, std::env::var_os("PATH").as_deref())?;
        let parse = |(n, text): (usize, &String)| {
            Template::parse(text).map_err(|source| ExecError::Argument { position: n + 1, source })
        };
        let arguments = arguments.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        let spawns = Semaphore::new(limits.spawns.max(1));
        Ok(Self { program, arguments, queue, limits, spawns })
    }

    /// Whether rows with these columns can fill in the arguments.
    ///
    /// # Errors
    /// [`ExecError::Argument`], naming the first column that is missing.
    pub fn check(&self, columns: &[String]) -> Result<(), ExecError> {
        self.arguments.iter().enumerate().try_for_each(|(n, template)| {
            template
                .check(columns)
                .map_err(|source| ExecError::Argument { position: n + 1, source })
        })
    }

    /// The arguments for one row, or why the row can have none.
    fn fill(&self, delivery: &Delivery) -> Result<Vec<String>, String> {
        if self.arguments.iter().all(|template| template.columns().next().is_none()) {
            // Nothing depends on the row, which then need not be parsed.
            let none = Fields::new();
            return Ok(self.arguments.iter().filter_map(|t| t.fill(&none).ok()).collect());
        }
        let fields: Fields<'_> = serde_json::from_str(&delivery.data)
            .map_err(|e| format!("the message's data is not a JSON object: {e}"))?;
        let fill = |(n, template): (usize, &Template)| match template.fill(&fields) {
            Ok(text) if text.contains('\0') => {
                Err(format!("argument {} would contain a NUL character", n + 1))
            }
            Ok(text) => Ok(text),
            Err(column) => Err(format!("the row has no column `{column}`")),
        };
        self.arguments.iter().enumerate().map(fill).collect()
    }

    fn command(&self, delivery: &Delivery, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command.env("ROWMILL_MESSAGE_ID", delivery.id.to_string());
        command.env("ROWMILL_ATTEMPT", delivery.attempt.to_string());
        command.env("ROWMILL_QUEUE", self.queue.as_str());
        let origin = delivery.origin.as_ref();
        let facts = [
            ("ROWMILL_ROW", origin.map(|o| o.row.to_string())),
            ("ROWMILL_SHEET_NAME", origin.and_then(|o| o.sheet.as_deref()).map(str::to_owned)),
            ("ROWMILL_UPLOAD_ID", origin.map(|o| o.upload_id.to_string())),
        ];
        for (name, fact) in facts {
            match fact {
                Some(fact) => command.env(name, fact),
                // Our own environment may have one, and it is not this row's.
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Starts the program. A machine that is short of processes, memory or descriptors, or a file
    /// that somebody still writes, is given a moment before the attempt counts as failed.
    async fn spawn(&self, delivery: &Delivery, arguments: &[String]) -> io::Result<ChildGroup> {
        let mut pause = SPAWN_PAUSE;
        let mut tries = 1;
        loop {
            let mut command = self.command(delivery, arguments);
            let slot = self.spawns.acquire().await.map_err(io::Error::other)?;
            let spawned =
                tokio::task::spawn_blocking(move || ChildGroup::spawn(&mut command)).await?;
            drop(slot);
            match spawned {
                Err(error) if tries < SPAWN_TRIES && is_shortage(&error) => {
                    tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                    pause *= 2;
                    tries += 1;
                }
                answer => return answer,
            }
        }
    }

    fn verdict(&self, ended: &Ended) -> Verdict {
        match ended.status {
            None => Verdict::Release,
            Some(status) if status.success() => {
                let output = ExecOutput {
                    exit_code: 0,
                    stdout: ended.stdout.text(),
                    stderr: ended.stderr.text(),
                    stdout_truncated_bytes: ended.stdout.truncated(),
                    stderr_truncated_bytes: ended.stderr.truncated(),
                };
                Verdict::Done { output: serde_json::to_string(&output).ok().map(Into::into) }
            }
            Some(status) => {
                let said = if ended.stderr.is_empty() { &ended.stdout } else { &ended.stderr };
                let reason = match said.end(self.limits.reason_bytes) {
                    end if end.is_empty() => name(status),
                    end => format!("{}: {end}", name(status)),
                };
                match status.code() {
                    Some(EXIT_REJECT) => Verdict::Reject { reason: reason.into() },
                    _ => retry(reason),
                }
            }
        }
    }
}

impl Handler for Exec {
    async fn handle(&self, delivery: &Delivery, cancel: CancellationToken) -> Verdict {
        let prepared = self.fill(delivery).and_then(|arguments| match payload(delivery) {
            Ok(json) => Ok((arguments, json + "\n")),
            Err(e) => Err(format!("the message is not JSON: {e}")),
        });
        let (arguments, input) = match prepared {
            Ok(prepared) => prepared,
            Err(reason) => return Verdict::Reject { reason: reason.into() },
        };
        let spawn = self.spawn(delivery, &arguments);
        let child = match cancel.run_until_cancelled(spawn).await {
            None => return Verdict::Release,
            Some(Ok(child)) => child,
            Some(Err(error)) => {
                let reason = format!("`{}` could not be started: {error}", self.program.display());
                return if is_the_rows_fault(&error) {
                    Verdict::Reject { reason: reason.into() }
                } else {
                    retry(reason)
                };
            }
        };
        match child.run(input, &self.limits, &cancel).await {
            Ok(ended) => self.verdict(&ended),
            Err(error) => retry(format!("`{}` was lost: {error}", self.program.display())),
        }
    }
}

fn retry(reason: String) -> Verdict {
    Verdict::Retry { reason: reason.into(), after: None }
}

fn name(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Arguments that are too long, or a NUL in the environment: the next time would be the same.
fn is_the_rows_fault(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::TOOBIG)
        || error.kind() == io::ErrorKind::InvalidInput
}

fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::AGAIN, Errno::TXTBSY, Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| short.contains(&errno))
}

/// Raises this process's limit on open files to the most it may have, and answers with it. A
/// running command takes four descriptors, and many systems start with 1,024 allowed; so a program
/// that runs hundreds of commands at once calls this when it starts.
///
/// # Errors
/// The system refused.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current)
}
