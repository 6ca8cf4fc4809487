//! The command line as a terminal and as a script meet it: colours, completions, answers as JSON.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

const ROWMILL: &str = env!("CARGO_BIN_EXE_rowmill");
const ESCAPE: u8 = 0x1b;

fn rowmill(arguments: &[&str], environment: &[(&str, &str)], within: &Path) -> Output {
    Command::new(ROWMILL)
        .args(arguments)
        .current_dir(within)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json_of(arguments: &[&str], within: &Path) -> Value {
    let output = rowmill(arguments, &[], within);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_goes_into_a_pipe_has_no_colours_unless_they_are_forced() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("orders.csv"), "id\n1\n\"2\n").unwrap();
    std::fs::write(home.path().join("good.csv"), "id\n1\n2\n").unwrap();
    let painted = |bytes: &[u8]| bytes.contains(&ESCAPE);

    let wrong = ["health", "--api-url", "http://127.0.0.1:1"];
    let plain = rowmill(&wrong, &[], home.path());
    assert!(said(&plain).starts_with("rowmill: "), "{}", said(&plain));
    let forced = rowmill(&wrong, &[("CLICOLOR_FORCE", "1")], home.path());
    assert!(said(&forced).starts_with("\x1b[31mrowmill:\x1b[0m "), "{}", said(&forced));
    let refused = [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
    let never = rowmill(&wrong, &refused[1..], home.path());
    assert!(!painted(&never.stderr));

    let run = ["run", "good.csv", "--sleep", "0ms"];
    let plain = rowmill(&run, &[], home.path());
    assert!(plain.status.success(), "{}", said(&plain));
    assert!(!painted(&plain.stdout) && !painted(&plain.stderr));
    let again = rowmill(
        &["run", "good.csv", "--sleep", "0ms", "--again"],
        &[("CLICOLOR_FORCE", "1")],
        home.path(),
    );
    assert!(again.status.success(), "{}", said(&again));
    let told = String::from_utf8(again.stdout).unwrap();
    assert!(told.contains("\x1b[32m2 done\x1b[0m"), "{told}");
}

/// bash itself reads the script, and asks it what begins with `rowmill mig`.
#[test]
fn bash_completes_commands_by_the_script() {
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("completions");
    let output = rowmill(&["completions", "bash"], &[], home.path());
    assert!(output.status.success(), "{}", said(&output));
    std::fs::write(&script, output.stdout).unwrap();
    let asked = r#"
        source "$1"
        COMP_WORDS=(rowmill mig) COMP_CWORD=1
        _rowmill rowmill mig rowmill
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let answer = Command::new("bash").args(["-c", asked, "bash"]).arg(&script).output().unwrap();
    assert!(answer.status.success(), "{}", said(&answer));
    assert_eq!(String::from_utf8(answer.stdout).unwrap(), "migrate\n");
}

#[test]
fn every_shell_has_its_script() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = rowmill(&["completions", shell], &[], home.path());
        assert!(output.status.success(), "{}", said(&output));
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("migrate") && script.contains("api-url"), "{shell}");
        // What runs in children of ours is nobody's command.
        assert!(!script.contains("Read one file"), "{shell}");
    }
}

#[test]
fn a_script_gets_json() {
    let home = tempfile::tempdir().unwrap();
    let within = home.path();
    let database = ["--database-url", "sqlite:keys.db"];
    let with = |words: &[&'static str]| [words, &database[..], &["--json"]].concat();

    let changes = json_of(&with(&["migrate"]), within);
    assert!(changes["changes"].as_u64().unwrap() > 0, "{changes}");
    assert_eq!(json_of(&with(&["migrate"]), within), json!({ "changes": 0 }));

    let key = |words: &[&'static str]| [&["key"][..], &database[..], words, &["--json"]].concat();
    let made = json_of(&key(&["add", "for a test", "--scope", "read,publish"]), within);
    assert!(made["key"].as_str().unwrap().len() > 20, "{made}");
    assert_eq!(made["scopes"], json!(["read", "publish"]));
    let number = made["number"].to_string();
    let listed = json_of(&key(&["list"]), within);
    assert_eq!(listed[0]["number"], made["number"]);
    assert_eq!(listed[0].get("key"), None);
    let revoked = rowmill(
        &["key", "--database-url", "sqlite:keys.db", "revoke", &number, "--json"],
        &[],
        within,
    );
    let revoked: Value = serde_json::from_slice(&revoked.stdout).unwrap();
    assert_eq!(revoked["number"], made["number"]);
    assert!(revoked["revoked_at"].is_string(), "{revoked}");

    let wrote = json_of(&["sample", "--rows", "3", "three.xlsx", "--json"], within);
    assert_eq!(wrote, json!({ "files": ["three.xlsx"] }));
    assert!(within.join("three.xlsx").is_file());

    let config = json_of(&["config", "--json"], within);
    assert_eq!(config["http"]["body_bytes"], json!("16M"));

    let away = rowmill(&["health", "--api-url", "http://127.0.0.1:1", "--json"], &[], within);
    assert_eq!(away.status.code(), Some(2));
    let away: Value = serde_json::from_slice(&away.stdout).unwrap();
    assert_eq!(away["healthy"], json!(false));
    assert!(!away["why"].as_str().unwrap().is_empty());
}
