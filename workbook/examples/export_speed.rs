//! How fast results are written, and with how much memory, without database and network:
//!
//!     cargo run --release -p rowmill-workbook --example export_speed -- 1000000
//!
//! Rows of six columns are made as csv, written as a workbook, and that workbook is written again with
//! the ends of its rows, as a download of results is.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use rowmill_workbook::export::{
    EndOfRow, ExportForm, ExportPlan, ExportWhat, QueuePlan, Status, export,
};
use rowmill_workbook::{ReadLimits, ReadOptions};

fn main() {
    let rows: u32 = std::env::args().nth(1).map_or(1_000_000, |rows| rows.parse().unwrap());
    let home = std::env::temp_dir().join(format!("rowmill-export-{}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    let at = |name: &str| home.join(name);
    let mut csv = BufWriter::new(File::create(at("rows.csv")).unwrap());
    writeln!(csv, "number,customer,amount,day,paid,code").unwrap();
    for row in 0..rows {
        let (amount, day) = (f64::from(row) * 1.25, row % 28 + 1);
        writeln!(csv, "{row},customer number {row},{amount},2026-05-{day:02},true,00042").unwrap();
    }
    csv.flush().unwrap();
    drop(csv);
    let mut ends = BufWriter::new(File::create(at("ends")).unwrap());
    for row in 0..rows {
        let end = EndOfRow {
            sheet: 0,
            row: row + 2,
            queue: 0,
            status: Status::Done,
            attempts: 1,
            at_ms: 1_780_000_000_000 + i64::from(row),
            output: format!(r#"{{"id":"ch_{row}","fee":{}}}"#, row % 100),
            error: String::new(),
        };
        end.write(&mut ends).unwrap();
    }
    ends.flush().unwrap();
    drop(ends);
    File::create(at("none")).unwrap();
    let mut plan = ExportPlan {
        what: ExportWhat::Results,
        form: ExportForm::Xlsx,
        file: at("rows.csv"),
        options: ReadOptions::default(),
        limits: ReadLimits::default(),
        ends: at("none"),
        rejects: at("none"),
        out: at("rows.xlsx"),
        upload: String::new(),
        sheets: vec![],
        queues: vec![],
        untold: Status::Unrouted,
    };
    timed("csv to workbook", rows, &plan, &home);
    plan.file = at("rows.xlsx");
    plan.ends = at("ends");
    plan.queues =
        vec![QueuePlan { name: "q".into(), keys: vec!["id".into(), "fee".into()], rest: false }];
    for form in [ExportForm::Xlsx, ExportForm::Csv, ExportForm::Ndjson] {
        plan.form = form;
        plan.out = at(&format!("results.{form}"));
        timed(&format!("workbook to results.{form}"), rows, &plan, &home);
    }
    std::fs::remove_dir_all(&home).unwrap();
}

fn timed(what: &str, rows: u32, plan: &ExportPlan, home: &Path) {
    let begun = Instant::now();
    let written = export(plan, &mut |_| {}).unwrap();
    assert_eq!(written, u64::from(rows));
    let seconds = begun.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("").to_owned();
    let bytes = std::fs::metadata(&plan.out).unwrap().len();
    let rate = f64::from(rows) / seconds;
    println!(
        "{what}: {seconds:.2} s, {rate:.0} rows/s, {bytes} bytes, {memory}, in {}",
        home.display()
    );
}
