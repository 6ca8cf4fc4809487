//! A server in a process of its own, on a fresh database, for what is measured over HTTP.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rowmill::client::{Client, ClientLimits};
use tempfile::TempDir;

use crate::fresh_database;

/// `rowmill serve`; it ends with this.
pub(crate) struct Server {
    child: Child,
    /// Where it is.
    pub(crate) url: String,
    _home: TempDir,
}

impl Server {
    /// Starts one, and waits until it listens.
    pub(crate) async fn start() -> Self {
        let database = fresh_database().await;
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_rowmill"))
            .args(["serve", "--listen", "127.0.0.1:0", "--database-url", &database])
            .current_dir(&home)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("rowmill: listening on ").map(str::to_owned))
            .expect("the server ended before it listened");
        // What it says later is let through, so that it never waits for a reader.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| eprintln!("{line}"))
        });
        Self { child, url, _home: home }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url, ClientLimits::default()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes that a process has started and that live.
pub(crate) fn children(process: u32) -> Vec<u32> {
    let tasks = format!("/proc/{process}/task");
    let Ok(tasks) = std::fs::read_dir(Path::new(&tasks)) else { return vec![] };
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).ok();
    tasks
        .filter_map(Result::ok)
        .filter_map(of)
        .flat_map(|ids| ids.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect()
}
