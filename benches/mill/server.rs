//! A server in a process of its own, on a fresh database, for what is measured over HTTP.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rowmill::client::{Client, ClientLimits};
use tempfile::TempDir;

use crate::fresh_database;
use crate::ingest::peak_kilobytes;

/// `rowmill serve`; it ends with this.
pub(crate) struct Server {
    child: Child,
    /// Where it is.
    pub(crate) url: String,
    /// Its files, where they are nobody else's.
    home: Option<TempDir>,
}

impl Server {
    /// Starts one, and waits until it listens.
    pub(crate) async fn start() -> Self {
        let database = fresh_database().await;
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut server = Self::start_in(home.path(), &database);
        server.home = Some(home);
        server
    }

    /// Starts one on a database, which keeps its files in a directory, and waits until it listens.
    pub(crate) fn start_in(home: &Path, database: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rowmill"))
            .args(["serve", "--listen", "127.0.0.1:0", "--database-url", database])
            .current_dir(home)
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
        Self { child, url, home: None }
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

/// The memory of a process's children, looked at while they live: a peak only ever grows.
pub(crate) struct Peaks {
    over: Arc<AtomicBool>,
    looking: JoinHandle<u64>,
}

impl Peaks {
    /// Begins to look at the children of a process.
    pub(crate) fn of_children(process: u32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let looking = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut peaks = std::collections::HashMap::new();
                while !over.load(Ordering::Relaxed) {
                    for child in children(process) {
                        let now = peak_kilobytes(&child.to_string());
                        let peak = peaks.entry(child).or_insert(0);
                        *peak = now.max(*peak);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                peaks.values().sum::<u64>()
            }
        });
        Self { over, looking }
    }

    /// The kilobytes of all of them together, each at its peak.
    pub(crate) fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.looking.join().unwrap()
    }
}

/// The processes that a process has started and that live.
fn children(process: u32) -> Vec<u32> {
    let tasks = format!("/proc/{process}/task");
    let Ok(tasks) = std::fs::read_dir(Path::new(&tasks)) else { return vec![] };
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).ok();
    tasks
        .filter_map(Result::ok)
        .filter_map(of)
        .flat_map(|ids| ids.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect()
}
