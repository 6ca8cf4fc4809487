//! `rowmill read`: the process that reads one spreadsheet. It is started by the one that wants the
//! rows, limits itself before it opens the file, and writes frames (`workbook::frame`) to its
//! standard output. Whatever a file does to it, it does to nobody else.
//!
//! Exit codes: 0 if the file was read or a fault was told in a frame, 2 if the arguments are wrong
//! or the limits cannot be set, 3 if the other end of the pipe is gone; 101 is a panic.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};

use crate::domain::{Finding, Problem, ProblemKind, RowNumber};
use crate::workbook::frame::{Frame, RowsBuffer};
use crate::workbook::preview::Profile;
use crate::workbook::{
    self, AttributeColumns, PreviewOptions, ReadLimits, ReadOptions, SheetHead, Sink, Stop,
};

/// Reads one spreadsheet in this process and writes frames to standard output.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The spreadsheet.
    file: PathBuf,
    /// How it is to be read, as JSON.
    #[arg(long, value_parser = from_json::<ReadOptions>, default_value = "{}")]
    options: ReadOptions,
    /// How far it may go, as JSON.
    #[arg(long, value_parser = from_json::<ReadLimits>, default_value = "{}")]
    limits: ReadLimits,
    /// Only look at the file and say what it is: what to look for, as JSON.
    #[arg(long, value_parser = from_json::<PreviewOptions>)]
    preview: Option<PreviewOptions>,
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text)
}

impl Args {
    /// Runs the subcommand. Must be called before any thread is started.
    pub(crate) fn run(self) -> ExitCode {
        // A panic is told by its place alone: what it says may hold what stands in the file.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(io::stderr(), "panic at {place}");
        }));
        if let Err(error) = limit_myself(&self.limits) {
            let _ = writeln!(io::stderr(), "the limits cannot be set: {error}");
            return ExitCode::from(2);
        }
        // Not the buffered standard output, which looks for line ends in everything.
        let pipe = match io::stdout().as_fd().try_clone_to_owned() {
            Ok(pipe) => File::from(pipe),
            Err(_) => return ExitCode::from(3),
        };
        let mut frames = Frames::new(pipe, &self.limits, &self.options.key);
        let last = match &self.preview {
            Some(what) => self.look(what),
            None => self.send(&mut frames),
        };
        let last = match last {
            Ok(last) => last,
            Err(Stop::Problem(problem)) => Frame::Fault(problem),
            Err(Stop::Closed(_)) => return ExitCode::from(3),
        };
        match frames.finish(&last) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(3),
        }
    }
}

impl Args {
    /// Sends the rows, and answers the last word.
    fn send(&self, frames: &mut Frames<'_>) -> Result<Frame, Stop> {
        let totals = workbook::read(&self.file, &self.options, &self.limits, frames)?;
        Ok(Frame::End(totals))
    }

    /// Looks at all rows, and answers what was seen.
    fn look(&self, what: &PreviewOptions) -> Result<Frame, Stop> {
        let mut profile = Profile::new(what);
        let totals = workbook::read(&self.file, &self.options, &self.limits, &mut profile)?;
        let json = serde_json::to_vec(&profile.end(totals)).map_err(io::Error::from)?;
        Ok(Frame::Preview(json.into()))
    }
}

/// Memory, processor time, no core dump, no files written, and no life without the parent.
fn limit_myself(limits: &ReadLimits) -> io::Result<()> {
    let at_most = |resource, soft: u64, hard: u64| {
        setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })
    };
    at_most(Resource::Core, 0, 0)?;
    at_most(Resource::Fsize, 0, 0)?;
    at_most(Resource::As, limits.memory_bytes, limits.memory_bytes)?;
    // The first is a signal that says why; the second cannot be ignored.
    at_most(Resource::Cpu, limits.cpu_seconds, limits.cpu_seconds.saturating_add(2))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Makes frames of rows and counts what it writes.
struct Frames<'a> {
    /// Columns that every sheet must have.
    key: &'a AttributeColumns,
    pipe: File,
    frame_bytes: usize,
    output_bytes: u64,
    written: u64,
    sheet: u16,
    rows: RowsBuffer,
    wire: Vec<u8>,
}

impl<'a> Frames<'a> {
    fn new(pipe: File, limits: &ReadLimits, key: &'a AttributeColumns) -> Self {
        Self {
            key,
            pipe,
            frame_bytes: limits.frame_bytes,
            output_bytes: limits.output_bytes,
            written: 0,
            sheet: 0,
            rows: RowsBuffer::default(),
            wire: Vec::new(),
        }
    }

    fn send_rows(&mut self) -> Result<(), Stop> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.rows.drain_into(self.sheet, &mut self.wire).map_err(io::Error::from)?;
        self.send()
    }

    fn send(&mut self) -> Result<(), Stop> {
        self.written += self.wire.len() as u64;
        if self.written > self.output_bytes {
            let detail = format!("the rows take more than {} bytes", self.output_bytes);
            return Err(Problem::new(ProblemKind::TooLarge, detail).into());
        }
        self.pipe.write_all(&self.wire)?;
        self.wire.clear();
        Ok(())
    }

    /// Sends what is left and the last frame. After a fault of the whole file before any row, the
    /// fault stays the first frame.
    fn finish(&mut self, last: &Frame) -> io::Result<()> {
        if self.written > 0 {
            self.rows.drain_into(self.sheet, &mut self.wire)?;
        }
        last.encode(&mut self.wire)?;
        self.pipe.write_all(&self.wire)
    }
}

impl Sink for Frames<'_> {
    fn corrects(&mut self, upload: &str) -> Result<(), Stop> {
        // Before everything: who hears it may begin anew.
        Frame::Corrects(upload.to_owned()).encode(&mut self.wire).map_err(io::Error::from)?;
        self.pipe.write_all(&self.wire)?;
        self.wire.clear();
        Ok(())
    }

    fn sheet(&mut self, head: &SheetHead) -> Result<(), Stop> {
        self.key.check(head, "named as the key")?;
        // What was found in the header row travels with the sheet's own rows.
        if self.written > 0 {
            self.send_rows()?;
        }
        self.sheet = head.index;
        Frame::Sheet(head.clone()).encode(&mut self.wire).map_err(io::Error::from)?;
        self.send()
    }

    fn row(&mut self, row: RowNumber, json: &[u8], attributes: Option<&[u8]>) -> Result<(), Stop> {
        self.rows.push(row, json, attributes);
        if self.rows.bytes() >= self.frame_bytes { self.send_rows() } else { Ok(()) }
    }

    fn finding(&mut self, finding: Finding) -> Result<(), Stop> {
        self.rows.note(finding);
        Ok(())
    }
}
