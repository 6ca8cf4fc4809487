//! Rows through the rules, from a file to a sink.

use serde_json::{from_value, json};

use super::*;
use crate::limits::ReadLimits;
use crate::options::ReadOptions;
use crate::rows::tests::Kept;
use crate::sink::{Stop, Totals};
use rowmill_domain::{FindingKind, Problem, ProblemKind};

fn read(text: &str, options: &ReadOptions) -> (Kept, Result<Totals, Stop>) {
    read_within(text, options, &ReadLimits::default())
}

fn read_within(
    text: &str,
    options: &ReadOptions,
    limits: &ReadLimits,
) -> (Kept, Result<Totals, Stop>) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a.csv");
    std::fs::write(&path, text).unwrap();
    let mut kept = Kept::default();
    let read = crate::read(&path, options, limits, &mut kept);
    (kept, read)
}

fn by(rules: serde_json::Value) -> ReadOptions {
    ReadOptions { rules: Some(Box::new(from_value(rules).unwrap())), ..ReadOptions::default() }
}

fn told(kept: &Kept) -> Vec<String> {
    kept.findings.iter().map(ToString::to_string).collect()
}

fn rows(kept: &Kept) -> Vec<(u32, &str)> {
    kept.rows.iter().map(|(row, json)| (*row, json.as_str())).collect()
}

