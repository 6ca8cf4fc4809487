//! The servers and workers: real processes, which end with this one.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rowmill::client::{Client, ClientLimits};

use crate::handler::Office;
use crate::nodes::Nodes;

/// Small batches, so that an ingestion has a middle.
const SETTINGS: &str = "[ingest]\nbatch_rows = 100\nproducers = 2\n";

/// A server, and how it is started.
struct Server {
    process: Process,
    arguments: Vec<String>,
    url: String,
}

/// The servers and workers.
pub(crate) struct Mill {
    home: PathBuf,
    servers: Vec<Server>,
    #[allow(dead_code, reason = "they end with it")]
    workers: Vec<Process>,
}

impl Mill {
    /// Two servers with one database and one spool; two workers on the database, and one at each
    /// server.
    pub(crate) async fn start(home: &Path, database: &str, nodes: &Nodes, office: &Office) -> Self {
        let broker = nodes.url();
        std::fs::write(home.join("rowmill.toml"), SETTINGS).unwrap();
        let mut mill = Self { home: home.to_owned(), servers: vec![], workers: vec![] };
        for number in 1..=2 {
            // Free a moment ago; nobody else is told of it before the server has it.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let at = format!("127.0.0.1:{port}");
            let arguments = [
                &["--config", "rowmill.toml", "serve", "--listen", &at, "--lease", "3s"][..],
                &["--spool", "spool", "--database-url", database, "--broker-url", &broker],
            ];
            let arguments: Vec<String> =
                arguments.concat().into_iter().map(str::to_owned).collect();
            let process = mill.process(&format!("server-{number}"), &arguments);
            let url = format!("http://{at}");
            mill.servers.push(Server { process, arguments, url });
            // One after another: the first makes the tables and the queues.
            mill.ready(number - 1).await;
        }
        let direct =
            ["--database-url".to_owned(), database.to_owned(), "--broker-url".to_owned(), broker];
        let over = |n: usize| ["--api-url".to_owned(), mill.servers[n].url.clone()];
        let places = [direct.to_vec(), direct.to_vec(), over(0).to_vec(), over(1).to_vec()];
        for (number, place) in (1..).zip(places) {
            let mut arguments: Vec<String> =
                ["work", "--concurrency", "20", "--batch-size", "20"].map(str::to_owned).into();
            arguments.extend(["--http".to_owned(), office.url()]);
            arguments.extend(place);
            let worker = mill.process(&format!("worker-{number}"), &arguments);
            mill.workers.push(worker);
        }
        mill
    }

    /// A client of a server.
    pub(crate) fn client(&self, server: usize) -> Client {
        Client::new(&self.servers[server].url, ClientLimits::default()).unwrap()
    }

    /// Kills a server with -9.
    pub(crate) fn kill_server(&mut self, server: usize) {
        self.servers[server].process.kill();
    }

    /// Starts a server again at its address, and waits until it answers.
    pub(crate) async fn start_server(&mut self, server: usize) {
        let arguments = self.servers[server].arguments.clone();
        self.servers[server].process = self.process(&format!("server-{}", server + 1), &arguments);
        self.ready(server).await;
    }

    async fn ready(&self, server: usize) {
        let client = self.client(server);
        crate::until("a server", async || client.health().await.ok()).await;
    }

    /// What it logs stays below target/ for whoever asks why a round failed.
    fn process(&self, name: &str, arguments: &[String]) -> Process {
        let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("three-nodes");
        std::fs::create_dir_all(&logs).unwrap();
        let log = logs.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_rowmill"))
            .current_dir(&self.home)
            .env("ROWMILL_LOG", "warn,rowmill=info,rowmill::broker=debug")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Process(child)
    }
}

struct Process(Child);

impl Process {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes a workbook.
pub(crate) fn sample(file: &Path, rows: u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
    let made = command.args(["sample", "--rows", &rows.to_string()]).arg(file).status().unwrap();
    assert!(made.success());
}
