//! From the reader's frames to single rows for the batcher.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::coverage::Coverage;
use super::patient::Patient;
use super::reader::Reader;
use super::{IngestError, Progress};
use crate::broker::Broker;
use crate::domain::{Finding, Problem, ProblemKind, Row, RowNumber};
use crate::store::log::Fence;
use crate::workbook::{Frame, RowsFrame, SheetHead, Totals};

/// A row on its way to the batcher.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) sheet: Arc<SheetHead>,
    /// The first row that this accounts for: a rejected one before `row`, or `row` itself.
    pub(super) from: RowNumber,
    /// The last row that this accounts for.
    pub(super) row: RowNumber,
    /// It; `None` when all that this accounts for was rejected.
    pub(super) data: Option<Row>,
    /// What was found in these rows.
    pub(super) findings: Vec<Finding>,
    /// Whether rows before it are committed already, so that a batch may not reach across.
    pub(super) after_gap: bool,
}

/// How the feed ended.
#[derive(Debug)]
pub(super) enum Fed {
    /// With the file.
    End(Totals),
    /// With a fault of the file.
    Fault(Problem),
    /// Told to stop, or nobody takes rows any more.
    Stopped,
}

pub(super) struct Feed {
    pub(super) reader: Reader,
    pub(super) coverage: Coverage,
    pub(super) rows: mpsc::Sender<Item>,
    pub(super) progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
    pub(super) fence: Fence,
}

/// Where in the file the feed is.
struct Place {
    sheet: Arc<SheetHead>,
    /// Findings of rows that have not come yet: they are told before their row, and may be the
    /// last of their frame.
    findings: VecDeque<Finding>,
    after_gap: bool,
}

impl Feed {
    /// Feeds until the file ends, from the sheet that the reader's first word named. The reader's
    /// process ends when this is dropped.
    ///
    /// Each sheet is recorded before its rows are sent on, so that a delivery can name it.
    pub(super) async fn run<B: Broker>(
        mut self,
        broker: &Patient<B>,
        first: SheetHead,
    ) -> Result<Fed, IngestError> {
        let mut heads = vec![];
        let mut place = self.begin(broker, &mut heads, first).await?;
        loop {
            let frame = tokio::select! {
                frame = self.reader.next_frame() => frame,
                () = self.stop.cancelled() => return Ok(Fed::Stopped),
            };
            let taken = match frame {
                Ok(Some(Frame::Rows(rows))) => self.rows(&mut place, rows).await,
                Ok(Some(Frame::Sheet(head))) => {
                    let taken = self.rest(&mut place).await;
                    place = self.begin(broker, &mut heads, head).await?;
                    taken
                }
                Ok(Some(Frame::End(totals))) if self.rest(&mut place).await => {
                    let (rows, rejected) = (totals.rows, totals.rejected_rows);
                    tracing::info!(step = "read", rows, rejected, "a file was read to its end");
                    Progress::add(&self.progress.all.rejected, rejected);
                    return Ok(Fed::End(totals));
                }
                Ok(Some(Frame::End(_))) => false,
                Ok(Some(Frame::Fault(problem))) | Err(problem) => return Ok(Fed::Fault(problem)),
                Ok(Some(Frame::Preview(_) | Frame::Corrects(_)) | None) => {
                    return Ok(Fed::Fault(died("it ended before the file did")));
                }
            };
            if !taken {
                return Ok(Fed::Stopped);
            }
        }
    }

    async fn begin<B: Broker>(
        &self,
        broker: &Patient<B>,
        heads: &mut Vec<SheetHead>,
        head: SheetHead,
    ) -> Result<Place, IngestError> {
        heads.push(head.clone());
        broker.describe(self.fence, &serde_json::to_string(heads)?).await?;
        Ok(Place { sheet: Arc::new(head), findings: VecDeque::new(), after_gap: false })
    }

    /// Sends a frame's rows on; `false` when nobody takes them.
    async fn rows(&self, place: &mut Place, frame: RowsFrame) -> bool {
        Progress::add(&self.progress.read, frame.rows.len() as u64);
        Progress::add(&self.progress.all.read, frame.rows.len() as u64);
        place.findings.extend(frame.findings);
        for data in frame.rows {
            let row = data.row;
            let mut findings = vec![];
            while place.findings.front().is_some_and(|f| f.at.row.is_none_or(|at| at <= row)) {
                findings.extend(place.findings.pop_front());
            }
            if self.coverage.contains(place.sheet.index, row) {
                place.after_gap = true;
                continue;
            }
            if !self.send(place, row, Some(data), findings).await {
                return false;
            }
        }
        true
    }

    /// Sends what was found after a sheet's last row.
    async fn rest(&self, place: &mut Place) -> bool {
        let findings: Vec<Finding> = place
            .findings
            .drain(..)
            .filter(|finding| {
                finding.at.row.is_none_or(|row| !self.coverage.contains(place.sheet.index, row))
            })
            .collect();
        match findings.iter().filter_map(|finding| finding.at.row).max() {
            Some(last) => self.send(place, last, None, findings).await,
            None => true,
        }
    }

    async fn send(
        &self,
        place: &mut Place,
        row: RowNumber,
        data: Option<Row>,
        findings: Vec<Finding>,
    ) -> bool {
        let from = findings
            .iter()
            .filter_map(|finding| finding.at.row)
            .min()
            .map_or(row, |first| first.min(row));
        let after_gap = std::mem::take(&mut place.after_gap);
        let sheet = Arc::clone(&place.sheet);
        let item = Item { sheet, from, row, data, findings, after_gap };
        self.rows.send(item).await.is_ok()
    }
}

pub(super) fn died(detail: &str) -> Problem {
    Problem::new(ProblemKind::ReaderDied, format!("the reader is broken: {detail}"))
}
