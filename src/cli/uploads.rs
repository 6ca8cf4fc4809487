//! `rowmill uploads`: the uploads of a server, the latest first; and what can be done with one.

use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::Style;
use uuid::Uuid;

use super::api_args::ApiArgs;
use super::common::Common;
use super::complain;
use super::paint::{BAD, BUSY, GOOD, WARN, unless_none};
use crate::api::{Upload, UploadStatus};
use crate::client::UploadAct;

/// List the uploads of a server, the latest first; or pause, resume, cancel or retry one.
///
/// What was done with an upload is told by the line that it has in the list.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to do with one upload
    #[arg(value_enum, requires = "id")]
    act: Option<Act>,

    /// Which
    #[arg(requires = "act")]
    id: Option<Uuid>,

    #[command(flatten)]
    api: ApiArgs,

    /// How many, at most
    #[arg(long, value_name = "N", env = "ROWMILL_LIMIT", default_value_t = 20, value_parser = limit)]
    limit: usize,

    /// Print them as JSON, as the server says them, one a line
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,
}

/// What can be done with an upload.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Act {
    /// Hand out nothing of it until it is resumed
    Pause,
    /// Go on with it
    Resume,
    /// Withdraw what has not been delivered
    Cancel,
    /// Work on its dead rows again
    Retry,
}

impl From<Act> for UploadAct {
    fn from(act: Act) -> Self {
        match act {
            Act::Pause => Self::Pause,
            Act::Resume => Self::Resume,
            Act::Cancel => Self::Cancel,
            Act::Retry => Self::Retry,
        }
    }
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=1_000).contains(limit));
    limit.ok_or_else(|| "it is 1 to 1000".to_owned())
}

impl Args {
    pub(super) async fn run(self, common: &Common) -> ExitCode {
        common.start_log();
        let config = match common.config() {
            Ok(config) => config,
            Err(error) => return complain(&error),
        };
        let uploads = match self.api.client(config.client) {
            Ok(client) => match self.act.zip(self.id) {
                Some((act, id)) => client.steer(id, act.into()).await.map(|upload| vec![upload]),
                None => client.uploads(None, self.limit).await.map(|page| page.data),
            },
            Err(error) => Err(error),
        };
        match uploads {
            Ok(uploads) => match print(&uploads, self.json) {
                // Whoever reads has read enough.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => complain(&error),
                _ => ExitCode::SUCCESS,
            },
            Err(error) => complain(&error),
        }
    }
}

fn print(uploads: &[Upload], json: bool) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    if json {
        for upload in uploads {
            serde_json::to_writer(&mut out, upload)?;
            out.write_all(b"\n")?;
        }
        return Ok(());
    }
    writeln!(
        out,
        "{:36}  {:10}  {:>9}  {:>9}  {:>7}  {:>8}  FILE",
        "ID", "STATUS", "ROWS", "DONE", "DEAD", "REJECTED"
    )?;
    for upload in uploads {
        let counts = &upload.counts;
        let (status, style) = word(upload);
        let (dead, bad) = (unless_none(counts.dead, BAD), unless_none(counts.rejected, WARN));
        // A file's name is somebody else's text; it shall not steer this terminal.
        let name: String =
            upload.filename.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        writeln!(
            out,
            "{:36}  {style}{status:10}{style:#}  {:>9}  {:>9}  {dead}{:>7}{dead:#}  {bad}{:>8}{bad:#}  {name}",
            upload.id, counts.read, counts.done, counts.dead, counts.rejected,
        )?;
        if let Some(reason) = upload.paused.as_ref().and_then(|paused| paused.reason.as_deref()) {
            writeln!(out, "{:36}  {reason}", "")?;
        }
    }
    Ok(())
}

fn word(upload: &Upload) -> (&'static str, Style) {
    if upload.paused.is_some() {
        return ("paused", WARN);
    }
    match upload.status {
        UploadStatus::Ingesting => ("ingesting", BUSY),
        UploadStatus::Published => ("published", BUSY),
        UploadStatus::Ended => ("ended", GOOD),
        UploadStatus::Failed => ("failed", BAD),
        UploadStatus::Cancelled => ("cancelled", WARN),
    }
}
