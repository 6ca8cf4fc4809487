//! What a process tells of itself: its log, on stderr so that stdout carries only what was asked
//! for, and its numbers ([`exposition`], [`worker`]).

pub mod exposition;
pub mod worker;

use anstream::{AutoStream, ColorChoice};
use tracing_subscriber::EnvFilter;

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line, for machines.
    Json,
}

impl LogFormat {
    /// Says something on stderr to whoever started this process, whatever the level of the log. Among
    /// JSON it is JSON.
    #[allow(clippy::print_stderr)] // the boundary where a person is told something
    pub fn say(self, text: &str) {
        match self {
            Self::Human => eprintln!("rowmill: {text}"),
            Self::Json => {
                let timestamp = humantime::format_rfc3339_micros(std::time::SystemTime::now());
                let (level, target) = ("INFO", "rowmill");
                let line = serde_json::json!({
                    "timestamp": timestamp.to_string(),
                    "level": level,
                    "message": text,
                    "target": target,
                });
                eprintln!("{line}");
            }
        }
    }
}

/// Starts logging at the level that `ROWMILL_LOG` says (such as `debug` or `rowmill=trace`);
/// warnings unless told. Called once; a second call changes nothing.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_env("ROWMILL_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // A terminal, unless the environment says otherwise (`NO_COLOR`).
    let ansi = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi && format == LogFormat::Human);
    // An error means that logging was started before.
    let _ = match format {
        LogFormat::Human => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
}
