//! A PostgreSQL of one test's own, which no other test misses when it is stopped or killed.

use std::path::PathBuf;
use std::process::Command;

/// The server; it is removed with this.
pub(crate) struct Cluster(PathBuf);

impl Cluster {
    /// Starts one, and answers its address too.
    pub(crate) fn start(name: &str) -> (Self, String) {
        let name = format!("{name}-{}", std::process::id());
        let cluster = Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name));
        let url = cluster.run("start");
        (cluster, url)
    }

    /// Has `tests/postgres` do something to it.
    pub(crate) fn run(&self, command: &str) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres");
        let output = Command::new(script).arg(command).arg(&self.0).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tests/postgres {command}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run("remove");
    }
}
