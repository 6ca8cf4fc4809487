//! Real processes of rowmill: servers on ports of their own, and workers.

#![allow(dead_code, reason = "each test that uses this file uses a part of it")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A client of HTTP.
pub(crate) fn http() -> reqwest::Client {
    // Of several tests in a process, the first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// A process that ends with its test.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `rowmill` with these arguments.
    pub(crate) fn start(home: &Path, arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_rowmill"))
            .current_dir(home)
            .env("RUST_LOG", "warn")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Sends it a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(name).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success(), "kill {name}");
    }

    /// Kills it with -9 and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself, and answers its exit code.
    pub(crate) fn wait(&mut self, most: Duration) -> Option<i32> {
        let until = Instant::now() + most;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "it did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that can be killed and started again at the same address.
pub(crate) struct Server {
    process: Process,
    arguments: Vec<String>,
    home: std::path::PathBuf,
    pub(crate) url: String,
}

impl Server {
    /// Starts a server on a database, and waits until it answers.
    pub(crate) async fn start(home: &Path, database_url: &str, more: &[&str]) -> Self {
        // Free a moment ago; nobody else is told of it before the server has it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut arguments: Vec<String> =
            ["serve", "--listen", &address, "--database-url", database_url].map(Into::into).into();
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let process = begin(home, &arguments);
        let url = format!("http://{address}");
        let server = Self { process, arguments, home: home.to_owned(), url };
        server.ready().await;
        server
    }

    /// Waits until it answers that it is well.
    pub(crate) async fn ready(&self) {
        let health = format!("{}/health", self.url);
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = http().get(&health).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            assert!(Instant::now() < until, "the server does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills it with -9 and starts it again; does not wait until it answers.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = begin(&self.home, &self.arguments);
    }

    /// Sends it a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until it ends by itself, and answers its exit code.
    pub(crate) fn wait(&mut self, most: Duration) -> Option<i32> {
        self.process.wait(most)
    }
}

fn begin(home: &Path, arguments: &[String]) -> Process {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Process::start(home, &arguments)
}
