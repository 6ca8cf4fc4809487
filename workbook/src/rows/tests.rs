//! What becomes of cells, with a sink that keeps what it is given.

use super::*;

/// Keeps everything, for tests.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) heads: Vec<SheetHead>,
    pub(crate) rows: Vec<(u32, String)>,
    pub(crate) attributes: Vec<(u32, String)>,
    pub(crate) findings: Vec<Finding>,
}

impl Sink for Kept {
    fn sheet(&mut self, head: &SheetHead) -> Result<(), Stop> {
        self.heads.push(head.clone());
        Ok(())
    }

    fn row(&mut self, row: RowNumber, json: &[u8], attributes: Option<&[u8]>) -> Result<(), Stop> {
        let text = |json: &[u8]| String::from_utf8(json.to_vec()).unwrap();
        self.attributes.extend(attributes.map(|json| (row.0, text(json))));
        self.rows.push((row.0, text(json)));
        Ok(())
    }

    fn finding(&mut self, finding: Finding) -> Result<(), Stop> {
        self.findings.push(finding);
        Ok(())
    }
}

fn sheet(
    limits: &ReadLimits,
    header_row: HeaderRow,
    rows: &[(u32, &[(u32, &str)])],
) -> (Kept, Result<(SheetEnd, Totals), Stop>) {
    let mut kept = Kept::default();
    let none = AttributeColumns::default();
    let mut made = Rows::new(&mut kept, limits, header_row, &none);
    made.open_sheet(0, Some("S"), Epoch::Y1900);
    let mut read = || {
        for (row, cells) in rows {
            made.begin_row(*row)?;
            for (column, text) in *cells {
                made.cell(*column, Value::Text(text))?;
            }
            made.end_row()?;
        }
        let end = made.close_sheet()?;
        Ok((end, made.totals()))
    };
    let end = read();
    (kept, end)
}

fn found(rows: &[(u32, &[(u32, &str)])]) -> (Kept, Result<(SheetEnd, Totals), Stop>) {
    sheet(&ReadLimits::default(), HeaderRow::Found, rows)
}