fn problem(read: Result<Totals, Stop>) -> Problem {
    match read {
        Err(Stop::Problem(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn columns_are_renamed_picked_and_typed() {
    let options = by(json!({
        "columns": [
            {"column": "No", "name": "id", "required": true, "type": "integer"},
            {"column": "Sum", "name": "amount", "type": "number"},
            {"column": "Note", "type": "text"},
            {"column": "Absent"},
        ],
        "others": "drop",
    }));
    let (kept, read) = read("No,x,Sum,Note\n7,a,2.50,007\n8,b,,\n9,c,1,,beyond\n", &options);
    assert_eq!(
        rows(&kept),
        [
            (2, r#"{"id":7,"amount":2.50,"Note":"007"}"#),
            (3, r#"{"id":8,"amount":null,"Note":null}"#),
            (4, r#"{"id":9,"amount":1,"Note":null}"#),
        ]
    );
    assert_eq!(read.unwrap().rows, 3);
    assert_eq!(kept.heads[0].columns, ["No", "x", "Sum", "Note"], "the head is the file's");
}

#[test]
fn a_row_is_rejected_with_every_problem_and_its_cell() {
    let options = by(json!({
        "columns": [
            {"column": "id", "required": true, "type": "integer"},
            {"column": "Sum", "name": "amount", "type": "number"},
        ],
        "schema": {
            "properties": {"amount": {"minimum": 0}, "code": {"pattern": "^[A-Z]{2}$"}},
            "required": ["amount", "code"],
        },
    }));
    let text = "id,Sum,code\n1,2,DE\n,\"1,5\",de\n2,-1,\n 3 ,0,FR\n";
    let (kept, read) = read(text, &options);
    assert_eq!(
        rows(&kept),
        [(2, r#"{"id":1,"amount":2,"code":"DE"}"#), (5, r#"{"id":3,"amount":0,"code":"FR"}"#),]
    );
    let told = told(&kept);
    let begins = ["A3: the column is required", "B3: `1,5` is no number", "C3: `code`: "];
    for (told, begin) in told.iter().zip(begins) {
        assert!(told.starts_with(begin), "{told}");
    }
    assert!(told[3].starts_with("B4: `amount`: -1 is less than"), "{told:?}");
    assert!(told[4].starts_with("C4: `code`: the schema requires it"), "{told:?}");
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(kept.findings.iter().all(|finding| finding.kind == FindingKind::Rejected));
    let totals = read.unwrap();
    assert_eq!((totals.rows, totals.rejected_rows), (2, 2));
}

#[test]
fn an_empty_cell_is_to_the_schema_no_key() {
    let schema = json!({"schema": {"properties": {"b": {"type": "string"}}, "required": ["a"]}});
    let (kept, _) = read("a,b\nx,\n,y\n", &by(schema));
    assert_eq!(rows(&kept), [(2, r#"{"a":"x","b":null}"#)]);
    assert_eq!(told(&kept), ["A3: `a`: the schema requires it, and there is nothing"]);
}

#[test]
fn columns_that_must_be_there_are_looked_for_in_the_header() {
    let required = |name: &str| json!({"column": name, "required": true});
    let options = by(json!({"columns": [required("a"), required("id"), required("sum")]}));
    let refused = problem(read("a,b\n1,2\n", &options).1);
    assert_eq!((refused.kind, refused.at.to_string().as_str()), (ProblemKind::BadHeader, "1:1"));
    assert!(refused.detail.contains("the columns `id`, `sum`"), "{refused}");
    let refused = problem(
        read("a,b,c\n1,2\n", &by(json!({"columns": [{"column": "a"}], "others": "refuse"}))).1,
    );
    assert!(refused.detail.contains("the columns `b`, `c`"), "{refused}");
    let twice = by(json!({"columns": [{"column": "a", "name": "b"}]}));
    assert!(problem(read("a,b\n1,2\n", &twice).1).detail.contains("both be `b`"));
}

#[test]
fn what_stands_beyond_the_header_has_an_address_too() {
    let schema = json!({"properties": {"a": {}}, "additionalProperties": false});
    let (kept, _) = read("a\n1,2\n3\n", &by(json!({"schema": schema})));
    assert_eq!(rows(&kept), [(3, r#"{"a":"3"}"#)]);
    assert_eq!(told(&kept)[1], "B2: `B`: the schema knows no such key");
    let refuse = by(json!({"columns": [{"column": "a"}], "others": "refuse"}));
    let (kept, _) = read("a\n1,2\n3\n", &refuse);
    assert_eq!((kept.rows.len(), kept.findings[1].at.to_string().as_str()), (1, "B2"));
    let clash = by(json!({"columns": [{"column": "a", "name": "B"}]}));
    let (kept, _) = read("a\n1,2\n3\n", &clash);
    assert_eq!((kept.rows.len(), kept.findings[1].at.to_string().as_str()), (1, "B2"));
}

#[test]
fn text_dates_become_dates_or_problems() {
    let options = ReadOptions { dates: TextDates::Dmy, ..ReadOptions::default() };
    let (kept, _) = read("a,b\n03/04/2026,x\n04/13/2026,31/12/2026 10:30\nlater,\n", &options);
    assert_eq!(
        rows(&kept),
        [(2, r#"{"a":"2026-04-03","b":"x"}"#), (4, r#"{"a":"later","b":null}"#),]
    );
    assert_eq!(told(&kept), ["A3: `04/13/2026` is no date with the day first"]);
    // A date, and then what its column's type makes of it.
    let typed = by(json!({"columns": [{"column": "a", "type": "date"}], "others": "drop"}));
    let typed = ReadOptions { dates: TextDates::Mdy, ..typed };
    let (kept, _) = read("a,b\n03/04/2026,13/13/2026\n03/04/2026 10:30,\n", &typed);
    assert_eq!(rows(&kept), [(2, r#"{"a":"2026-03-04"}"#)]);
    assert!(told(&kept)[0].starts_with("A3: `2026-03-04T10:30:00` is no date"), "{kept:?}");
}

#[test]
fn one_row_may_be_enough() {
    let mut options = by(json!({"columns": [{"column": "n", "type": "integer"}]}));
    options.on_invalid = OnInvalid::Abort;
    let (kept, read_whole) = read("n\n1\n2\n", &options);
    assert_eq!((kept.rows.len(), read_whole.unwrap().rows), (2, 2));
    let refused = problem(read("n\n1\nx\n2\ny\n", &options).1);
    assert_eq!((refused.kind, refused.at.to_string().as_str()), (ProblemKind::InvalidRows, "A3"));
    assert!(refused.detail.starts_with("2 rows are not valid: A3: `x` is no"), "{refused}");
    assert_eq!(refused.findings.len(), 2);
    // Of many, the first are told, and nobody waits for the others.
    let many = format!("n\n{}", "x\n".repeat(1_000));
    let refused = problem(read(&many, &options).1);
    assert!(refused.detail.starts_with("at least 20 rows"), "{refused}");
    assert_eq!(refused.findings.len(), 20);
    // So it is with a row that the reader itself rejects.
    let limits = ReadLimits { cell_bytes: 8, ..ReadLimits::default() };
    let none = ReadOptions { on_invalid: OnInvalid::Abort, ..ReadOptions::default() };
    let refused = problem(read_within("n\n1\nmuch too long\n", &none, &limits).1);
    assert!(refused.detail.starts_with("1 row is not valid: A3"), "{refused}");
}

#[test]
fn findings_have_their_limit_and_counts_have_none() {
    let options = by(json!({"columns": [{"column": "n", "type": "integer"}]}));
    let limits = ReadLimits { findings: 3, ..ReadLimits::default() };
    let (kept, read) = read_within(&format!("n\n{}", "x\n".repeat(10)), &options, &limits);
    assert_eq!((kept.findings.len(), read.unwrap().rejected_rows), (3, 10));
}
