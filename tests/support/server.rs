//! The service as its users meet it: the program itself, a process of its own, spoken to over HTTP.

#![allow(dead_code, reason = "each test that uses this file uses a part of it")]
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a server may take to start, or to end after what held it is gone.
const PATIENCE: Duration = Duration::from_secs(60);
const LISTENS: &str = "rowmill: listening on ";

/// A running `rowmill serve`; it ends when this goes.
pub(crate) struct TestServer {
    child: Child,
    url: String,
    home: TempDir,
    log: watch::Receiver<String>,
}

impl TestServer {
    /// On a database, on a port of its own.
    pub(crate) async fn start(database_url: &str) -> Self {
        Self::start_with(database_url, &[]).await
    }

    /// The same with more arguments.
    pub(crate) async fn start_with(database_url: &str, more: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = Self::command(&home);
        command.args(["--listen", "127.0.0.1:0", "--database-url", database_url]).args(more);
        Self::run(command, home).await
    }

    /// `rowmill serve` in a directory, with nothing said yet.
    pub(crate) fn command(home: &TempDir) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
        command.arg("serve").current_dir(home.path()).env_remove("DATABASE_URL");
        command
    }

    /// Starts a command and waits until it listens.
    pub(crate) async fn run(mut command: Command, home: TempDir) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listens = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                eprintln!("{line}");
                if let Some(url) = line.strip_prefix(LISTENS) {
                    return url.to_owned();
                }
            }
            panic!("the server ended before it listened");
        };
        let url = timeout(PATIENCE, listens).await.expect("the server never listened");
        // Read on, so that a full pipe does not hold the server.
        let (written, log) = watch::channel(String::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("{line}");
                written.send_modify(|log| log.extend([&line, "\n"]));
            }
        });
        Self { child, url, home, log }
    }

    /// A path of the server as a URL.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Its address, such as `127.0.0.1:41234`.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// The directory it was started in.
    pub(crate) fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the server has ended")
    }

    /// Waits until its log has a line with all of these, and answers the line. What it logs is set by
    /// `ROWMILL_LOG`.
    pub(crate) async fn logged(&self, parts: &[&str]) -> String {
        let fits = |line: &&str| parts.iter().all(|part| line.contains(part));
        let mut log = self.log.clone();
        let found = log.wait_for(|log| log.lines().any(|line| fits(&line)));
        let found = timeout(PATIENCE, found).await.expect("it was never logged").unwrap();
        found.lines().find(fits).unwrap().to_owned()
    }

    /// Sends it a signal, such as `-TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args([name, &self.pid().to_string()]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("the server never ended").unwrap()
    }
}

/// A client that talks to this machine only.
pub(crate) fn client() -> reqwest::Client {
    // An error means that another test of this process has done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}
