//! `rowmill run` is killed by `kill -9`, many times at random moments, and goes on each time: in
//! the end every row has exactly one outcome, and no row whose outcome was recorded before a kill
//! ran again after it.
//!
//! The witness is a file outside: the handler appends the number of its row there. What was
//! recorded is read from the database after each kill.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rowmill::store::log::{OutcomeKind, PageAfter, QueueId, RowOutcome, UploadId};
use rowmill::store::{Store, StoreOptions};
use support::TestDatabase;

/// One run's files.
struct Scene {
    home: tempfile::TempDir,
    url: String,
}

impl Scene {
    fn new(url: impl FnOnce(&Path) -> String, rows: u32) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut csv = String::from("number,data\n");
        for n in 1..=rows {
            csv.push_str(&format!("{n},item {n}\n"));
        }
        fs::write(home.path().join("rows.csv"), csv).unwrap();
        let handler = home.path().join("handler");
        // One write of a short line at the end of a file is not torn apart.
        fs::write(&handler, "#!/bin/sh\necho \"$1\" >> \"$2\"\n").unwrap();
        fs::set_permissions(&handler, fs::Permissions::from_mode(0o755)).unwrap();
        let url = url(home.path());
        Self { home, url }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn start(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_rowmill"))
            .current_dir(self.home.path())
            .args(["run", "rows.csv", "--json", "--concurrency", "8", "--retry-delay", "10ms"])
            .args(["--database-url", &self.url])
            .args(["--exec", "./handler", "{number}", "witness"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The numbers that the handler was run for, in order.
    fn witness(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.path("witness")).unwrap_or_default();
        text.lines().map(|line| line.parse().expect("a line of the witness is torn")).collect()
    }

    /// What is recorded now.
    async fn recorded(&self) -> Vec<RowOutcome> {
        let store = Store::open(&self.url, &StoreOptions::default()).await.unwrap();
        let rows = recorded(&store).await;
        store.close().await;
        rows
    }
}

async fn recorded(store: &Store) -> Vec<RowOutcome> {
    let sql = "select u.id, q.id from upload u \
               join queue q on q.name = 'run-' || u.public_id";
    let ids: Option<(i64, i32)> = match (store.postgres_pool(), store.sqlite_pool()) {
        (Some(pool), _) => sqlx::query_as(sql).fetch_optional(pool).await.unwrap_or(None),
        (_, Some(pool)) => sqlx::query_as(sql).fetch_optional(pool).await.unwrap_or(None),
        _ => unreachable!(),
    };
    let Some((upload, queue)) = ids else { return vec![] };
    let mut rows = vec![];
    let mut after = Some(PageAfter::default());
    while let Some(page) = after {
        let (more, next) =
            store.log.rows(UploadId(upload), QueueId(queue), page, 100).await.unwrap();
        rows.extend(more);
        after = next;
    }
    rows
}

async fn survives(scene: &Scene, rows: u32, kills: usize) {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    // For each kill: how long the witness was, and whose outcomes were recorded.
    let mut before: Vec<(usize, HashSet<u32>)> = vec![];
    // On a slow machine the first kills may all come before the first outcome: then a few more.
    while before.len() < kills || before.last().is_some_and(|(_, ended)| ended.is_empty()) {
        assert!(before.len() < 4 * kills, "no kill came after an outcome: no proof");
        let mut child = scene.start();
        tokio::time::sleep(Duration::from_millis(random.u64(20..1_500))).await;
        if child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().unwrap();
            panic!("it ended before it could be killed: {output:?}, {} ran", scene.witness().len());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let ended = scene.recorded().await;
        let ended = ended.iter().filter(|row| row.ended.is_some()).map(|row| row.row.0 - 1);
        let ended: HashSet<u32> = ended.collect();
        before.push((scene.witness().len(), ended));
    }
    let recorded_at_kills: Vec<usize> = before.iter().map(|(_, ended)| ended.len()).collect();
    eprintln!("recorded at the kills: {recorded_at_kills:?}");
    assert!(recorded_at_kills.windows(2).all(|pair| pair[0] <= pair[1]), "an outcome was lost");

    let output = scene.start().wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!((&report["done"], &report["dead"]), (&rows.into(), &0.into()), "{report}");

    let outcomes = scene.recorded().await;
    let expected: Vec<u32> = (2..=rows + 1).collect();
    let numbers: Vec<u32> = outcomes.iter().map(|row| row.row.0).collect();
    assert_eq!(numbers, expected, "not every row exactly once, in order");
    for row in &outcomes {
        let kind = row.ended.as_ref().map(|ended| ended.kind);
        assert_eq!(kind, Some(OutcomeKind::Done), "row {}", row.row);
    }

    let witness = scene.witness();
    let mut runs: HashMap<u32, usize> = HashMap::new();
    witness.iter().for_each(|number| *runs.entry(*number).or_default() += 1);
    assert_eq!(runs.len(), rows as usize, "a row never ran");
    for (kill, (length, ended)) in before.iter().enumerate() {
        let again: Vec<_> = witness[*length..].iter().filter(|row| ended.contains(row)).collect();
        assert!(
            again.is_empty(),
            "after kill {kill}, rows ran again that were recorded: {again:?}"
        );
    }
    eprintln!("{} rows ran {} times in all", rows, witness.len());

    let output = scene.start().wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["status"], "already_ended");
    assert_eq!(scene.witness().len(), witness.len(), "an ended run ran again");
}

#[tokio::test]
async fn twenty_kills_of_twenty_thousand_rows_on_sqlite() {
    let url = |home: &Path| format!("sqlite:{}", home.join("rows.csv.rowmill.db").display());
    survives(&Scene::new(url, 20_000), 20_000, 20).await;
}

#[tokio::test]
async fn five_kills_of_five_thousand_rows_on_postgres() {
    let database = TestDatabase::postgres().await;
    survives(&Scene::new(|_| database.url().to_owned(), 5_000), 5_000, 5).await;
}

/// A database that is being made is killed too, again and again, and the next start makes the rest.
#[test]
fn a_database_whose_making_is_killed_is_made_by_the_next() {
    let home = tempfile::tempdir().unwrap();
    let migrate = |file: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
        command.current_dir(home.path()).args(["migrate", "--json"]);
        command.args(["--database-url", &format!("sqlite:{file}")]).stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut halves = 0;
    for step in 0..60 {
        let file = format!("{step}.db");
        let mut child = migrate(&file);
        std::thread::sleep(Duration::from_millis(step));
        child.kill().unwrap();
        child.wait().unwrap();
        let there = home.path().join(&file).exists();
        let next = migrate(&file).wait_with_output().unwrap();
        assert!(next.status.success(), "killed after {step} ms: {next:?}");
        let said: serde_json::Value = serde_json::from_slice(&next.stdout).unwrap();
        halves += u32::from(there && said["changes"].as_u64().unwrap() > 0);
    }
    assert!(halves > 0, "no kill came between the first change and the last: no proof");
}
