//! `rowmill bench`: figures that can be, on both databases, and a database left as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Command;

use serde_json::Value;
use support::TestDatabase;

fn bench(arguments: &[&str], databases: &[&TestDatabase]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
    command.arg("bench").args(arguments).arg("--json").env_remove("ROWMILL_DATABASE_URL");
    for database in databases {
        command.args(["--database-url", database.url()]);
    }
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "", "something could not be taken back");
    serde_json::from_slice(&ran.stdout).unwrap()
}

async fn uploads(database: &TestDatabase) -> usize {
    let store = database.open(2).await;
    let found = store.control.uploads(None, 10).await.unwrap().len();
    store.close().await;
    found
}

#[tokio::test]
async fn the_engine_is_measured_and_its_messages_are_taken_back() {
    for database in [TestDatabase::sqlite(), TestDatabase::postgres().await] {
        // No round numbers: the last batch is smaller, and a block of ids is left half used.
        let arguments = ["queue", "--messages", "1234", "--batch", "7", "--payload", "100"];
        let figures = bench(&arguments, &[&database]);
        for rate in ["publish", "fetch", "settle", "fetch_and_settle"] {
            let rate = figures[format!("{rate}_per_second")].as_u64().unwrap();
            assert!(rate > 0, "{figures}");
        }
        assert_eq!(uploads(&database).await, 0);
    }
}

#[tokio::test]
async fn rows_together_are_measured_against_one_by_one() {
    let databases = [TestDatabase::sqlite(), TestDatabase::postgres().await];
    let home = tempfile::tempdir().unwrap();
    let chart = home.path().join("chart.svg");
    let arguments =
        ["--delay", "50ms", "--consume-delay", "50ms", "--svg", chart.to_str().unwrap()];
    let figures = bench(&arguments, &[&databases[0], &databases[1]]);
    let cases = figures["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let ideal = case["ideal_seconds"].as_f64().unwrap();
        for (at, database) in ["SQLite", "PostgreSQL"].into_iter().enumerate() {
            let measured = &case["measured"][at];
            assert_eq!(measured["database"], database);
            assert!(measured["seconds"].as_f64().unwrap() >= ideal, "faster than can be: {case}");
        }
        // The published figures are for other delays.
        assert_eq!(case["original_seconds"], Value::Null);
    }
    let svg = std::fs::read_to_string(chart).unwrap();
    assert!(svg.contains("rowmill on PostgreSQL"), "{svg}");
    for database in &databases {
        assert_eq!(uploads(database).await, 0);
    }
}
