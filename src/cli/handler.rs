//! What can be said about the handler, by every command that runs one: exactly one of `--sleep`,
//! `--exec` and `--http`.

use std::time::Duration;

use crate::config::Config;
use crate::domain::QueueName;
use crate::worker::{AnyHandler, Exec, HandlerError, Http, Sleep};

#[derive(Debug, clap::Args)]
#[group(id = "handler", required = true, multiple = false)]
pub(super) struct HandlerArgs {
    /// Handler: wait this long for each row, such as 5s or 250ms (to try things out)
    #[arg(long, value_name = "TIME", env = "ROWMILL_SLEEP", value_parser = humantime::parse_duration)]
    sleep: Option<Duration>,

    /// Handler: send each row to a web server
    ///
    /// It gets the message as JSON by POST, its id in Idempotency-Key and Rowmill-Message-Id, its
    /// attempt in Rowmill-Attempt. An answer of 2xx is done, its body the result; 429, 5xx and no
    /// answer are tried again later (when Retry-After says); any other rejects the row for good.
    /// Redirects are followed to the same host alone.
    #[arg(long, value_name = "URL", env = "ROWMILL_HTTP", hide_env_values = true)]
    http: Option<String>,

    /// Handler: run a command for each row; {column} stands for the row's value there. Everything
    /// after --exec belongs to the command, so it comes last
    ///
    /// The command is run without a shell. It gets the message as JSON on stdin, its id and attempt
    /// as ROWMILL_MESSAGE_ID and ROWMILL_ATTEMPT. Exit code 0 is done, 65 rejects the row for good,
    /// any other is tried again later. In the environment: a JSON array of strings, or words
    /// separated by spaces.
    #[arg(long, value_name = "COMMAND", env = "ROWMILL_EXEC", num_args = 1.., allow_hyphen_values = true)]
    exec: Option<Vec<String>>,
}

impl HandlerArgs {
    /// Which kind of handler it is, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match (&self.exec, &self.http) {
            (Some(_), _) => "exec",
            (None, Some(_)) => "http",
            (None, None) => "sleep",
        }
    }

    /// The handler, for messages of `queue`.
    pub(super) fn handler(
        &self,
        queue: QueueName,
        config: &Config,
    ) -> Result<AnyHandler, HandlerError> {
        match (&self.exec, &self.http, self.sleep) {
            (Some(argv), _, _) => {
                Ok(AnyHandler::Exec(Exec::new(&words(argv), queue, config.exec.clone())?))
            }
            (None, Some(url), _) => Ok(AnyHandler::Http(Http::new(url, config.call.clone())?)),
            // One of them is there: the group is required.
            (None, None, sleep) => Ok(AnyHandler::Sleep(Sleep::new(sleep.unwrap_or_default()))),
        }
    }
}

/// A command as given by arguments, or by one environment variable.
fn words(argv: &[String]) -> Vec<String> {
    match argv {
        [single] if std::env::var("ROWMILL_EXEC").as_ref() == Ok(single) => {
            serde_json::from_str(single)
                .unwrap_or_else(|_| single.split_whitespace().map(str::to_owned).collect())
        }
        _ => argv.to_vec(),
    }
}
