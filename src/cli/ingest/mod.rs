//! `rowmill ingest`: files to a server, and their progress until they are published, or until every
//! row has its outcome.

mod bars;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::api_args::ApiArgs;
use super::common::Common;
use super::{COULD_NOT, complain};
use crate::api::{Upload, UploadStatus};
use crate::client::{Client, ClientError, ClientLimits, UploadOptions};
use crate::domain::TopicName;
use crate::workbook::rules::{OnInvalid, TextDates};
use crate::workbook::{AttributeColumns, CorrectionChoice, HeaderRow, SheetChoice};
use bars::{Bar, Bars};

/// Files under way at the same time.
const AT_ONCE: usize = 4;
/// The shortest and the longest wait between two looks at an upload.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_LONGEST: Duration = Duration::from_secs(1);

/// Upload spreadsheets to a server.
///
/// Each is checked by the server, and every row of it becomes a message. Waits until all are
/// published, unless told otherwise.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT)]
pub(crate) struct Args {
    /// The spreadsheets: xlsx, xlsm, xlsb, xls, ods, csv or tsv
    #[arg(required = true)]
    files: Vec<PathBuf>,

    #[command(flatten)]
    api: ApiArgs,

    /// Which sheet: a name, #2 for the second, or all. The first visible one unless told
    #[arg(long, value_name = "SHEET", env = "ROWMILL_SHEET", value_parser = as_text::<SheetChoice>)]
    sheet: Option<String>,

    /// Which row names the columns, counted from 1. The first that is not empty unless told
    #[arg(long, value_name = "ROW", env = "ROWMILL_HEADER_ROW", value_parser = as_text::<HeaderRow>)]
    header_row: Option<String>,

    /// The topic that the rows are published to; the server's choice unless told
    #[arg(long, value_name = "NAME", env = "ROWMILL_TOPIC")]
    topic: Option<TopicName>,

    /// Columns whose cells become attributes of their row's message, named by the header, with commas
    /// between them: queues filter by attributes
    #[arg(long, value_name = "COLUMNS", env = "ROWMILL_ATTRIBUTES", value_parser = as_text::<AttributeColumns>)]
    attributes: Option<String>,

    /// Make dates of those that are written as text: dmy for 31/12/2026, mdy for 12/31/2026, auto for
    /// the order that each column gives away. Text unless told
    #[arg(long, value_name = "ORDER", env = "ROWMILL_DATES", value_parser = as_text::<TextDates>)]
    dates: Option<String>,

    /// What becomes of a file some of whose rows are not valid: skip rejects these rows, abort
    /// publishes nothing
    #[arg(long, value_name = "WHAT", env = "ROWMILL_ON_INVALID", value_parser = as_text::<OnInvalid>)]
    on_invalid: Option<String>,

    /// Columns that a row is known by, named by the header, with commas between them: one that comes
    /// again, in a file or in another of the topic, is not sent again
    #[arg(long, value_name = "COLUMNS", env = "ROWMILL_KEY", value_parser = as_text::<AttributeColumns>)]
    key: Option<String>,

    /// What it means that a file is a table of failures: found, it corrects its upload; off, it is a
    /// file like any other. Found unless told
    #[arg(long, value_name = "WHAT", env = "ROWMILL_CORRECTION", value_parser = as_text::<CorrectionChoice>)]
    correction: Option<String>,

    /// Let workers begin before a file has been read to its end; what they have done by then stands,
    /// should the file turn out to be damaged further down
    #[arg(long, env = "ROWMILL_STREAM")]
    stream: bool,

    /// Do not wait: end when the server has accepted the files
    #[arg(long, env = "ROWMILL_NO_WAIT")]
    no_wait: bool,

    /// Wait until every message has ended, done or dead
    #[arg(long, env = "ROWMILL_UNTIL_DONE", conflicts_with = "no_wait")]
    until_done: bool,

    /// Print what the server says of each file as JSON on stdout, and no progress bars
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,
}

const EXIT: &str = "\
Exit code: 0 all is well; 1 a file was refused, or rows were rejected or are dead; 2 a file could not
be read here, or the server not be spoken to.";

/// A text that is an option of type `T`: said here, understood by the server.
fn as_text<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<String, String> {
    text.parse::<T>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// How far an upload is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Accepted,
    Published,
    Ended,
}

impl Until {
    fn is_reached(self, status: UploadStatus) -> bool {
        match self {
            Self::Accepted => true,
            Self::Published => status != UploadStatus::Ingesting,
            Self::Ended => status.is_over(),
        }
    }
}

/// What became of a file.
struct Told {
    file: PathBuf,
    answer: Result<Upload, ClientError>,
}

