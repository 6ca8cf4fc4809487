//! The rows of an upload with their outcomes, in row order.
//!
//! Outcomes are stored by ranges of ids, and batches say which rows those ids are. A page is some
//! batches, in the order of their rows: after a crash, a gap in the rows is filled by later ids, so
//! the order of ids alone would not do. Both databases fetch the three parts; they are put together
//! here.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::types::{Ended, LogError, OutcomeKind, RowOutcome};
use crate::domain::{Attempt, RowNumber};

/// A batch, as a page reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageBatch {
    pub(super) sheet: i16,
    pub(super) first_row: i32,
    pub(super) first_id: i64,
    pub(super) n: i32,
}

impl PageBatch {
    /// The id after its last.
    pub(super) fn past(&self) -> i64 {
        self.first_id + i64::from(self.n)
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
pub(super) fn page(
    batches: &[PageBatch],
    messages: Vec<(i64, i32, Box<str>)>,
    outcomes: &[PageOutcome],
) -> Result<Vec<RowOutcome>, LogError> {
    let mut ends = HashMap::with_capacity(messages.len());
    for outcome in outcomes {
        outcome.expand(&mut ends)?;
    }
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
