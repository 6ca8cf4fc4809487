//! The README's commands do what it says: `tests/readme` runs them, with the binary of this build.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_commands_of_the_readme_work() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readme");
    let ran =
        Command::new(script).env("ROWMILL_BIN", env!("CARGO_BIN_EXE_rowmill")).output().unwrap();
    assert!(
        ran.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}
