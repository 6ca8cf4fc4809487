//! The rows of an upload with their outcomes, in row order.
//!
//! Outcomes are stored by ranges of ids, and batches say which rows those ids are. A page is some
//! batches, in the order of their rows: after a crash, a gap in the rows is filled by later ids, so
//! the order of ids alone would not do. Both databases fetch the three parts; they are put together
//! here.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::types::{BLOCK, Ended, LogError, OutcomeKind, PageAfter, QueueId, RowOutcome, UploadId};
use super::{Dialect, Log};
use rowmill_domain::{Attempt, RowNumber};

/// Sheet, first row, last row, first id, messages.
pub(super) type RangeColumns = (i16, i32, i32, i64, i32);

/// A message's id, its row and its data.
pub(super) type MessageColumns = (i64, i32, Box<str>);

/// A batch of an upload: its rows, and the ids of their messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchRange {
    pub(super) sheet: i16,
    pub(super) first_row: i32,
    pub(super) last_row: i32,
    pub(super) first_id: i64,
    pub(super) n: i32,
}

impl BatchRange {
    fn of((sheet, first_row, last_row, first_id, n): RangeColumns) -> Self {
        Self { sheet, first_row, last_row, first_id, n }
    }

    /// The id after its last.
    pub(super) fn past(&self) -> i64 {
        self.first_id + i64::from(self.n)
    }
}

/// The place after the last of some batches; `None` when there are none.
pub(super) fn place_after(batches: &[BatchRange]) -> Option<PageAfter> {
    batches.last().map(|last| PageAfter(Some((last.sheet, last.first_row))))
}

/// The blocks that ids are of, each once, by their first numbers.
///
/// An outcome begins in the block of the messages it covers, but not always in their batch: a lease
/// of redeliveries gathers a block. Two batches of a block share its outcomes.
pub(super) fn blocks_of(ids: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut blocks: Vec<i64> = ids.map(|id| id / BLOCK * BLOCK).collect();
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}

impl Log {
    /// A page of an upload's rows, in row order, with their outcomes in a queue: the messages of up
    /// to `batches` batches, and where the next page begins (`None` after the last).
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn rows(
        &self,
        upload: UploadId,
        queue: QueueId,
        after: PageAfter,
        batches: u32,
    ) -> Result<(Vec<RowOutcome>, Option<PageAfter>), LogError> {
        let batches = self.ranges_after(upload, after, batches).await?;
        let Some(next) = place_after(&batches) else { return Ok((vec![], None)) };
        let messages = both!(self, log => log.messages_of(&batches).await?);
        let blocks = blocks_of(batches.iter().map(|batch| batch.first_id));
        let ends = self.ends_in(queue, &blocks).await?;
        Ok((page(&batches, messages, ends)?, Some(next)))
    }

    /// The batches of an upload that come after a place, in the order of their rows.
    pub(super) async fn ranges_after(
        &self,
        upload: UploadId,
        after: PageAfter,
        most: u32,
    ) -> Result<Vec<BatchRange>, LogError> {
        let most = i64::from(most);
        let ranges = both!(self, log => log.ranges_after(upload, after, most).await?);
        Ok(ranges.into_iter().map(BatchRange::of).collect())
    }

    /// The ends that begin in blocks, by message.
    pub(super) async fn ends_in(
        &self,
        queue: QueueId,
        blocks: &[i64],
    ) -> Result<HashMap<i64, Ended>, LogError> {
        let outcomes = both!(self, log => log.outcomes_of_blocks(queue, blocks).await?);
        let mut ends = HashMap::new();
        for outcome in &outcomes {
            outcome.expand(&mut ends)?;
        }
        Ok(ends)
    }
}

/// An outcome row, as a page reads it.
#[derive(Debug, Clone)]
pub(super) struct PageOutcome {
    pub(super) first_id: i64,
    pub(super) last_id: i64,
    pub(super) kind: i16,
    pub(super) mask: Option<String>,
    pub(super) ids: Option<Vec<i64>>,
    pub(super) attempts: Option<Vec<i16>>,
    pub(super) items: Option<String>,
    pub(super) settled_at: i64,
}

impl PageOutcome {
    /// The messages that ended by this outcome, each with its end.
    pub(super) fn expand(&self, into: &mut HashMap<i64, Ended>) -> Result<(), LogError> {
        let kind = OutcomeKind::of(self.kind).ok_or(LogError::Damaged("an unknown outcome"))?;
        let outputs: Vec<&RawValue> = match (&self.items, kind) {
            (Some(items), OutcomeKind::Done) => serde_json::from_str(items)
                .map_err(|_| LogError::Damaged("outputs that are not a JSON array"))?,
            _ => vec![],
        };
        let span = match &self.ids {
            Some(ids) => ids.len(),
            None => usize::try_from(self.last_id - self.first_id + 1).unwrap_or(0),
        };
        for place in 0..span {
            if self.mask.as_ref().is_some_and(|mask| mask.as_bytes().get(place) != Some(&b'1')) {
                continue;
            }
            let id = match &self.ids {
                Some(ids) => ids[place],
                None => self.first_id + i64::try_from(place).unwrap_or(0),
            };
            let attempts = self.attempts.as_ref().and_then(|all| all.get(place).copied());
            let ended = Ended {
                kind,
                attempts: attempts.map_or_else(|| delivered(kind), i16::cast_unsigned),
                output: outputs
                    .get(place)
                    .map(|output| output.get())
                    .filter(|o| *o != "null")
                    .map(Into::into),
                error: self.items.as_deref().filter(|_| kind == OutcomeKind::Dead).map(Into::into),
                at_ms: self.settled_at,
            };
            if into.insert(id, ended).is_some() {
                return Err(LogError::Damaged("two outcomes of one message"));
            }
        }
        Ok(())
    }
}

/// Deliveries of a message of which no other number is known.
fn delivered(kind: OutcomeKind) -> Attempt {
    match kind {
        OutcomeKind::Done | OutcomeKind::Dead => 1,
        OutcomeKind::Expired | OutcomeKind::Cancelled => 0,
    }
}

/// The page: each message of the batches, in row order, with its end if it has one.
fn page(
    batches: &[BatchRange],
    messages: Vec<MessageColumns>,
    mut ends: HashMap<i64, Ended>,
) -> Result<Vec<RowOutcome>, LogError> {
    let mut rows: HashMap<i64, (i32, Box<str>)> =
        messages.into_iter().map(|(id, row, data)| (id, (row, data))).collect();
    let mut page = Vec::with_capacity(rows.len());
    for batch in batches {
        for id in batch.first_id..batch.past() {
            let (row, data) = rows
                .remove(&id)
                .ok_or(LogError::Damaged("a batch names a message that is not there"))?;
            page.push(RowOutcome {
                id,
                sheet: batch.sheet.cast_unsigned(),
                row: RowNumber(row.cast_unsigned()),
                data,
                ended: ends.remove(&id),
            });
        }
    }
    Ok(page)
}
