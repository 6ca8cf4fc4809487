//! The ends of an upload's rows in row order, without the rows: what is put beside them when the file
//! is written again. Which row a message is follows from its batch; only where a batch has gaps are its
//! messages looked at. Of a carrier's messages the number itself says it.

use std::collections::HashMap;

use super::rows::{BatchRange, blocks_of, place_after};
use super::types::{Ended, LogError, PageAfter, QueueId, UploadId};
use super::{Dialect, Log};
use rowmill_domain::{FIRST_ROW_NUMBER, RowNumber, RowOfUpload};

/// How a row stands in a queue that takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowEnd {
    /// The sheet, as the reader numbered it.
    pub sheet: u16,
    /// The row.
    pub row: RowNumber,
    /// The queue, by its place among those asked for.
    pub queue: usize,
    /// Its end; nothing as long as it has none.
    pub ended: Option<Ended>,
}

impl Log {
    /// A page of the ends of an upload's rows, those of `ranges` batches, in row order, and where the
    /// next page begins (`None` after the last). Of rows that have not ended in a queue it is looked
    /// whether the queue holds them if `open` says that there can be any.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn row_ends(
        &self,
        upload: UploadId,
        queues: &[QueueId],
        after: PageAfter,
        ranges: u32,
        open: bool,
    ) -> Result<(Vec<RowEnd>, Option<PageAfter>), LogError> {
        let batches = self.ranges_after(upload, after, ranges).await?;
        let Some(next) = place_after(&batches) else { return Ok((vec![], None)) };
        let mut rows: Vec<(u16, RowNumber, i64)> = vec![];
        for batch in &batches {
            self.rows_of_range(upload, batch, &mut rows).await?;
        }
        let blocks = blocks_of(rows.iter().map(|(_, _, id)| *id));
        let mut of_queues = vec![];
        for queue in queues {
            let ends = self.ends_in(*queue, &blocks).await?;
            let left = rows.iter().map(|(_, _, id)| *id).filter(|id| !ends.contains_key(id));
            let left: Vec<i64> = if open { left.collect() } else { vec![] };
            let held =
                if left.is_empty() { HashMap::new() } else { self.copies(*queue, &left).await? };
            of_queues.push((ends, held));
        }
        let mut page = Vec::with_capacity(rows.len() * queues.len());
        for (sheet, row, id) in rows {
            for (queue, (ends, held)) in of_queues.iter_mut().enumerate() {
                let ended = ends.remove(&id);
                // A carrier does not say what it holds; until the upload is over, that may be all.
                if ended.is_some() || (open && (held.contains_key(&id) || id >= FIRST_ROW_NUMBER)) {
                    page.push(RowEnd { sheet, row, queue, ended });
                }
            }
        }
        Ok((page, Some(next)))
    }

    /// The rows of a batch with the numbers of their messages.
    async fn rows_of_range(
        &self,
        upload: UploadId,
        batch: &BatchRange,
        rows: &mut Vec<(u16, RowNumber, i64)>,
    ) -> Result<(), LogError> {
        let number = |row: i32| RowNumber(row.cast_unsigned());
        let BatchRange { first_row, last_row, first_id, n, .. } = *batch;
        let sheet = batch.sheet.cast_unsigned();
        if first_id >= FIRST_ROW_NUMBER {
            rows.extend((first_row..=last_row).filter_map(|row| {
                let row = number(row);
                let id = RowOfUpload { upload: upload.0, sheet, row }.number().ok()?;
                Some((sheet, row, id))
            }));
        } else if last_row - first_row + 1 == n {
            rows.extend(
                (first_row..=last_row).zip(first_id..).map(|(row, id)| (sheet, number(row), id)),
            );
        } else {
            let kept = both!(self, log => log.rows_of(first_id, batch.past()).await?);
            rows.extend(kept.into_iter().map(|(id, row)| (sheet, number(row), id)));
        }
        Ok(())
    }
}
