//! `rowmill produce`: the single-insert producer. Reads a file here and publishes it over HTTP, one
//! row, one request at a time.
//!
//! It is how rows get to a queue where no file can be sent, and the yardstick for `rowmill ingest`.
//! What it publishes is visible at once, row by row; a file that turns out to be damaged has its
//! rows up to the damage published. Each row has an idempotency key made of the file's bytes, how it
//! is read, the sheet and the row; so started again after a break, it publishes nothing twice for as
//! long as the server remembers the keys.

mod error;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::api_args::ApiArgs;
use super::common::Common;
use super::digest::{hash_file, hex};
use super::{COULD_NOT, STOPPED, complain};
use crate::api::NewMessage;
use crate::client::ClientLimits;
use crate::domain::{Row, RowNumber, TopicName};
use crate::ingest::reader::Reader;
use crate::workbook::{Frame, HeaderRow, ReadLimits, ReadOptions, SheetChoice, SheetHead};
use crate::worker::Stop;
use error::ProduceError;
use report::{Report, Status};

/// Publish a spreadsheet's rows to a server, one request a row.
///
/// The file is read on this machine. Stopped half-way and started again with the same file, it
/// publishes no row twice. For a whole file at once, and much faster, see `rowmill ingest`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT)]
pub(crate) struct Args {
    /// The spreadsheet: xlsx, xlsm, xlsb, xls, ods, csv or tsv
    #[arg(env = "ROWMILL_FILE")]
    file: PathBuf,

    #[command(flatten)]
    api: ApiArgs,

    /// The topic that the rows are published to
    #[arg(long, value_name = "NAME", env = "ROWMILL_TOPIC", default_value = "rows")]
    topic: TopicName,

    /// Which sheet: a name, #2 for the second, or all. The first visible one unless told
    #[arg(long, value_name = "SHEET", env = "ROWMILL_SHEET")]
    sheet: Option<SheetChoice>,

    /// Which row names the columns, counted from 1. The first that is not empty unless told
    #[arg(long, value_name = "ROW", env = "ROWMILL_HEADER_ROW")]
    header_row: Option<HeaderRow>,

    /// How often a row is tried again while the server is away or busy; the waits grow from 100 ms
    /// to 5 s
    #[arg(long, value_name = "N", env = "ROWMILL_RETRIES", default_value_t = 30)]
    retries: u16,

    /// Print the summary as JSON on stdout, and no progress
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,
}

const EXIT: &str = "\
Exit code: 0 every row is published; 1 some were rejected; 2 it could not go on; 130 it was stopped
before the end. After 2 and 130 the same command goes on.";

impl Args {
    pub(super) async fn run(self, common: &Common) -> ExitCode {
        common.start_log();
        let stop = Stop::default();
        let signals = tokio::spawn(super::signals::listen(stop.clone(), common.voice()));
        let begun = Instant::now();
        let mut report = Report::new(self.file.clone(), &self.topic);
        let produced = Box::pin(self.produce(&stop, &mut report)).await;
        signals.abort();
        let code = match &produced {
            Ok(Status::Ended) if report.rejected > 0 => 1,
            Ok(Status::Ended) => 0,
            Ok(Status::Stopped) => STOPPED,
            _ => COULD_NOT,
        };
        let (status, failure) = match produced {
            Ok(status) => (status, None),
            Err(error) => (Status::Failed, Some(error)),
        };
        report.ended(status, failure.as_ref(), begun.elapsed());
        if let Err(error) = report.print(self.json) {
            return complain(&error);
        }
        if let Some(error) = failure {
            return complain(&error);
        }
        ExitCode::from(code)
    }

