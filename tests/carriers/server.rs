//! Servers as their scripts start them: `tests/redis` and its like, all with the same commands.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// A server of one test's own; it is removed with this.
pub(crate) struct OwnServer {
    script: &'static str,
    home: PathBuf,
}

/// Runs `tests/SCRIPT COMMAND [HOME]`, and answers what it printed.
fn run(script: &str, command: &str, home: Option<&PathBuf>) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let output = Command::new(path).arg(command).args(home).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/{script} {command}: {error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The URL of the server that all tests share: the one named by `variable`, which `tests/run` sets,
/// or else the script's, started if it is not running.
pub(crate) fn shared(script: &'static str, variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| run(script, "start", None))
}

impl OwnServer {
    /// Starts one, and answers its URL too.
    pub(crate) fn start(script: &'static str) -> (Self, String) {
        let name = format!("{script}-{}", uuid::Uuid::new_v4().simple());
        let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let server = Self { script, home };
        let url = server.run("start");
        (server, url)
    }

    /// Has the script do something to it.
    pub(crate) fn run(&self, command: &str) -> String {
        run(self.script, command, Some(&self.home))
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.run("remove");
    }
}

/// The address in a URL such as `redis://user:password@127.0.0.1:6379/0`.
pub(crate) fn address_of(url: &str) -> SocketAddr {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = rest.split('/').next().unwrap_or(rest);
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    place.parse().unwrap_or_else(|_| panic!("no address in {url}"))
}

/// The same URL with another address in it.
pub(crate) fn url_at(url: &str, at: SocketAddr) -> String {
    url.replacen(&address_of(url).to_string(), &at.to_string(), 1)
}
