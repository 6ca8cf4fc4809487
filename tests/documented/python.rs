//! Python programs, in the environment that `tests/python` makes.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// How long one may run: schemathesis is the longest.
const PATIENCE: Duration = Duration::from_secs(600);

/// A file of the repository.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A program of the environment, which is made if need be.
pub(crate) async fn program(name: &str) -> Command {
    let made = Command::new(file("tests/python")).output().await.unwrap();
    assert!(made.status.success(), "no Python environment: {}", said(&made));
    let home = String::from_utf8(made.stdout).unwrap();
    let mut command = Command::new(Path::new(home.trim()).join(name));
    // Nobody's proxy is asked for what is here.
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").kill_on_drop(true);
    command
}

/// Runs a command, which must end well.
pub(crate) async fn run(mut command: Command) -> String {
    let ran = timeout(PATIENCE, command.output()).await.expect("it never ended").unwrap();
    assert!(ran.status.success(), "{command:?} ended with {}:\n{}", ran.status, said(&ran));
    said(&ran)
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
