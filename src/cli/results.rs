//! `rowmill results`: an upload's file once more, with what became of its rows, from a server.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use uuid::Uuid;

use super::api_args::ApiArgs;
use super::common::Common;
use super::{COULD_NOT, complain};
use crate::client::{Download, DownloadForm};

/// Fetch the results of an upload: its rows with status, result, error, attempts and the time of
/// their end.
///
/// The file's name says its form: .xlsx, .csv or .ndjson.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT)]
pub(crate) struct Args {
    /// The upload's id
    id: Uuid,

    /// Where the file goes; what is there is replaced
    #[arg(short, long, value_name = "FILE", env = "ROWMILL_OUTPUT")]
    output: PathBuf,

    /// Only rows that were rejected or are dead, with what is wrong and where (.xlsx)
    #[arg(long, env = "ROWMILL_FAILURES")]
    failures: bool,

    /// Say on stdout as JSON what was fetched: {"file": …, "complete": …}
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,

    #[command(flatten)]
    api: ApiArgs,
}

const EXIT: &str = "\
Exit code: 0 the file is there; 1 it is there, and rows of the upload have not ended yet;
2 it could not be fetched.";

impl Args {
    #[allow(clippy::print_stdout)] // what --json asked for
    pub(super) async fn run(self, common: &Common) -> ExitCode {
        common.start_log();
        let config = match common.config() {
            Ok(config) => config,
            Err(error) => return complain(&error),
        };
        let ending = self.output.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let form = match (ending.to_ascii_lowercase().as_str(), self.failures) {
            ("xlsx", false) => DownloadForm::Xlsx,
            ("csv", false) => DownloadForm::Csv,
            ("ndjson", false) => DownloadForm::Ndjson,
            ("xlsx", true) => DownloadForm::Failures,
            (_, failures) => return unknown_form(failures),
        };
        let fetched = match self.api.client(config.client) {
            Ok(client) => client.download(self.id, form, &self.output).await,
            Err(error) => Err(error),
        };
        match fetched {
            Ok(fetched) if self.json => {
                let complete = matches!(fetched, Download::Complete);
                println!("{}", json!({ "file": self.output, "complete": complete }));
                if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Ok(Download::Complete) => ExitCode::SUCCESS,
            Ok(Download::SoFar) => {
                tell("rows of the upload have not ended yet: the file shows how it is so far");
                ExitCode::FAILURE
            }
            Err(error) => complain(&error),
        }
    }
}

fn unknown_form(failures: bool) -> ExitCode {
    tell(match failures {
        true => "failures are a workbook: the file's name ends in .xlsx",
        false => "the file's name says its form: it ends in .xlsx, .csv or .ndjson",
    });
    ExitCode::from(COULD_NOT)
}

#[allow(clippy::print_stderr)] // said to a person
fn tell(text: &str) {
    eprintln!("rowmill: {text}");
}