    async fn produce(&self, stop: &Stop, report: &mut Report) -> Result<Status, ProduceError> {
        let limits = ClientLimits { retries: self.retries, ..ClientLimits::default() };
        let client = self.api.client(limits)?;
        let options = ReadOptions {
            sheet: self.sheet.clone().unwrap_or_default(),
            header_row: self.header_row.unwrap_or_default(),
            ..ReadOptions::default()
        };
        let open = |source| ProduceError::Open { path: self.file.clone(), source };
        let hash = hash_file(&self.file).await.map_err(open)?;
        let keys = Keys::new(&hash, &options)?;
        let exe = std::env::current_exe().map_err(open)?;
        let mut reader = Reader::start(&exe, &self.file, &options, &ReadLimits::default())?;
        let bar = bar(!self.json);
        let mut sheet = tokio::select! {
            first = reader.first_word() => first?,
            () = stop.drain.cancelled() => return Ok(Status::Stopped),
        };
        loop {
            let frame = tokio::select! {
                frame = reader.next_frame() => frame?,
                () = stop.drain.cancelled() => return Ok(Status::Stopped),
            };
            let rows = match frame {
                Some(Frame::Rows(rows)) => rows.rows,
                Some(Frame::Sheet(head)) => {
                    sheet = head;
                    continue;
                }
                Some(Frame::End(totals)) => {
                    report.read(&totals);
                    return Ok(Status::Ended);
                }
                Some(Frame::Fault(problem)) => return Err(problem.into()),
                // A row a request: what it corrects makes no difference.
                Some(Frame::Corrects(_)) => continue,
                Some(Frame::Preview(_)) | None => return Err(ProduceError::Cut),
            };
            for Row { row, data, .. } in rows {
                if stop.drain.is_cancelled() {
                    return Ok(Status::Stopped);
                }
                let message = message(&sheet, row, &data)?;
                let key = keys.of(&sheet, row);
                let published = tokio::select! {
                    copies = client.publish(self.topic.as_str(), message, Some(&key)) => copies?,
                    // Asked for twice, it is not known whether this row is published; the next run
                    // finds out by its key.
                    () = stop.now.cancelled() => return Ok(Status::Stopped),
                };
                report.count(published.len());
                bar.inc(1);
            }
        }
    }
}

/// A row as a message that says where it was. The attributes are the same whatever the file is
/// called, as the key is.
fn message(sheet: &SheetHead, row: RowNumber, data: &Bytes) -> Result<NewMessage, ProduceError> {
    let data: &RawValue = serde_json::from_slice(data)?;
    let mut attributes = std::collections::BTreeMap::from([("row".to_owned(), row.to_string())]);
    attributes.extend(sheet.name.clone().map(|name| ("sheet".to_owned(), name)));
    Ok(NewMessage { data: data.to_owned(), attributes })
}

/// The keys of a file's rows.
struct Keys(Sha256);

impl Keys {
    fn new(hash: &str, options: &ReadOptions) -> Result<Self, ProduceError> {
        let mut all = Sha256::new();
        all.update(hash.as_bytes());
        all.update(serde_json::to_vec(options)?);
        Ok(Self(all))
    }

    fn of(&self, sheet: &SheetHead, row: RowNumber) -> String {
        let mut key = self.0.clone();
        key.update(sheet.index.to_be_bytes());
        key.update(row.0.to_be_bytes());
        hex(&key.finalize())
    }
}

/// A line that counts rows on stderr, if that is a terminal and `wanted`.
fn bar(wanted: bool) -> ProgressBar {
    let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    // The template is a constant; were it not to parse, the plain style would do.
    let style = ProgressStyle::with_template("published {human_pos:>12}   {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::with_draw_target(None, target)
        .with_style(style)
        .with_finish(indicatif::ProgressFinish::AndClear)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(index: u16) -> SheetHead {
        SheetHead {
            index,
            name: Some("Orders".into()),
            header_row: RowNumber(1),
            first_column: 0,
            columns: vec!["a".into()],
        }
    }

    #[test]
    fn a_rows_key_depends_on_file_options_sheet_and_row() {
        let options = ReadOptions::default();
        let other = ReadOptions { sheet: SheetChoice::All, ..ReadOptions::default() };
        let key = |hash: &str, options: &ReadOptions, index, row| {
            Keys::new(hash, options).unwrap().of(&sheet(index), RowNumber(row))
        };
        let one = key("aa", &options, 0, 2);
        assert_eq!(one.len(), 64);
        assert_eq!(one, key("aa", &options, 0, 2));
        for different in [
            key("ab", &options, 0, 2),
            key("aa", &other, 0, 2),
            key("aa", &options, 1, 2),
            key("aa", &options, 0, 3),
        ] {
            assert_ne!(one, different);
        }
    }

    #[test]
    fn a_message_keeps_every_digit_and_says_where_it_was() {
        let data = Bytes::from_static(br#"{"n":12345678901234567890.10}"#);
        let message = message(&sheet(0), RowNumber(7), &data).unwrap();
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            r#"{"data":{"n":12345678901234567890.10},"attributes":{"row":"7","sheet":"Orders"}}"#
        );
    }
}
