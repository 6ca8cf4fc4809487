//! The parent's side of a reader's process: starts it, takes its frames, and turns whatever may
//! become of it (killed, out of memory, out of time, silent, confused) into a [`Problem`].
//!
//! Backpressure is the pipe: while nobody calls [`Reader::next_frame`], the reader waits in its
//! write. How many readers run at once ([`ReadLimits::readers_at_once`]) is for the caller to hold:
//! take a permit of a semaphore before [`Reader::start`] and keep it as long as the reader.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::domain::{Problem, ProblemKind};
use crate::workbook::frame::{self, Frame};
use crate::workbook::rules::Decided;
use crate::workbook::{Preview, PreviewOptions, ReadLimits, ReadOptions, SheetHead};

/// How much of the reader's last words is kept for the log.
const STDERR_BYTES: usize = 4 << 10;
/// How long a reader that closed its pipe may take to end.
const GRACE: Duration = Duration::from_secs(5);

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

/// The reader's process could not be started: no fault of the file.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// The process could not be made.
    #[error("the reader's process cannot be started: {0}")]
    Spawn(#[from] io::Error),
    /// Options or limits have no JSON form.
    #[error("the reader's arguments cannot be written: {0}")]
    Arguments(#[from] serde_json::Error),
}

/// A process that reads one file. Dropping it kills the process.
#[derive(Debug)]
pub struct Reader {
    child: Child,
    stdout: ChildStdout,
    stderr: Option<JoinHandle<String>>,
    buffer: BytesMut,
    corrects: Option<Uuid>,
    limits: ReadLimits,
    over: bool,
}

impl Reader {
    /// Starts `exe read` on a file. The process dies with the thread that called this, so call it
    /// on a thread that lives as long as the runtime (a worker of it, not `spawn_blocking`).
    ///
    /// # Errors
    /// If there can be no such process. What is wrong with the file is said by
    /// [`Reader::first_word`].
    pub fn start(
        exe: &Path,
        file: &Path,
        options: &ReadOptions,
        limits: &ReadLimits,
    ) -> Result<Self, CannotStart> {
        Self::spawn(Command::new(exe).arg("read"), file, options, limits)
    }

    /// Starts `exe read --preview` on a file, for [`Reader::preview`]. As for [`Reader::start`].
    ///
    /// # Errors
    /// As for [`Reader::start`].
    pub fn look(
        exe: &Path,
        file: &Path,
        options: &ReadOptions,
        what: &PreviewOptions,
        limits: &ReadLimits,
    ) -> Result<Self, CannotStart> {
        let mut command = Command::new(exe);
        command.arg("read").arg("--preview").arg(serde_json::to_string(what)?);
        // It says nothing before it has read everything.
        let silence_seconds = limits.silence_seconds.max(limits.cpu_seconds);
        let limits = ReadLimits { silence_seconds, ..limits.clone() };
        Self::spawn(&mut command, file, options, &limits)
    }

    /// Starts `exe read --decide` on a file, for [`Reader::decided`]. As for [`Reader::start`].
    ///
    /// # Errors
    /// As for [`Reader::start`].
    pub fn decide(
        exe: &Path,
        file: &Path,
        options: &ReadOptions,
        limits: &ReadLimits,
    ) -> Result<Self, CannotStart> {
        // As of a look.
        let silence_seconds = limits.silence_seconds.max(limits.cpu_seconds);
        let limits = ReadLimits { silence_seconds, ..limits.clone() };
        Self::spawn(Command::new(exe).arg("read").arg("--decide"), file, options, &limits)
    }

    fn spawn(
        command: &mut Command,
        file: &Path,
        options: &ReadOptions,
        limits: &ReadLimits,
    ) -> Result<Self, CannotStart> {
        let mut child = command
            .arg("--options")
            .arg(serde_json::to_string(options)?)
            .arg("--limits")
            .arg(serde_json::to_string(limits)?)
            .arg("--")
            .arg(file)
            // A group of its own: Ctrl-C in a terminal is for us to hear. It would kill the reader,
            // and a reader that died is a fault of its file.
            .process_group(0)
            // It needs nothing from here, and here may be passwords.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let piped = || io::Error::other("the reader has no pipe");
        let stdout = child.stdout.take().ok_or_else(piped)?;
        let stderr = child.stderr.take().ok_or_else(piped)?;
        Ok(Self {
            child,
            stdout,
            stderr: Some(tokio::spawn(last_words(stderr))),
            buffer: BytesMut::new(),
            corrects: None,
            limits: limits.clone(),
            over: false,
        })
    }

    /// The process's id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The upload that the file says it corrects. Known with the first word.
    pub fn corrects(&self) -> Option<Uuid> {
        self.corrects
    }

    /// The first sheet's head: the file is what it should be and has at least one row. To be
    /// called once, before [`Reader::next_frame`].
    ///
    /// Cancel safe: what has arrived is kept.
    ///
    /// # Errors
    /// The refusal of the file, or what became of its reader.
    pub async fn first_word(&mut self) -> Result<SheetHead, Problem> {
        match self.next_frame().await? {
            Some(Frame::Sheet(head)) => Ok(head),
            _ => Err(self.broken("it did not begin with a sheet").await),
        }
    }

    /// What a reader that only looks has seen. To be called once, and nothing else.
    ///
    /// Cancel safe: what has arrived is kept.
    ///
    /// # Errors
    /// The refusal of the file, or what became of its reader.
    pub async fn preview(&mut self) -> Result<Preview, Problem> {
        match self.next_frame().await? {
            Some(Frame::Preview(json)) => match serde_json::from_slice(&json) {
                Ok(preview) => Ok(preview),
                Err(error) => Err(self.broken(&error.to_string()).await),
            },
            _ => Err(self.broken("it did not say what it saw").await),
        }
    }

    /// The orders of dates that a reader has decided. To be called once, and nothing else.
    ///
    /// Cancel safe: what has arrived is kept.
    ///
    /// # Errors
    /// As for [`Reader::preview`]; also when an order cannot be told.
    pub async fn decided(&mut self) -> Result<Vec<Decided>, Problem> {
        match self.next_frame().await? {
            Some(Frame::Preview(json)) => match serde_json::from_slice(&json) {
                Ok(decided) => Ok(decided),
                Err(error) => Err(self.broken(&error.to_string()).await),
            },
            _ => Err(self.broken("it did not say what it decided").await),
        }
    }

    /// The next frame: rows, the head of another sheet, or the totals, which are the last; `None`
    /// after that.
    ///
    /// Cancel safe: what has arrived is kept.
    ///
    /// # Errors
    /// What is wrong with the file further down, or what became of its reader. There is nothing
    /// to be had after an error.
    pub async fn next_frame(&mut self) -> Result<Option<Frame>, Problem> {
        if self.over {
            return Ok(None);
        }
        // A row is never split, so a frame is at most a row over its size, plus its findings.
        let largest = self.limits.frame_bytes + self.limits.row_bytes + (8 << 20);
        loop {
            let mut wanted = frame::HEADER_BYTES;
            if let Some(header) = self.buffer.first_chunk() {
                let (length, kind) = frame::split_header(*header);
                if length > largest {
                    return Err(self.broken("a frame is larger than any can be").await);
                }
                wanted += length;
                if self.buffer.len() >= wanted {
                    self.buffer.advance(frame::HEADER_BYTES);
                    let payload = self.buffer.split_to(length).freeze();
                    match self.take(kind, payload).await? {
                        // Not an id of ours: a property that somebody else called so.
                        Some(Frame::Corrects(upload)) => self.corrects = upload.parse().ok(),
                        frame => return Ok(frame),
                    }
                    continue;
                }
            }
            self.buffer.reserve((wanted - self.buffer.len()).max(64 << 10));
            let silence = Duration::from_secs(self.limits.silence_seconds);
            match timeout(silence, self.stdout.read_buf(&mut self.buffer)).await {
                Ok(Ok(0)) => return Err(self.died().await),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(self.broken(&error.to_string()).await),
                Err(_) => {
                    self.end().await;
                    let seconds = self.limits.silence_seconds;
                    return Err(reader_died(format!("it gave no row for {seconds} seconds")));
                }
            }
        }
    }

    async fn take(&mut self, kind: u8, payload: bytes::Bytes) -> Result<Option<Frame>, Problem> {
        match Frame::decode(kind, payload) {
            Ok(Frame::Fault(problem)) => {
                self.end().await;
                Err(problem)
            }
            Ok(last @ (Frame::End(_) | Frame::Preview(_))) => {
                self.end().await;
                Ok(Some(last))
            }
            Ok(frame) => Ok(Some(frame)),
            Err(error) => Err(self.broken(&error.to_string()).await),
        }
    }

    /// Nothing more is wanted of the process.
    async fn end(&mut self) -> Option<ExitStatus> {
        self.over = true;
        if let Ok(Ok(status)) = timeout(Duration::from_millis(100), self.child.wait()).await {
            return Some(status);
        }
        // It may be gone already, which is what is wanted.
        let _ = self.child.start_kill();
        timeout(GRACE, self.child.wait()).await.ok()?.ok()
    }

    /// It says what no reader says.
    async fn broken(&mut self, why: &str) -> Problem {
        self.end().await;
        reader_died(format!("its answer cannot be understood: {why}"))
    }

    /// Its pipe ended without a last frame.
    async fn died(&mut self) -> Problem {
        self.over = true;
        let status = match timeout(GRACE, self.child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => self.end().await,
        };
        let words = match self.stderr.take() {
            Some(words) => timeout(GRACE, words).await.ok().and_then(Result::ok),
            None => None,
        };
        let words = words.unwrap_or_default();
        tracing::warn!(?status, stderr = %words.trim(), "a reader died");
        reader_died(self.obituary(status, &words))
    }

    fn obituary(&self, status: Option<ExitStatus>, words: &str) -> String {
        let memory = format!(
            "reading it takes more than the {} bytes of memory that a reader may have",
            self.limits.memory_bytes
        );
        let time = format!(
            "reading it takes more than the {} seconds of processor time that a reader may have",
            self.limits.cpu_seconds
        );
        let Some(status) = status else { return "the reader did not end".to_owned() };
        match (status.signal(), status.code()) {
            (Some(SIGABRT), _) if words.contains("memory allocation") => memory,
            (Some(SIGXCPU), _) => time,
            (Some(SIGKILL), _) => "the reader was killed".to_owned(),
            (Some(signal), _) => format!("the reader died of signal {signal}"),
            (None, Some(101)) => "the reader met a fault of its own".to_owned(),
            (None, Some(code)) => format!("the reader ended with code {code} and no last word"),
            (None, None) => "the reader ended without a last word".to_owned(),
        }
    }
}

/// Whether the reader's program is still there to be started: an update may have taken it away under
/// a running server.
///
/// # Errors
/// Whatever is wrong with it.
pub async fn can_start(exe: &Path) -> io::Result<()> {
    let meta = tokio::fs::metadata(exe).await?;
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(words) = &self.stderr {
            words.abort();
        }
    }
}

fn reader_died(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::ReaderDied, detail)
}

/// Keeps the beginning of what a reader says and lets the rest pass, so that it never blocks.
async fn last_words(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    drain(&mut stderr, &mut kept).await;
    String::from_utf8_lossy(&kept).into_owned()
}

async fn drain(stderr: &mut (impl AsyncRead + Unpin), kept: &mut Vec<u8>) {
    let mut piece = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut piece).await {
        let room = STDERR_BYTES.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(piece.get(..room).unwrap_or_default());
    }
}