impl Args {
    pub(super) async fn run(self, common: &Common) -> ExitCode {
        common.start_log();
        let client = match self.api.client(ClientLimits::default()) {
            Ok(client) => client,
            Err(error) => return complain(&error),
        };
        let bars = Bars::draw(!self.json);
        let all: Vec<Told> = stream::iter(&self.files)
            .map(async |file| Told {
                file: file.clone(),
                answer: self.one(&client, file, &bars.add(&name(file))).await,
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        drop(bars);
        let printed = if self.json { print_json(&all) } else { print(&all) };
        if let Err(error) = printed {
            return complain(&error);
        }
        let worst = all.iter().map(Told::code).max().unwrap_or_default();
        ExitCode::from(worst)
    }

    async fn one(&self, client: &Client, file: &Path, bar: &Bar) -> Result<Upload, ClientError> {
        let options = UploadOptions {
            sheet: self.sheet.clone(),
            header_row: self.header_row.clone(),
            topic: self.topic.as_ref().map(ToString::to_string),
            attributes: self.attributes.clone(),
            dates: self.dates.clone(),
            on_invalid: self.on_invalid.clone(),
            key: self.key.clone(),
            correction: self.correction.clone(),
            stream: self.stream,
            wait: false,
        };
        let sent = Arc::default();
        let total = tokio::fs::metadata(file).await.map_or(0, |metadata| metadata.len());
        let mut upload = tokio::select! {
            upload = client.upload(file, &options, &sent) => upload?,
            never = bar.sending(&sent, total) => match never {},
        };
        let until = match (self.no_wait, self.until_done) {
            (true, _) => Until::Accepted,
            (false, true) => Until::Ended,
            (false, false) => Until::Published,
        };
        let mut pause = LOOK;
        while !until.is_reached(upload.status) {
            bar.show(&upload);
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_LONGEST);
            upload = client.upload_status(upload.id).await?;
        }
        bar.show(&upload);
        Ok(upload)
    }
}

impl Told {
    /// What it makes of the exit code.
    fn code(&self) -> u8 {
        match &self.answer {
            Ok(upload) => {
                let counts = &upload.counts;
                let lost = counts.rejected + counts.dead + counts.expired + counts.cancelled;
                let failed =
                    matches!(upload.status, UploadStatus::Failed | UploadStatus::Cancelled);
                u8::from(lost > 0 || failed)
            }
            Err(error) if error.is_not_allowed() => COULD_NOT,
            // The server is not at a loss, nor is the way to it: the file is refused.
            Err(error) if error.status().is_some_and(|status| (400..500).contains(&status)) => 1,
            Err(_) => COULD_NOT,
        }
    }

    fn words(&self) -> String {
        let file = self.file.display();
        let upload = match &self.answer {
            Err(error) => return format!("{file}: {error}"),
            Ok(upload) => upload,
        };
        let (counts, id) = (&upload.counts, upload.id);
        match upload.status {
            UploadStatus::Ingesting => format!("{file}: accepted as upload {id}"),
            UploadStatus::Failed => match &upload.problem {
                Some(problem) => format!("{file}: {}: {}", problem.title, problem.detail),
                None => format!("{file}: its upload {id} failed"),
            },
            UploadStatus::Cancelled => format!("{file}: its upload {id} was cancelled"),
            UploadStatus::Published | UploadStatus::Ended => format!(
                "{file}: {} published, {} rejected, {} taken by no queue; {} done, {} dead, {} waiting (upload {id})",
                counts.published,
                counts.rejected,
                counts.unrouted,
                counts.done,
                counts.dead,
                counts.waiting + counts.in_flight
            ),
        }
    }

    fn json(&self) -> Value {
        let told = match &self.answer {
            Ok(upload) => serde_json::to_value(upload),
            Err(error) => match error.problem() {
                Some(problem) => serde_json::to_value(problem),
                None => Ok(json!({"error": error.to_string()})),
            },
        };
        let mut told = told.unwrap_or_default();
        if let Some(fields) = told.as_object_mut()
            && !fields.contains_key("filename")
        {
            fields.insert("filename".into(), name(&self.file).into());
        }
        told
    }
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

fn print_json(all: &[Told]) -> io::Result<()> {
    let all: Vec<Value> = all.iter().map(Told::json).collect();
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &all)?;
    writeln!(out)
}

fn print(all: &[Told]) -> io::Result<()> {
    for told in all {
        match &told.answer {
            Ok(_) => writeln!(io::stdout(), "{}", told.words())?,
            Err(_) => writeln!(io::stderr(), "rowmill: {}", told.words())?,
        }
    }
    Ok(())
}
