//! The configuration: what wins over what, what is refused and how, and that the commented file is
//! complete.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rowmill::config::{Config, load, print};
use serde_json::Value;

const DEFAULT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/resources/default.toml");

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn variables(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// The settings of a tree, by their names.
fn names(tree: &Value, within: &str, to: &mut Vec<(String, Value)>) {
    for (key, value) in tree.as_object().unwrap() {
        let name = format!("{within}{key}");
        match value {
            Value::Object(_) => names(value, &format!("{name}."), to),
            _ => to.push((name, value.clone())),
        }
    }
}

#[test]
fn the_commented_file_has_every_setting_with_its_default() {
    let text = std::fs::read_to_string(DEFAULT).unwrap();
    let parsed = config::Config::builder()
        .add_source(config::File::from_str(&text, config::FileFormat::Toml))
        .build()
        .unwrap();
    let (mut there, mut wanted) = (vec![], vec![]);
    names(&parsed.try_deserialize().unwrap(), "", &mut there);
    names(&serde_json::to_value(Config::default()).unwrap(), "", &mut wanted);
    let lacking: Vec<String> = wanted
        .iter()
        .filter(|(name, _)| !there.iter().any(|(other, _)| other == name))
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    assert!(lacking.is_empty(), "resources/default.toml lacks:\n{}", lacking.join("\n"));
    // That it has none too many is what loading refuses.
    let loaded = load(Some(Path::new(DEFAULT)), []).unwrap();
    let (loaded, wanted) = (print(&loaded).unwrap(), print(&Config::default()).unwrap());
    let differing: Vec<_> = loaded.lines().zip(wanted.lines()).filter(|(a, b)| a != b).collect();
    assert!(differing.is_empty(), "the file's value, and the default: {differing:?}");
    assert_eq!(loaded, wanted);
}

#[test]
fn the_environment_wins_over_the_file_and_that_over_the_defaults() {
    let file = file("[http]\nbody_bytes = '1M'\nfiles = 7\n[ingest.outage]\nmost = '9s'\n");
    let environment = variables(&[
        ("ROWMILL__HTTP__FILES", "8"),
        ("ROWMILL__WORKER__RATE", "2.5"),
        ("ROWMILL__WORKER__TIMEOUT", "none"),
        ("ROWMILL__READ__MEMORY_BYTES", "123456789"),
        // Those of single options are not the configuration's.
        ("ROWMILL_CONNECTIONS", "many"),
        ("UNRELATED__HTTP__FILES", "9"),
    ]);
    let config = load(Some(file.path()), environment).unwrap();
    assert_eq!(config.http.files, 8);
    assert_eq!(config.http.body_bytes, 1 << 20);
    assert_eq!(config.http.page, 1_000);
    // The rest of a table that is set in part stays as it was.
    assert_eq!(config.ingest.outage.most, Duration::from_secs(9));
    assert_eq!(config.ingest.outage.first, Duration::from_millis(50));
    assert_eq!(config.worker.rate, Some("2.5".parse().unwrap()));
    assert_eq!(config.worker.timeout, None);
    assert_eq!(config.worker.concurrency, 50);
    assert_eq!(config.read.memory_bytes, 123_456_789);
}

#[test]
fn what_was_printed_can_be_loaded() {
    let config = load(None, variables(&[("ROWMILL__STORE__CONNECTIONS", "33")])).unwrap();
    let printed = print(&config).unwrap();
    assert!(printed.contains("[store]\nconnections = 33\n"), "{printed}");
    let again = load(Some(file(&printed).path()), []).unwrap();
    assert_eq!(print(&again).unwrap(), printed);
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_name_and_the_files() {
    for (text, says) in [
        ("[http]\nboddy_bytes = 1\n", &["no setting `http.boddy_bytes`", "body_bytes"][..]),
        ("[httpd]\nfiles = 1\n", &["no setting `httpd`", "http"]),
        ("[http.observe]\nqueue = 1\n", &["no setting `http.observe.queue`"]),
        ("[http]\nreceive_wait = 'soon'\n", &["`http.receive_wait` cannot be \"soon\"", "30s"]),
        ("[http]\nreceive_wait = 30\n", &["`http.receive_wait` cannot be 30", "unit"]),
        ("[http]\nbody_bytes = '16 megs'\n", &["`http.body_bytes`", "16 megs"]),
        ("[http]\nbody_bytes = -1\n", &["`http.body_bytes` cannot be -1"]),
        ("[http]\nfiles = 1.5\n", &["`http.files` cannot be 1.5", "whole number"]),
        ("[http]\nfiles = true\n", &["`http.files` cannot be true"]),
        ("[http]\nfiles = 'many'\n", &["`http.files` cannot be \"many\""]),
        ("http = 5\n", &["`http` cannot be 5", "section"]),
        ("[worker]\nrate = 0\n", &["`worker.rate` cannot be 0", "not a rate"]),
        ("[worker]\noutage = '1s'\n", &["`worker.outage`", "section"]),
        ("[redis]\ncapacity = 0\n", &["`redis.capacity` cannot be 0", "1 at least"]),
        ("[redis]\ncapacity = 'many'\n", &["`redis.capacity`", "none"]),
        ("[http\n", &["not TOML", "line 1"]),
    ] {
        let file = file(text);
        let error = load(Some(file.path()), []).unwrap_err().to_string();
        for part in says.iter().copied().chain([file.path().to_str().unwrap()]) {
            assert!(error.contains(part), "{text:?}: {part:?} is not in: {error}");
        }
    }
}

#[test]
fn what_is_wrong_in_the_environment_is_told_too() {
    for (name, value, says) in [
        ("ROWMILL__HTTP__BODDY", "1", "the environment: there is no setting `http.boddy`"),
        ("ROWMILL__HTTP__FILES", "many", "the environment: `http.files` cannot be \"many\""),
        ("ROWMILL__INTAKE__LEASE", "15", "the environment: `intake.lease` cannot be \"15\""),
        ("ROWMILL__INTAKE__LEASE", "1ms", "`intake.lease` cannot be 1ms: it must be 1s at least"),
        ("ROWMILL__HTTP__PAGE", "0", "`http.page` cannot be 0: it must be 1 at least"),
        ("ROWMILL__SQS__MESSAGE_BYTES", "2M", "`sqs.message_bytes` cannot be 2097152: SQS takes"),
        (
            "ROWMILL__RABBITMQ__HEARTBEAT",
            "1ms",
            "`rabbitmq.heartbeat` cannot be 1ms: it must be 1s",
        ),
        ("ROWMILL__INGEST__BATCH_ROWS", "1001", "`ingest.batch_rows` cannot be 1001"),
    ] {
        let error = load(None, variables(&[(name, value)])).unwrap_err().to_string();
        assert!(error.contains(says), "{name}={value}: {error}");
    }
}

fn rowmill(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
    let home = tempfile::tempdir().unwrap();
    command.current_dir(home.path()).args(arguments).envs(variables.iter().copied());
    command.output().unwrap()
}

/// Every build has the drivers' settings, whichever drivers it has.
#[test]
fn drivers_are_told_what_was_set() {
    let file = file("[redis]\ncapacity = 7\nfull_wait = '0s'\n[sqs.backoff]\nmost = '9s'\n");
    let environment = variables(&[
        ("ROWMILL__RABBITMQ__TAKES", "9"),
        ("ROWMILL__REDIS__PREFIX", "mill:"),
        ("ROWMILL__SQS__MESSAGE_BYTES", "256K"),
    ]);
    let carrying = load(Some(file.path()), environment).unwrap().carrying(None);
    let drivers = carrying.drivers;
    assert_eq!((drivers.redis.capacity, drivers.redis.full_wait), (Some(7), Duration::ZERO));
    assert_eq!((drivers.redis.prefix.as_str(), drivers.rabbitmq.takes), ("mill:", 9));
    assert_eq!(drivers.sqs.message_bytes, 256 << 10);
    assert_eq!(drivers.sqs.backoff.most, Duration::from_secs(9));
    let none = variables(&[("ROWMILL__REDIS__CAPACITY", "none")]);
    assert_eq!(load(Some(file.path()), none).unwrap().redis.capacity, None);
    let some = variables(&[("ROWMILL__REDIS__CAPACITY", "1000")]);
    assert_eq!(load(None, some).unwrap().redis.capacity, Some(1_000));
}

/// A server says where it cannot listen: so it is seen which of four places it was told by.
#[test]
fn the_command_line_wins_over_everything() {
    let file = file("[server]\nlisten = 'by-file'\n");
    let path = file.path().to_str().unwrap();
    let by_config = ("ROWMILL__SERVER__LISTEN", "by-section");
    let by_option = ("ROWMILL_LISTEN", "by-option");
    let wins = |variables: &[(&str, &str)], more: &[&str]| {
        let arguments = [&["--config", path, "serve"], more].concat();
        let output = rowmill(variables, &arguments);
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        error.split("cannot listen on ").nth(1).unwrap().split(':').next().unwrap().to_owned()
    };
    assert_eq!(wins(&[], &[]), "by-file");
    assert_eq!(wins(&[by_config], &[]), "by-section");
    assert_eq!(wins(&[by_config, by_option], &[]), "by-option");
    assert_eq!(wins(&[by_config, by_option], &["--listen", "by-line"]), "by-line");
}

#[test]
fn the_effective_configuration_is_printed() {
    let file = file("[run]\nretries = 9\n");
    let variables =
        [("ROWMILL_CONFIG", file.path().to_str().unwrap()), ("ROWMILL__RUN__RETRY_DELAY", "3s")];
    let output = rowmill(&variables, &["config"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(printed.contains("retries = 9\nretry_delay = \"3s\"\n"), "{printed}");
}

/// Refused before anything is done, by every command that has limits.
#[test]
fn commands_refuse_a_configuration_that_is_none() {
    let missing = PathBuf::from("/nowhere/rowmill.toml");
    for command in [
        &["serve"][..],
        &["work", "--sleep", "1s"],
        &["run", "rows.csv", "--sleep", "1s"],
        &["config"],
    ] {
        let arguments = [command, &["--config", missing.to_str().unwrap()]].concat();
        let output = rowmill(&[], &arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?}: {error}");
        assert!(error.contains("cannot read the configuration /nowhere/rowmill.toml"), "{error}");
    }
}
