//! Cuts the stream of rows into batches.
//!
//! It is one task, because it reserves the batches' places: so the order of ids is the order of
//! rows. A batch ends when it is full, when nothing more has come for a moment, at the end of a
//! sheet, and where rows follow that are committed already: what it covers is a range of rows, and
//! a range may not reach over others'.

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::feed::Item;
use super::patient::Patient;
use super::{IngestError, IngestLimits};
use crate::broker::{Broker, RowBatch};
use crate::domain::Row;

pub(super) async fn run<B: Broker>(
    broker: Patient<B>,
    mut rows: mpsc::Receiver<Item>,
    batches: mpsc::Sender<RowBatch>,
    limits: IngestLimits,
    mut turn: i32,
) -> Result<(), IngestError> {
    let mut waiting = Vec::with_capacity(limits.batch_rows);
    let mut open: Option<Open> = None;
    loop {
        let took = match &open {
            // Something waits to be published: more rows may join it for a moment.
            Some(batch) => {
                let more = rows.recv_many(&mut waiting, limits.batch_rows);
                timeout_at(batch.until, more).await.ok()
            }
            None => Some(rows.recv_many(&mut waiting, limits.batch_rows).await),
        };
        for item in waiting.drain(..) {
            if let Some(full) = open.take_if(|batch| !batch.takes(&item, &limits))
                && batches.send(full.batch).await.is_err()
            {
                return Ok(());
            }
            let batch = match &mut open {
                Some(batch) => batch,
                None => {
                    let ticket = broker.reserve(limits.batch_rows).await?;
                    turn = turn.saturating_add(1);
                    let until = Instant::now() + limits.batch_wait;
                    open.insert(Open::new(ticket, &item, turn - 1, until))
                }
            };
            batch.push(item);
        }
        if matches!(took, None | Some(0))
            && let Some(batch) = open.take()
            && batches.send(batch.batch).await.is_err()
        {
            return Ok(());
        }
        if took == Some(0) {
            return Ok(());
        }
    }
}

/// A batch that is being filled.
struct Open {
    batch: RowBatch,
    bytes: usize,
    until: Instant,
}

impl Open {
    fn new(ticket: crate::broker::Ticket, item: &Item, turn: i32, until: Instant) -> Self {
        let batch = RowBatch {
            ticket,
            sheet: item.sheet.index,
            sheet_name: item.sheet.name.clone(),
            first_row: item.from,
            last_row: item.row,
            turn,
            rows: Vec::with_capacity(ticket.room),
            findings: vec![],
            duplicates: 0,
        };
        Self { batch, bytes: 0, until }
    }

    fn takes(&self, item: &Item, limits: &IngestLimits) -> bool {
        let bytes = self.bytes + item.data.as_ref().map_or(0, Row::bytes);
        item.sheet.index == self.batch.sheet
            && !item.after_gap
            && self.batch.rows.len() < self.batch.ticket.room
            && bytes <= limits.batch_bytes
    }

    fn push(&mut self, item: Item) {
        self.batch.last_row = item.row;
        self.batch.findings.extend(item.findings);
        if let Some(data) = item.data {
            self.bytes += data.bytes();
            self.batch.rows.push(data);
        }
    }
}
