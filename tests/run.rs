//! `rowmill run` as its first user meets it: done, retried, rejected, timed out, stopped, again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

struct Scene {
    home: tempfile::TempDir,
}

impl Scene {
    fn new(csv: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("in.csv"), csv).unwrap();
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn script(&self, body: &str) {
        let path = self.path("handler");
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, file: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
        command
            .current_dir(self.home.path())
            .args(["run", file, "--json", "--retry-delay", "1ms"])
            .args(more)
            .env_remove("DATABASE_URL");
        command
    }

    /// Runs to the end; the exit code and the report.
    fn run(&self, more: &[&str]) -> (i32, Value) {
        let output = self.command("in.csv", more).output().unwrap();
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), report)
    }

    fn results(&self) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_path(self.path("in.csv.results.csv"))
            .unwrap();
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until a file has so many lines.
    fn wait_for_lines(&self, name: &str, n: usize) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.lines(name).len() < n {
            assert!(Instant::now() < until, "{name} never had {n} lines");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn each_row_ends_as_its_handler_said() {
    let scene = Scene::new("id,how\n1,fine\n2,reject\n3,fail\n4,late\n5,twice\n");
    scene.script(
        "echo \"$1 $ROWMILL_ATTEMPT\" >> log
         case $2 in
           fine) echo \"hello $1\" ;;
           reject) echo 'no such customer' >&2; exit 65 ;;
           fail) echo 'try later' >&2; exit 7 ;;
           late) sleep 60 ;;
           twice) [ \"$ROWMILL_ATTEMPT\" = 2 ] || exit 1 ;;
         esac",
    );
    let (code, report) =
        scene.run(&["--retries", "1", "--timeout", "1s", "--exec", "./handler", "{id}", "{how}"]);
    assert_eq!(code, 1, "{report}");
    assert_eq!((&report["done"], &report["dead"]), (&json!(2), &json!(3)), "{report}");

    let results = scene.results();
    assert_eq!(results[0], ["row", "id", "how", "status", "output", "error", "attempts"]);
    let ends: Vec<_> =
        results[1..].iter().map(|row| (&row[3][..], &row[4][..], &row[6][..])).collect();
    assert_eq!(
        ends,
        [
            ("done", "hello 1", "1"),
            ("dead", "", "1"),
            ("dead", "", "2"),
            ("dead", "", "2"),
            ("done", "", "2")
        ]
    );
    assert!(results[2][5].contains("no such customer"), "{:?}", results[2]);
    assert!(results[3][5].contains("try later") && results[3][5].contains('7'), "{:?}", results[3]);
    assert!(results[4][5].contains("timed out"), "{:?}", results[4]);
    let mut log = scene.lines("log");
    log.sort();
    assert_eq!(log, ["1 1", "2 1", "3 1", "3 2", "4 1", "4 2", "5 1", "5 2"]);
}

#[test]
fn an_ended_run_runs_again_only_when_told() {
    let scene = Scene::new("id\n1\n2\n3\n");
    scene.script("echo $1 >> log; [ $1 != 2 ] || [ -e mended ]");
    let exec = ["--retries", "0", "--exec", "./handler", "{id}"];
    assert_eq!(scene.run(&exec).0, 1);
    assert_eq!(scene.lines("log").len(), 3);

    // As it is: it says so, and runs nothing.
    let (code, report) = scene.run(&exec);
    assert_eq!((code, &report["status"]), (1, &json!("already_ended")));
    assert_eq!(scene.lines("log").len(), 3);

    // Only what is dead.
    fs::write(scene.path("mended"), "").unwrap();
    let (code, report) = scene.run(&[&["--retry-dead"], &exec[..]].concat());
    assert_eq!((code, &report["done"]), (0, &json!(3)), "{report}");
    assert_eq!(scene.lines("log")[3..], ["2"]);
    assert_eq!(scene.results()[2][2], "done");

    // All of it.
    let (code, report) = scene.run(&[&["--again"], &exec[..]].concat());
    assert_eq!((code, &report["done"]), (0, &json!(3)));
    assert_eq!(scene.lines("log").len(), 7);

    // Results that were deleted come back without running anything.
    fs::remove_file(scene.path("in.csv.results.csv")).unwrap();
    assert_eq!(scene.run(&exec).0, 0);
    assert_eq!(scene.results().len(), 4);
    assert_eq!(scene.lines("log").len(), 7);
}

#[test]
fn ctrl_c_lets_what_runs_finish_and_the_next_run_goes_on() {
    let csv: String = (1..=40).map(|n| format!("{n}\n")).collect();
    let scene = Scene::new(&format!("id\n{csv}"));
    scene.script("echo $1 >> begun; sleep 0.3; echo $1 >> ended");
    let exec = ["--concurrency", "4", "--exec", "./handler", "{id}"];
    let child = scene.command("in.csv", &exec).stdout(Stdio::piped()).spawn().unwrap();
    scene.wait_for_lines("begun", 5);
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(130), "{report}");
    assert_eq!(report["status"], "stopped");
    let ended = scene.lines("ended").len();
    assert_eq!(scene.lines("begun").len(), ended, "what ran was not let finish");
    assert_eq!(report["done"], json!(ended), "what finished was not recorded");
    assert!(!scene.path("in.csv.results.csv").exists());

    let (code, report) = scene.run(&exec);
    assert_eq!((code, &report["done"]), (0, &json!(40)));
    let mut all: Vec<u32> = scene.lines("begun").iter().map(|line| line.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=40).collect::<Vec<_>>(), "a row ran twice, or never");
}

