//! Results as a workbook: a sheet for each sheet, its rows and columns where they were, so that an
//! address in the original (`Orders!C17`) is the same cell here. What is added stands behind the last
//! named column; cells that stand under no name move behind that. A table of failures has the rows one
//! under another instead, behind their number and what is wrong with them.

use std::io;

use super::columns::{Columns, RowEnds};
use super::join::Form;
use super::parts::{HEADER_STYLE, Styles, parts, sheet_name};
use super::plan::{ExportPlan, ExportWhat};
use super::sheet::{END, Lines, START};
use super::zipped::{PIECE_BYTES, Zipped};
use crate::correction::PROPERTY;
use crate::shape::CellsOfRow;
use crate::sink::SheetHead;

/// Rows of a sheet.
const MOST_ROWS: u32 = 1_048_576;
/// Bytes of a sheet's XML, after which another begins: above 4 GiB the archive would need a form that
/// not every program reads.
const MOST_BYTES: u64 = 3 << 30;
const MOST_COLUMNS: u32 = 16_384;
/// How a moment is shown.
const MOMENT: &str = "yyyy\\-mm\\-dd\\ hh:mm:ss";

pub(super) struct Xlsx<'a> {
    plan: &'a ExportPlan,
    columns: Columns<'a>,
    zip: Zipped,
    lines: Lines,
    styles: Styles,
    sheets: Vec<String>,
    from_1904: bool,
    open: Option<Open>,
}

/// The sheet at hand.
struct Open {
    /// What is taken from the number of a row of the original.
    above: u32,
    /// The row that was written last.
    last: u32,
    bytes: u64,
}

impl<'a> Xlsx<'a> {
    pub(super) fn create(plan: &'a ExportPlan, columns: Columns<'a>) -> io::Result<Self> {
        Ok(Self {
            plan,
            columns,
            zip: Zipped::create(&plan.out)?,
            lines: Lines::default(),
            styles: Styles::default(),
            sheets: vec![],
            from_1904: false,
            open: None,
        })
    }

    fn begin(&mut self, head: &SheetHead, above: u32) -> io::Result<()> {
        self.end()?;
        let name = sheet_name(head.name.as_deref().unwrap_or_default(), &self.sheets);
        self.sheets.push(name);
        self.zip.part(&format!("xl/worksheets/sheet{}.xml", self.sheets.len()))?;
        let row = match self.plan.what {
            ExportWhat::Results => head.header_row.0.saturating_sub(above).max(1),
            ExportWhat::Failures => 1,
        };
        let below = row + 1;
        self.lines.xml.extend_from_slice(START);
        let view = format!(
            r#"<sheetViews><sheetView workbookViewId="0"><pane ySplit="{row}" topLeftCell="A{below}" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>"#
        );
        self.lines.xml.extend_from_slice(view.as_bytes());
        self.lines.begin_row(row);
        let added = self.columns.names(&head.columns);
        let (leading, behind) = added.split_at(self.columns.leading());
        for (column, name) in (0..).zip(leading) {
            self.lines.text(column, name, HEADER_STYLE);
        }
        let (first, past) = self.places(head);
        for (column, name) in (first..).zip(&head.columns) {
            self.lines.text(column, name, HEADER_STYLE);
        }
        for (column, name) in (past..MOST_COLUMNS).zip(behind) {
            self.lines.text(column, name, HEADER_STYLE);
        }
        self.lines.end_row();
        self.open = Some(Open { above, last: row, bytes: 0 });
        Ok(())
    }

    /// Where the first named column stands, and where those that are added behind begin.
    fn places(&self, head: &SheetHead) -> (u32, u32) {
        let first = match self.plan.what {
            ExportWhat::Results => head.first_column,
            ExportWhat::Failures => self.columns.leading() as u32,
        };
        (first, first + head.columns.len() as u32)
    }

    fn end(&mut self) -> io::Result<()> {
        if self.open.take().is_some() {
            self.lines.xml.extend_from_slice(END);
            self.zip.write(&mut self.lines.xml)?;
        }
        Ok(())
    }

    /// Which row of the sheet a row becomes; another sheet is begun if this one is full.
    fn place(&mut self, head: &SheetHead, row: u32) -> io::Result<u32> {
        let place = |open: &Open| match self.plan.what {
            ExportWhat::Results => row - open.above,
            ExportWhat::Failures => open.last + 1,
        };
        if let Some(open) = &self.open {
            let at = place(open);
            if at <= MOST_ROWS && open.bytes < MOST_BYTES {
                return Ok(at);
            }
        }
        // On the further sheet the header is in its first row.
        self.begin(head, row.saturating_sub(2))?;
        Ok(2)
    }
}

impl Form for Xlsx<'_> {
    fn sheet(&mut self, head: &SheetHead) -> io::Result<()> {
        self.begin(head, 0)
    }

    fn row(
        &mut self,
        head: &SheetHead,
        cells: &CellsOfRow<'_>,
        ends: &RowEnds<'_>,
    ) -> io::Result<()> {
        self.from_1904 = cells.dates_from_1904;
        let row = self.place(head, cells.row.0)?;
        let start = self.lines.xml.len();
        self.lines.begin_row(row);
        let values = self.columns.values(ends);
        let (leading, behind) = values.split_at(self.columns.leading());
        let moment = self.styles.of(MOMENT);
        for (column, value) in (0..).zip(leading) {
            self.lines.added(column, value, self.from_1904, moment);
        }
        let (first, past) = self.places(head);
        let named = cells.cells.iter().take_while(|cell| {
            cell.column.checked_sub(head.first_column).is_none_or(|at| first + at < past)
        });
        let named = named.count();
        for cell in &cells.cells[..named] {
            // Left of the first name there is something in the rows below the first at most.
            let at =
                cell.column.checked_sub(head.first_column).map_or(cell.column, |at| first + at);
            if at >= first || self.plan.what == ExportWhat::Results {
                self.lines.original(at, cell, &mut self.styles);
            }
        }
        for (column, value) in (past..MOST_COLUMNS).zip(behind) {
            self.lines.added(column, value, self.from_1904, moment);
        }
        for cell in &cells.cells[named..] {
            let at = first + (cell.column - head.first_column) + behind.len() as u32;
            if at < MOST_COLUMNS {
                self.lines.original(at, cell, &mut self.styles);
            }
        }
        self.lines.end_row();
        if let Some(open) = &mut self.open {
            open.last = row;
            open.bytes += (self.lines.xml.len() - start) as u64;
        }
        if self.lines.xml.len() >= PIECE_BYTES {
            self.zip.write(&mut self.lines.xml)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.end()?;
        let properties: &[(&str, &str)] = match self.plan.what {
            ExportWhat::Results => &[],
            ExportWhat::Failures => &[(PROPERTY, &self.plan.upload)],
        };
        for (name, xml) in parts(&self.sheets, &self.styles, self.from_1904, properties) {
            self.zip.part(name)?;
            self.zip.write(&mut xml.into_bytes())?;
        }
        self.zip.finish()
    }
}
