//! `rowmill uploads`: the uploads of a server, the latest first.

use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::Style;

use super::api_args::ApiArgs;
use super::common::Common;
use super::complain;
use super::paint::{BAD, BUSY, GOOD, WARN, unless_none};
use crate::api::{Upload, UploadStatus};

/// List the uploads of a server, the latest first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    api: ApiArgs,

    /// How many, at most
    #[arg(long, value_name = "N", env = "ROWMILL_LIMIT", default_value_t = 20, value_parser = limit)]
    limit: usize,

    /// Print them as JSON, as the server says them, one a line
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,
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
            Ok(client) => client.uploads(None, self.limit).await,
            Err(error) => Err(error),
        };
        match uploads {
            Ok(page) => match print(&page.data, self.json) {
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
        let (status, style) = word(upload.status);
        let (dead, bad) = (unless_none(counts.dead, BAD), unless_none(counts.rejected, WARN));
        // A file's name is somebody else's text; it shall not steer this terminal.
        let name: String =
            upload.filename.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        writeln!(
            out,
            "{:36}  {style}{status:10}{style:#}  {:>9}  {:>9}  {dead}{:>7}{dead:#}  {bad}{:>8}{bad:#}  {name}",
            upload.id, counts.read, counts.done, counts.dead, counts.rejected,
        )?;
    }
    Ok(())
}

fn word(status: UploadStatus) -> (&'static str, Style) {
    match status {
        UploadStatus::Ingesting => ("ingesting", BUSY),
        UploadStatus::Published => ("published", BUSY),
        UploadStatus::Ended => ("ended", GOOD),
        UploadStatus::Failed => ("failed", BAD),
        UploadStatus::Cancelled => ("cancelled", WARN),
    }
}