fn problem<T: std::fmt::Debug>(end: Result<T, Stop>) -> String {
    match end {
        Err(Stop::Problem(problem)) => problem.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_are_objects_and_blank_ones_are_counted() {
    let (kept, end) = found(&[
        (2, &[(1, "a"), (2, "b")]),
        (3, &[(2, "y")]),
        (4, &[]),
        (7, &[(1, "x")]),
        (1_048_576, &[]),
    ]);
    let (end, totals) = end.unwrap();
    assert_eq!((end, totals.rows, totals.blank_rows), (SheetEnd::Rows, 2, 3));
    assert_eq!(kept.heads[0].header_row, RowNumber(2));
    assert_eq!(kept.heads[0].first_column, 1);
    assert_eq!(kept.rows[0], (3, r#"{"a":null,"b":"y"}"#.into()));
    assert_eq!(kept.rows[1], (7, r#"{"a":"x","b":null}"#.into()));
}

#[test]
fn a_wider_row_is_kept_under_its_letters() {
    let (kept, _) = found(&[
        (1, &[(1, "D"), (2, "b")]),
        (2, &[(1, "1"), (3, "3")]),
        (3, &[(0, "0"), (1, "1")]),
    ]);
    assert_eq!(kept.rows[0].1, r#"{"D":"1","b":null,"D_2":"3"}"#);
    assert_eq!(kept.rows[1].1, r#"{"D":"1","b":null,"A":"0"}"#);
    let at: Vec<_> = kept.findings.iter().map(|f| f.at.to_string()).collect();
    assert_eq!(at, ["S!D2", "S!A3"]);
}

#[test]
fn an_index_without_a_name_is_a_column() {
    let (kept, _) = found(&[(1, &[(1, "A"), (2, "b")]), (2, &[(0, "0"), (1, "1")])]);
    assert_eq!(kept.heads[0].columns, ["A_2", "A", "b"]);
    assert_eq!(kept.heads[0].first_column, 0);
    assert_eq!(kept.rows[0].1, r#"{"A_2":"0","A":"1","b":null}"#);
    assert!(kept.findings.is_empty());
}

#[test]
fn cells_out_of_order_are_put_in_order_and_twice_is_refused() {
    let (kept, _) = found(&[(1, &[(1, "b"), (0, "a")]), (2, &[(1, "2"), (0, "1")])]);
    assert_eq!(kept.rows[0].1, r#"{"a":"1","b":"2"}"#);
    let (_, end) = found(&[(1, &[(0, "a")]), (2, &[(0, "1"), (1, "2"), (0, "3")])]);
    assert!(problem(end).contains("S!A2"));
}

#[test]
fn rows_that_repeat_or_go_backwards_are_refused() {
    for second in [3, 2] {
        let (_, end) = found(&[(1, &[(0, "a")]), (3, &[(0, "1")]), (second, &[(0, "2")])]);
        assert!(problem(end).contains("out of order"));
    }
}

#[test]
fn rows_without_cells_may_repeat() {
    let (kept, end) = found(&[(1, &[]), (1, &[(0, "a")]), (4, &[]), (2, &[(0, "1")])]);
    assert!(end.is_ok());
    assert_eq!(kept.rows, [(2, r#"{"a":"1"}"#.into())]);
}

#[test]
fn a_row_of_formulas_without_results_is_blank_and_told() {
    let (mut kept, limits) = (Kept::default(), ReadLimits::default());
    let none = AttributeColumns::default();
    let mut made = Rows::new(&mut kept, &limits, HeaderRow::Found, &none);
    made.open_sheet(0, Some("S"), Epoch::Y1900);
    let rows = [
        [Value::Text("a"), Value::Text("b")],
        [Value::Uncalculated, Value::Uncalculated],
        [Value::Uncalculated, Value::Bool(true)],
    ];
    for (row, cells) in (1..).zip(rows) {
        made.begin_row(row).unwrap();
        for (column, value) in (0..).zip(cells) {
            made.cell(column, value).unwrap();
        }
        made.end_row().unwrap();
    }
    assert_eq!((made.totals().blank_rows, made.totals().warnings), (1, 3));
    assert_eq!(kept.rows, [(3, r#"{"a":null,"b":true}"#.into())]);
}

#[test]
fn a_header_is_told_or_found() {
    let rows: &[(u32, &[(u32, &str)])] =
        &[(1, &[(0, "title")]), (3, &[(0, "a")]), (4, &[(0, "1")])];
    let told = |row| sheet(&ReadLimits::default(), HeaderRow::Told(RowNumber(row)), rows);
    assert_eq!(told(3).0.rows, [(4, r#"{"a":"1"}"#.into())]);
    assert!(problem(told(2).1).contains("row 2"));
    assert!(problem(told(9).1).contains("row 9"));
    let (kept, _) = found(&[(1, &[(0, " ")]), (2, &[(0, "a")]), (3, &[(0, " ")])]);
    assert_eq!(kept.rows, [(3, r#"{"a":" "}"#.into())]);
    assert_eq!(found(&[(1, &[(0, "a")])]).1.unwrap().0, SheetEnd::HeaderOnly);
    assert_eq!(found(&[(1, &[])]).1.unwrap().0, SheetEnd::Empty);
}

#[test]
fn limits_reject_rows_or_refuse_files() {
    let limits = ReadLimits {
        cell_bytes: 8,
        row_bytes: 40,
        columns: 3,
        rows: 2,
        findings: 1,
        ..ReadLimits::default()
    };
    let (kept, end) = sheet(
        &limits,
        HeaderRow::Found,
        &[
            (1, &[(0, "a")]),
            (2, &[(0, "much too long")]),
            (3, &[(0, "ok")]),
            (4, &[(0, "1"), (1, "2")]),
        ],
    );
    let (_, totals) = end.unwrap();
    assert_eq!((totals.rows, totals.rejected_rows, totals.warnings), (2, 1, 1));
    assert_eq!(kept.findings.len(), 1);
    assert_eq!(kept.findings[0].kind, FindingKind::Rejected);
    let (_, end) = sheet(&limits, HeaderRow::Found, &[(1, &[(0, "a")]), (2, &[(3, "x")])]);
    assert!(problem(end).contains("S!D2"));
}

#[test]
fn chosen_columns_become_attributes() {
    let (mut kept, limits) = (Kept::default(), ReadLimits::default());
    let chosen = "c_2,n".parse().unwrap();
    let mut made = Rows::new(&mut kept, &limits, HeaderRow::Found, &chosen);
    let long = "x".repeat(crate::attributes::MOST_VALUE_CHARS + 1);
    let rows: [&[(u32, Value<'_>)]; 5] = [
        &[(1, Value::Text("c")), (2, Value::Text("c")), (3, Value::Text("n"))],
        &[(1, Value::Text("not")), (2, Value::Text("DE")), (3, Value::Bool(true))],
        // Out of order, and nothing in one of the columns.
        &[(3, Value::Digits("007", &super::super::format::Format::Plain)), (1, Value::Text("x"))],
        &[(1, Value::Text("x"))],
        &[(2, Value::Text(&long))],
    ];
    made.open_sheet(0, Some("S"), Epoch::Y1900);
    for (row, cells) in (1..).zip(rows) {
        made.begin_row(row).unwrap();
        for (column, value) in cells {
            made.cell(*column, *value).unwrap();
        }
        made.end_row().unwrap();
    }
    assert_eq!((made.totals().rows, made.totals().rejected_rows), (3, 1));
    assert_eq!(
        kept.attributes,
        [(2, r#"{"c_2":"DE","n":"true"}"#.into()), (3, r#"{"n":"7"}"#.into())]
    );
    assert_eq!(kept.findings[0].at.to_string(), "S!C5");
    assert_eq!(kept.findings[0].kind, FindingKind::Rejected);
}

#[test]
fn every_sheet_must_have_the_chosen_columns() {
    let (mut kept, limits) = (Kept::default(), ReadLimits::default());
    let chosen = "b".parse().unwrap();
    let mut made = Rows::new(&mut kept, &limits, HeaderRow::Found, &chosen);
    let mut sheet = |index: u16, name: &str, header: &str| {
        made.open_sheet(index, Some(name), Epoch::Y1900);
        for (row, text) in [(1, header), (2, "x")] {
            made.begin_row(row)?;
            made.cell(3, Value::Text(text))?;
            made.end_row()?;
        }
        Ok::<(), Stop>(())
    };
    sheet(0, "S", "b").unwrap();
    assert!(problem(sheet(1, "T", "c")).contains("T!1:1"));
    assert_eq!(kept.attributes, [(2, r#"{"b":"x"}"#.into())]);
}
