//! Calamine's streaming reader alone, which `benches/run ingest` and `upload` measure beside ours:
//! every cell of the first sheet, looked at and dropped. Prints rows/s and the peak of memory in kB.
//!
//! An example of this crate, so that calamine's reading is optimised as ours is.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Instant;

use calamine::{Reader as _, Xlsx, open_workbook};

fn main() {
    let file = std::env::args().nth(1).unwrap();
    let begun = Instant::now();
    let mut workbook: Xlsx<_> = open_workbook(file).unwrap();
    let sheet = workbook.sheet_names()[0].clone();
    let mut cells = workbook.worksheet_cells_reader(&sheet).unwrap();
    let mut rows = 0_u32;
    while let Some(cell) = cells.next_cell().unwrap() {
        rows = cell.get_position().0;
        std::hint::black_box(cell.get_value());
    }
    let seconds = begun.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    // The first row is the header.
    println!("{} {}", f64::from(rows) / seconds, peak.trim().trim_end_matches(" kB"));
}
