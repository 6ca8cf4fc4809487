//! What a process tells of itself: its log, on stderr so that stdout carries only what was asked
//! for, and its numbers ([`exposition`], [`worker`]).

pub mod exposition;
pub mod worker;

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

/// Starts logging at the level that `ROWMILL_LOG` says (such as `debug` or `rowmill=trace`);
/// warnings unless told. Called once; a second call changes nothing.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_env("ROWMILL_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
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