#[test]
fn a_second_ctrl_c_ends_it_at_once_and_hands_everything_back() {
    let scene = Scene::new("id\n1\n2\n");
    scene.script("echo $1 >> begun; [ -e quick ] || sleep 60");
    let exec = ["--retries", "0", "--exec", "./handler", "{id}"];
    let child = scene.command("in.csv", &exec).stdout(Stdio::piped()).spawn().unwrap();
    scene.wait_for_lines("begun", 2);
    let begun = Instant::now();
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(100));
    signal(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(15), "it waited for its handlers");
    // Nothing was held against them, although no retry is allowed.
    fs::write(scene.path("quick"), "").unwrap();
    let (code, report) = scene.run(&exec);
    assert_eq!((code, &report["done"]), (0, &json!(2)), "{report}");
}

#[test]
fn ctrl_c_while_the_file_is_read_is_no_fault_of_the_file() {
    let csv: String = (1..=150_000).map(|n| format!("{n},some text to read\n")).collect();
    let scene = Scene::new(&format!("id,text\n{csv}"));
    let mut command = scene.command("in.csv", &["--concurrency", "1000", "--sleep", "0s"]);
    // A terminal sends Ctrl-C to the whole group: to the reader, too, were it in it.
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let written = || fs::metadata(scene.path("in.csv.rowmill.db-wal")).map_or(0, |file| file.len());
    let until = Instant::now() + Duration::from_secs(30);
    while written() < 500_000 {
        assert!(Instant::now() < until, "nothing was published");
        std::thread::sleep(Duration::from_millis(2));
    }
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{error}");
    // The next run reads on: what was committed is not published twice.
    let (code, report) =
        scene.run(&["--concurrency", "1000", "--batch-size", "1000", "--sleep", "0s"]);
    assert_eq!((code, &report["done"]), (0, &json!(150_000)), "{report}");
    assert_eq!(scene.results().len(), 150_001);
}

#[test]
fn two_at_once_on_one_file_are_refused() {
    let scene = Scene::new("id\n1\n");
    scene.script("echo $1 >> begun; while [ ! -e go ]; do sleep 0.02; done");
    let exec = ["--exec", "./handler", "{id}"];
    let first = scene.command("in.csv", &exec).stdout(Stdio::piped()).spawn().unwrap();
    scene.wait_for_lines("begun", 1);
    let second = scene.command("in.csv", &exec).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another"));
    fs::write(scene.path("go"), "").unwrap();
    assert!(first.wait_with_output().unwrap().status.success());
    assert_eq!(scene.lines("begun").len(), 1);
}

#[test]
fn the_message_is_json_on_stdin() {
    let scene = Scene::new("id,name\n007,Ünal\n8,\n");
    scene.script("cat > message-$ROWMILL_ROW");
    assert_eq!(scene.run(&["--exec", "./handler"]).0, 0);
    let message = |row: u32| -> Value {
        serde_json::from_slice(&fs::read(scene.path(&format!("message-{row}"))).unwrap()).unwrap()
    };
    let first = message(2);
    assert_eq!(first["data"], json!({"id": "007", "name": "Ünal"}));
    assert_eq!((&first["row"], &first["attempt"]), (&json!(2), &json!(1)));
    assert_eq!(first["filename"], "in.csv");
    assert_eq!(message(3)["data"], json!({"id": "8", "name": null}));
    assert_ne!(first["id"], message(3)["id"]);
}

#[test]
fn every_option_can_come_from_the_environment() {
    let scene = Scene::new("id\n1\n2\n");
    let output = Command::new(env!("CARGO_BIN_EXE_rowmill"))
        .current_dir(scene.home.path())
        .arg("run")
        .env_remove("DATABASE_URL")
        .env("ROWMILL_FILE", "in.csv")
        .env("ROWMILL_EXEC", r#"["echo","got {id}"]"#)
        .env("ROWMILL_JSON", "true")
        .env("ROWMILL_CONCURRENCY", "2")
        .env("ROWMILL_RESULTS", "out.csv")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results = fs::read_to_string(scene.path("out.csv")).unwrap();
    assert!(results.contains("got 1") && results.contains("got 2"), "{results}");
}

#[test]
fn a_sample_workbook_goes_through_all_sheets_and_formats_alike() {
    let scene = Scene::new("");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("resources/sample-21-items.xlsx");
    fs::copy(sample, scene.path("items.xlsx")).unwrap();
    let output =
        scene.command("items.xlsx", &["--sheet", "all", "--sleep", "1ms"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["done"]), (Some(0), &json!(21)), "{report}");
    let results = fs::read_to_string(scene.path("items.xlsx.results.csv")).unwrap();
    assert_eq!(results.lines().count(), 22);
}

#[test]
fn dates_in_text_become_dates_in_the_order_that_their_column_gives_away() {
    let told = |csv: &str, order: &str| {
        let scene = Scene::new(csv);
        let (code, report) = scene.run(&["--dates", order, "--exec", "echo", "{day}"]);
        let results = if code == 0 { scene.results() } else { vec![] };
        let days: Vec<String> = results.into_iter().skip(1).map(|mut row| row.remove(2)).collect();
        (code, report, days)
    };
    let (code, report, days) = told("id,day\n1,03/04/2026\n2,31/12/2026\n", "auto");
    assert_eq!((code, &days[..]), (0, &["2026-04-03".into(), "2026-12-31".into()][..]), "{report}");
    let (_, _, days) = told("id,day\n1,03/04/2026\n", "mdy");
    assert_eq!(days, ["2026-03-04"]);
    let (code, report, _) = told("id,day\n1,03/04/2026\n", "auto");
    assert_eq!(code, 2, "{report}");
    assert!(report["error"].as_str().unwrap().contains("`day`"), "{report}");
}
