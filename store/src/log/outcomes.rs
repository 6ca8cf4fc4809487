//! Outcomes by queue and message number, a page at a time, and one message looked up.
//!
//! Outcomes are ranges that begin in the block of the messages they cover, and several may overlap
//! within it. So a page is read block by block, the blocks that have any, and what it says of one
//! block is complete.

use std::collections::HashMap;

use super::rows::PageOutcome;
use super::types::{BLOCK, Ended, Found, LogError, OutcomeQuery, QueueId, UploadId, Whereabouts};
use super::{Dialect, Log};
use rowmill_domain::{MessageState, RowNumber, RowOfUpload};

/// Blocks that one page looks into at most, when most of what it finds is not asked for.
const BLOCKS: usize = 20;

/// Where a message came from: its number, its upload, its row.
pub(super) type MessageOrigin = (i64, Option<i64>, Option<i32>);

impl Log {
    pub(super) async fn page_of_outcomes(
        &self,
        query: OutcomeQuery,
        limit: usize,
    ) -> Result<(Vec<Found>, Option<(QueueId, i64)>), LogError> {
        let mut found: Vec<Found> = vec![];
        let mut blocks = 0;
        let mut after = query.after;
        for queue in self.queues_from(query.queue, after).await? {
            let mut from = match after.take() {
                Some((at, id)) if at == queue => id + 1,
                _ => 0,
            };
            while let Some(first) = self.first_outcome(queue, from, query.upload).await? {
                let block = first / BLOCK * BLOCK;
                let ended = self.ended_in(queue, block, query.upload).await?;
                let mut ids: Vec<i64> = ended
                    .iter()
                    .filter(|(id, ended)| {
                        **id >= from && query.kind.is_none_or(|kind| ended.kind == kind)
                    })
                    .map(|(id, _)| *id)
                    .collect();
                ids.sort_unstable();
                let whole = ids.len() <= limit - found.len();
                ids.truncate(limit - found.len());
                for (id, upload, row) in self.origins(&ids).await? {
                    let Some(ended) = ended.get(&id) else { continue };
                    let at = Whereabouts::Ended(ended.clone());
                    found.push(known(queue, (id, upload, row), at));
                }
                if !whole || found.len() >= limit {
                    let last = ids.last().copied().unwrap_or(from - 1);
                    return Ok((found, Some((queue, last))));
                }
                from = block + BLOCK;
                blocks += 1;
                if blocks >= BLOCKS {
                    return Ok((found, Some((queue, from - 1))));
                }
            }
        }
        Ok((found, None))
    }

    pub(super) async fn look_up(
        &self,
        queue: QueueId,
        message: i64,
    ) -> Result<Option<Found>, LogError> {
        let Some(seen) = self.message(queue, message).await? else {
            return self.carried(queue, message).await;
        };
        let at = match seen.state {
            MessageState::Held | MessageState::Waiting => Whereabouts::Waiting,
            MessageState::InFlight => Whereabouts::InFlight,
            MessageState::Done
            | MessageState::Dead
            | MessageState::Expired
            | MessageState::Cancelled => {
                let block = message / BLOCK * BLOCK;
                match self.ended_in(queue, block, None).await?.remove(&message) {
                    Some(ended) => Whereabouts::Ended(ended),
                    // A redrive brought it back between the two looks.
                    None => Whereabouts::Waiting,
                }
            }
        };
        let upload = seen.upload;
        Ok(Some(Found { id: message, queue, upload, row: seen.place.map(|(_, row)| row), at }))
    }

    /// A message that travels in a carrier, of which no more than its end is known here.
    async fn carried(&self, queue: QueueId, message: i64) -> Result<Option<Found>, LogError> {
        let ended = self.ended_in(queue, message / BLOCK * BLOCK, None).await?.remove(&message);
        let found = |ended| known(queue, carried_origin(message), Whereabouts::Ended(ended));
        Ok(ended.map(found))
    }

    async fn ended_in(
        &self,
        queue: QueueId,
        block: i64,
        of: Option<UploadId>,
    ) -> Result<HashMap<i64, Ended>, LogError> {
        let rows: Vec<PageOutcome> =
            both!(self, log => log.outcomes_of_block(queue, block, of).await?);
        let mut ended = HashMap::new();
        for row in &rows {
            row.expand(&mut ended)?;
        }
        Ok(ended)
    }

    async fn queues_from(
        &self,
        only: Option<QueueId>,
        after: Option<(QueueId, i64)>,
    ) -> Result<Vec<QueueId>, LogError> {
        if let Some(only) = only {
            return Ok(vec![only]);
        }
        let first = after.map_or(QueueId(0), |(queue, _)| queue);
        both!(self, log => log.queues_from(first).await)
    }

    async fn first_outcome(
        &self,
        queue: QueueId,
        from: i64,
        of: Option<UploadId>,
    ) -> Result<Option<i64>, LogError> {
        both!(self, log => log.first_outcome(queue, from, of).await)
    }

    async fn origins(&self, ids: &[i64]) -> Result<Vec<MessageOrigin>, LogError> {
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let kept = both!(self, log => log.origins(ids).await)?;
        let mut kept: HashMap<i64, MessageOrigin> =
            kept.into_iter().map(|origin| (origin.0, origin)).collect();
        Ok(ids.iter().map(|id| kept.remove(id).unwrap_or_else(|| carried_origin(*id))).collect())
    }
}

/// A message that is not kept here may be a row all the same: its number says so.
fn carried_origin(id: i64) -> MessageOrigin {
    let row = RowOfUpload::of(id);
    (id, row.map(|row| row.upload), row.map(|row| row.row.0.cast_signed()))
}

fn known(queue: QueueId, (id, upload, row): MessageOrigin, at: Whereabouts) -> Found {
    Found {
        id,
        queue,
        upload: upload.map(UploadId),
        row: row.map(|row| RowNumber(row.cast_unsigned())),
        at,
    }
}
