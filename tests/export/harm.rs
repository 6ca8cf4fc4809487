//! `rowmill run` writes both workbooks beside its input, and what somebody wrote is text in them.

use serde_json::Value;
use tokio::process::Command;

use crate::book::read_one;

#[tokio::test]
async fn run_writes_both_beside_its_input_and_formulas_are_text() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    std::fs::write(at("in.csv"), "id,=name\n1,=1+1\n2,@x\n3,+a\n").unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
        command.arg("run").arg(at("in.csv")).args(["--json", "--retries", "0"]).args(arguments);
        let output = command.env_remove("DATABASE_URL").output().await.unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let script = "if test $0 = 2; then echo '=cmd' >&2; exit 1; fi; echo =HYPERLINK";
    let report = run(&["--exec", "sh", "-c", script, "{id}"]).await;
    assert_eq!(report["dead"], 1, "{report}");
    assert_eq!(report["workbook"], at("in.csv.results.xlsx").to_str().unwrap());
    let results = read_one(&at("in.csv.results.xlsx")).await;
    let cells = results.sheets.values().next().unwrap();
    assert!(cells.values().all(|cell| cell.0 != "f"), "{cells:?}");
    assert_eq!((&cells["B1"].1, &cells["B2"].1), (&Value::from("=name"), &Value::from("=1+1")));
    assert_eq!((&cells["C2"].1, &cells["C3"].1), (&Value::from("done"), &Value::from("dead")));
    let failures = read_one(&at("in.csv.failures.xlsx")).await;
    let cells = failures.sheets.values().next().unwrap();
    assert_eq!((&cells["A2"].1, &cells["D2"].1), (&Value::from(3.0), &Value::from("@x")));
    assert!(cells["B2"].1.as_str().unwrap().contains("=cmd"), "{cells:?}");
    // Nothing unfinished stays, and failures go when there are none.
    let report = run(&["--retry-dead", "--exec", "true"]).await;
    assert_eq!((&report["dead"], &report["failures"]), (&Value::from(0), &Value::Null));
    let names: Vec<_> = std::fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("export-") || name.contains("failures"))
        .collect();
    assert_eq!(names, Vec::<String>::new());
}
