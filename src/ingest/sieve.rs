//! Rows that are not to be sent: duplicates by their key, and rows of a correction that need none. It
//! is one task between the batcher and the producers, so that of two rows with one key the first has
//! it; the rows that are held back are counted with their batch, in the transaction that covers them.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::IngestError;
use super::keys::{KeyColumns, correction_key};
use super::patient::Patient;
use crate::broker::{Broker, BrokerError, RowBatch};
use crate::domain::{Address, Finding, FindingKind, RowNumber};
use crate::store::control::{Upload, UploadState};
use crate::store::log::{
    Claim, Fence, Holder, KeyedRow, Log, OutcomeKind, PageAfter, QueueId, RowEnd, UploadId,
};
use crate::store::{Store, StoreError};
use crate::workbook::ReadOptions;

/// Batches of a corrected upload whose ends are read at a time.
const ENDS: u32 = 5;

/// What holds rows back.
#[derive(Debug)]
pub struct Sieve {
    log: Log,
    fence: Fence,
    key: Option<KeyColumns>,
    correction: Option<Correcting>,
    /// Duplicates that may still be told of by their address.
    told: usize,
}

/// The upload that is corrected.
#[derive(Debug)]
struct Correcting {
    upload: String,
    root: String,
    /// How its rows ended, if it is still there.
    ends: Option<Ends>,
}

/// The ends of an upload's rows, in row order.
#[derive(Debug)]
struct Ends {
    log: Log,
    upload: UploadId,
    queues: Vec<QueueId>,
    open: bool,
    page: VecDeque<RowEnd>,
    next: Option<PageAfter>,
    reached: (u16, RowNumber),
}

