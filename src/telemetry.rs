//! Logs: for people, on stderr, so that stdout carries only what was asked for.

use tracing_subscriber::EnvFilter;

/// Starts logging at the level that `ROWMILL_LOG` says (such as `debug` or `rowmill=trace`);
/// warnings unless told. Called once, by the commands that run for a while; a second call changes
/// nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("ROWMILL_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // An error means that logging was started before.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .try_init();
}
