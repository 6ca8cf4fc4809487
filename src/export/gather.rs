//! The ends of an upload's rows, from the database to a file, and which columns their outputs need.

use std::collections::HashSet;

use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{BuildError, Job, unfinished};
use crate::domain::{Finding, FindingKind};
use crate::store::StoreError;
use crate::store::log::{
    FindingAt, Log, LogError, OutcomeKind, PageAfter, QueueId, RowEnd, UploadId,
};
use crate::workbook::export::{EndOfRow, QueuePlan, Status, fields};

/// Pages that are fetched ahead.
const PAGES: usize = 1;
/// Findings read from the database at a time.
const FINDINGS: usize = 1_000;

/// What was gathered.
pub(super) struct Gathered {
    pub(super) ends: TempPath,
    pub(super) rejects: TempPath,
    pub(super) queues: Vec<QueuePlan>,
}

pub(super) async fn gather(job: &Job) -> Result<Gathered, BuildError> {
    let queues = queues(job).await?;
    let mut keys: Vec<Keys> = queues.iter().map(|_| Keys::new(job.limits.columns)).collect();
    let ids: Vec<QueueId> = queues.iter().map(|(id, _)| *id).collect();
    let mut ends = Records::create(job).await?;
    let (to, mut pages) = mpsc::channel(PAGES);
    let fetching = AbortOnDropHandle::new(tokio::spawn(fetch(
        job.store.log.clone(),
        job.upload.id,
        ids,
        job.limits.batches,
        job.open,
        to,
    )));
    while let Some(rows) = pages.recv().await {
        for row in rows {
            let end = record(row);
            if let Some(keys) = keys.get_mut(usize::from(end.queue)) {
                keys.see(&end.output);
            }
            ends.push(&end);
        }
        ends.flush().await?;
    }
    fetching.await.map_err(|died| BuildError::Failed(died.to_string()))??;
    let queues = queues.into_iter().zip(keys).map(|((_, name), keys)| keys.plan(name)).collect();
    Ok(Gathered { ends: ends.finish().await?, rejects: rejects(job).await?, queues })
}

/// Fetches page after page, in a task of its own: that takes as long as what is done with them.
async fn fetch(
    log: Log,
    upload: UploadId,
    queues: Vec<QueueId>,
    batches: u32,
    open: bool,
    to: mpsc::Sender<Vec<RowEnd>>,
) -> Result<(), LogError> {
    let mut after = Some(PageAfter::default());
    while let Some(page) = after {
        let (rows, next) = log.row_ends(upload, &queues, page, batches, open).await?;
        if to.send(rows).await.is_err() {
            return Ok(());
        }
        after = next;
    }
    Ok(())
}

/// The queues that have something of the upload, by name; all of its topic as long as that may change.
async fn queues(job: &Job) -> Result<Vec<(QueueId, String)>, BuildError> {
    let mut routes = job.store.control.routes(job.upload.topic).await?.queues;
    routes.sort_by(|one, other| one.name.cmp(&other.name));
    let mut queues = vec![];
    for route in routes {
        let counts = job.store.log.counts(job.upload.id, route.queue).await?;
        if job.open || counts.ended() > 0 {
            queues.push((route.queue, route.name.to_string()));
        }
    }
    if queues.is_empty() {
        // No queue took a row: the columns are there all the same, and say so.
        queues.push((QueueId(0), String::new()));
    }
    Ok(queues)
}

fn record(row: RowEnd) -> EndOfRow {
    let mut end = EndOfRow {
        sheet: row.sheet,
        row: row.row.0,
        queue: u16::try_from(row.queue).unwrap_or(u16::MAX),
        status: Status::Pending,
        attempts: 0,
        at_ms: 0,
        output: String::new(),
        error: String::new(),
    };
    if let Some(ended) = row.ended {
        end.status = match ended.kind {
            OutcomeKind::Done => Status::Done,
            OutcomeKind::Dead => Status::Dead,
            OutcomeKind::Expired => Status::Expired,
            OutcomeKind::Cancelled => Status::Cancelled,
        };
        end.attempts = ended.attempts;
        end.at_ms = ended.at_ms;
        end.output = ended.output.map(String::from).unwrap_or_default();
        end.error = ended.error.map(String::from).unwrap_or_default();
    }
    end
}

/// Why rows became no message, in row order.
async fn rejects(job: &Job) -> Result<TempPath, BuildError> {
    let mut records = Records::create(job).await?;
    let mut after: Option<FindingAt> = None;
    loop {
        let found = job.store.log.findings_after(job.upload.id, after, FINDINGS).await?;
        let Some((last, _)) = found.last() else { return records.finish().await };
        after = Some(*last);
        for (place, json) in &found {
            let finding: Finding = serde_json::from_str(json)
                .map_err(|error| StoreError::Damaged(format!("a finding: {error}")))?;
            if finding.kind != FindingKind::Rejected {
                continue;
            }
            records.push(&EndOfRow {
                sheet: place.at.sheet,
                row: place.at.row.0,
                queue: 0,
                status: Status::Rejected,
                attempts: 0,
                at_ms: 0,
                output: String::new(),
                error: format!("{}: {}", finding.at, finding.detail),
            });
        }
        records.flush().await?;
    }
}

/// A file of records that is being written.
struct Records<'a> {
    job: &'a Job,
    path: TempPath,
    file: File,
    bytes: Vec<u8>,
}

impl<'a> Records<'a> {
    async fn create(job: &'a Job) -> Result<Self, BuildError> {
        let failed = |source| BuildError::Write { path: job.directory.clone(), source };
        let path = unfinished(&job.directory).map_err(failed)?;
        let file = File::create(&path).await.map_err(failed)?;
        Ok(Self { job, path, file, bytes: vec![] })
    }

    fn push(&mut self, end: &EndOfRow) {
        // Writing to memory does not fail.
        let _ = end.write(&mut self.bytes);
    }

    async fn flush(&mut self) -> Result<(), BuildError> {
        let written = self.file.write_all(&self.bytes).await;
        self.bytes.clear();
        written.map_err(|source| BuildError::Write { path: self.job.directory.clone(), source })
    }

    async fn finish(mut self) -> Result<TempPath, BuildError> {
        self.flush().await?;
        let flushed = self.file.flush().await;
        flushed.map_err(|source| BuildError::Write { path: self.job.directory.clone(), source })?;
        Ok(self.path)
    }
}

/// The keys of a queue's outputs, in the order in which they first appear.
struct Keys {
    most: usize,
    keys: Vec<String>,
    seen: HashSet<String>,
    rest: bool,
}

impl Keys {
    fn new(most: usize) -> Self {
        Self { most, keys: vec![], seen: HashSet::new(), rest: false }
    }

    fn see(&mut self, output: &str) {
        if output.is_empty() {
            return;
        }
        let spread = fields(output, |key, _| {
            if self.seen.contains(key) {
                return;
            }
            if self.keys.len() < self.most {
                self.keys.push(key.to_owned());
                self.seen.insert(key.to_owned());
            } else {
                self.rest = true;
            }
        });
        self.rest |= !spread;
    }

    fn plan(self, name: String) -> QueuePlan {
        // Where there is no output at all, the column is there and empty.
        let rest = self.rest || self.keys.is_empty();
        QueuePlan { name, keys: self.keys, rest }
    }
}