impl Sieve {
    /// What is to be held back of an upload, by how it is read; `told` duplicates are told of by their
    /// address. `None` if nothing is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn of(
        store: &Store,
        upload: &Upload,
        told: usize,
    ) -> Result<Option<Self>, StoreError> {
        let damaged = |error: serde_json::Error| StoreError::Damaged(error.to_string());
        let read: ReadOptions = serde_json::from_str(&upload.options).map_err(damaged)?;
        let key = KeyColumns::of(upload.topic, &read.key);
        let correction = match read.correction.of() {
            Some(correction) => Some(Correcting {
                upload: correction.upload.clone(),
                root: correction.root.clone(),
                ends: Ends::of(store, &correction.upload).await?,
            }),
            None => None,
        };
        if key.is_none() && correction.is_none() {
            return Ok(None);
        }
        let log = store.log.clone();
        Ok(Some(Self { log, fence: upload.fence(), key, correction, told }))
    }

    /// Passes batches on, without what is held back.
    pub(super) async fn run<B: Broker>(
        mut self,
        broker: Patient<B>,
        mut batches: mpsc::Receiver<RowBatch>,
        ready: mpsc::Sender<RowBatch>,
    ) -> Result<(), IngestError> {
        while let Some(batch) = batches.recv().await {
            let batch = self.pass(&broker, batch).await?;
            if ready.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn pass<B: Broker>(
        &mut self,
        broker: &Patient<B>,
        mut batch: RowBatch,
    ) -> Result<RowBatch, IngestError> {
        let mut held_back: Vec<(RowNumber, String)> = vec![];
        if let Some(correction) = &mut self.correction {
            let mut kept = Vec::with_capacity(batch.rows.len());
            for row in std::mem::take(&mut batch.rows) {
                match correction.needs_none(broker, batch.sheet, row.row).await? {
                    Some(why) => held_back.push((row.row, why)),
                    None => kept.push(row),
                }
            }
            batch.rows = kept;
        }
        let claim = self.claim(&batch);
        let log = &self.log;
        let duplicates = broker
            .until_answered(|| async { log.claim(&claim).await.map_err(BrokerError::from) })
            .await?;
        let mut duplicates = duplicates.into_iter();
        let rows = std::mem::take(&mut batch.rows);
        for row in rows {
            match duplicates.next().flatten() {
                Some(holder) => held_back.push((row.row, self.why(&holder))),
                None => batch.rows.push(row),
            }
        }
        batch.duplicates = u32::try_from(held_back.len()).unwrap_or(u32::MAX);
        held_back.sort_unstable();
        for (row, detail) in held_back.into_iter().take(self.told) {
            self.told -= 1;
            let at = Address { sheet: batch.sheet_name.clone(), row: Some(row), column: None };
            batch.findings.push(Finding { kind: FindingKind::Duplicate, at, detail });
        }
        Ok(batch)
    }

    fn claim(&self, batch: &RowBatch) -> Claim {
        let keyed = batch.rows.iter().map(|row| {
            let of_correction = self
                .correction
                .iter()
                .map(|correction| correction_key(&correction.root, batch.sheet, row.row));
            let of_columns = self.key.iter().filter_map(|key| key.key(&row.data));
            KeyedRow { row: row.row, keys: of_correction.chain(of_columns).collect() }
        });
        Claim {
            fence: self.fence,
            sheet: batch.sheet,
            first_id: batch.ticket.first_id,
            rows: keyed.collect(),
        }
    }

    fn why(&self, holder: &Holder) -> String {
        let row = holder.row;
        let whose = match holder.upload == self.fence.upload {
            true => format!("row {row}"),
            false => format!("row {row} of upload {}", holder.public_id),
        };
        match (&self.key, &self.correction) {
            (Some(key), None) => format!("a duplicate: {whose} has the same `{}`", key.shown()),
            (Some(key), Some(_)) => {
                format!("a duplicate: {whose} corrects it, or has the same `{}`", key.shown())
            }
            _ => format!("a duplicate: {whose} corrects it"),
        }
    }
}

impl Correcting {
    /// Why a row is not corrected, if it needs no correction.
    async fn needs_none<B: Broker>(
        &mut self,
        broker: &Patient<B>,
        sheet: u16,
        row: RowNumber,
    ) -> Result<Option<String>, IngestError> {
        let Some(ends) = &mut self.ends else { return Ok(None) };
        let upload = &self.upload;
        Ok(match ends.failed(broker, sheet, row).await? {
            Standing::Failed => None,
            Standing::Done => Some(format!("a duplicate: it is done in upload {upload}")),
            Standing::OnItsWay => {
                Some(format!("a duplicate: it is being worked on in upload {upload}"))
            }
        })
    }
}

/// How a row of the corrected upload stands.
enum Standing {
    /// It was rejected, is dead in a queue, or never was.
    Failed,
    Done,
    OnItsWay,
}

impl Ends {
    async fn of(store: &Store, upload: &str) -> Result<Option<Self>, StoreError> {
        let Ok(id) = upload.parse() else { return Ok(None) };
        let Some(upload) = store.control.upload_by_public_id(id).await? else { return Ok(None) };
        let routes = store.control.routes(upload.topic).await?;
        Ok(Some(Self {
            log: store.log.clone(),
            upload: upload.id,
            queues: routes.queues.iter().map(|route| route.queue).collect(),
            open: upload.state == UploadState::Published,
            page: VecDeque::new(),
            next: Some(PageAfter::default()),
            reached: (0, RowNumber(0)),
        }))
    }

    /// Rows are asked for in their order, as a rule.
    async fn failed<B: Broker>(
        &mut self,
        broker: &Patient<B>,
        sheet: u16,
        row: RowNumber,
    ) -> Result<Standing, IngestError> {
        if (sheet, row) < self.reached {
            // Somebody moved the sheets.
            self.page.clear();
            self.next = Some(PageAfter::default());
        }
        self.reached = (sheet, row);
        let mut found: Option<Standing> = None;
        loop {
            while let Some(end) = self.page.front() {
                if (end.sheet, end.row) > (sheet, row) {
                    return Ok(found.unwrap_or(Standing::Failed));
                }
                let here = (end.sheet, end.row) == (sheet, row);
                let kind = end.ended.as_ref().map(|ended| ended.kind);
                self.page.pop_front();
                if !here {
                    continue;
                }
                found = Some(match (kind, found) {
                    // What is dead in one of several queues is a failure.
                    (_, Some(Standing::Failed)) | (Some(OutcomeKind::Dead), _) => Standing::Failed,
                    (None, _) | (_, Some(Standing::OnItsWay)) => Standing::OnItsWay,
                    _ => Standing::Done,
                });
            }
            let Some(after) = self.next else { return Ok(found.unwrap_or(Standing::Failed)) };
            let (log, upload, queues, open) = (&self.log, self.upload, &self.queues, self.open);
            let (page, next) = broker
                .until_answered(|| async {
                    let page = log.row_ends(upload, queues, after, ENDS, open).await;
                    page.map_err(BrokerError::from)
                })
                .await?;
            self.page = page.into();
            self.next = next;
        }
    }
}
