//! The process that writes: started, told what to write on its standard input, and heard. It says how
//! far it is, a line of JSON now and then, and at last that it is done or why it is not.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::{BuildError, Job};
use crate::domain::Problem;
use crate::workbook::export::ExportPlan;

/// Bytes of a line that are read; problems are far shorter.
const LINE_BYTES: u64 = 1 << 20;
/// Bytes of its last words that are kept for the log.
const WORDS_BYTES: u64 = 4 << 10;

const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

/// How many rows of the original have been passed.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows.
    pub rows: AtomicU64,
}

/// What the process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told<'a> {
    pub(crate) plan: std::borrow::Cow<'a, ExportPlan>,
    /// Bytes that it may write.
    pub(crate) file_bytes: u64,
}

/// What the process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// Rows of the original that have been passed.
    Rows(u64),
    /// The last word: how many rows were written.
    Written(u64),
    /// The last word: the original cannot be read any more.
    Unreadable(Box<Problem>),
    /// The last word: something else went wrong.
    Failed(String),
}

pub(super) async fn run(
    job: &Job,
    plan: &ExportPlan,
    progress: &Progress,
) -> Result<u64, BuildError> {
    let mut child = Command::new(&job.exe)
        .arg("export")
        // A group of its own: Ctrl-C in a terminal is for us to hear.
        .process_group(0)
        // It needs nothing from here, and here may be passwords.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(BuildError::Start)?;
    let piped = || BuildError::Start(io::Error::other("it has no pipe"));
    let mut stdin = child.stdin.take().ok_or_else(piped)?;
    let stdout = child.stdout.take().ok_or_else(piped)?;
    let stderr = child.stderr.take().ok_or_else(piped)?;
    let told = Told { plan: std::borrow::Cow::Borrowed(plan), file_bytes: job.limits.file_bytes };
    let told = serde_json::to_vec(&told).map_err(|error| BuildError::Start(error.into()))?;
    // Both at once, so that neither side waits for the other. What it thinks of the plan it says.
    let telling = async move {
        let _ = stdin.write_all(&told).await;
    };
    let words = async move {
        let mut words = String::new();
        let _ = stderr.take(WORDS_BYTES).read_to_string(&mut words).await;
        words
    };
    let hearing = hear(BufReader::new(stdout), progress);
    let ((), said, words) = tokio::join!(telling, hearing, words);
    let status = child.wait().await;
    match said {
        Some(Said::Written(rows)) => Ok(rows),
        Some(Said::Unreadable(problem)) => Err(BuildError::Read(problem)),
        Some(Said::Failed(why)) => Err(BuildError::Failed(why)),
        _ => {
            tracing::warn!(?status, stderr = %words.trim(), "a writer of results died");
            let signal = status.ok().and_then(|status| status.signal());
            Err(BuildError::Failed(match signal {
                Some(SIGXFSZ) => format!("they take more than {} bytes", job.limits.file_bytes),
                Some(SIGXCPU) => {
                    format!("it takes more than {} seconds of processor time", job.read.cpu_seconds)
                }
                _ if words.contains("memory allocation") => {
                    format!("it takes more than {} bytes of memory", job.read.memory_bytes)
                }
                _ => "the process that writes them died".to_owned(),
            }))
        }
    }
}

/// Hears to the end, and answers the last word.
async fn hear(
    mut stdout: BufReader<tokio::process::ChildStdout>,
    progress: &Progress,
) -> Option<Said> {
    let mut line = String::new();
    let mut last = None;
    loop {
        line.clear();
        match (&mut stdout).take(LINE_BYTES).read_line(&mut line).await {
            Ok(0) | Err(_) => return last,
            Ok(_) => match serde_json::from_str(&line) {
                Ok(Said::Rows(rows)) => progress.rows.store(rows, Ordering::Relaxed),
                said => last = said.ok(),
            },
        }
    }
}
