//! Pages of an upload's rows and findings, in row order and of any size, and where each row's
//! message is in a queue: what the HTTP API shows, asked for a page at a time.
//!
//! A page begins after a row, not after a batch, so that its size is the asker's to choose. It is
//! bounded in bytes too: rows are read one by one until either limit is reached.

use std::collections::HashMap;

use super::types::{BLOCK, LogError, OutcomeKind, QueueId, UploadId};
use super::{Dialect, Log, sqlite};
use rowmill_domain::RowNumber;

/// Batches looked at in one step while a page is filled.
pub(super) const BATCHES_A_STEP: i64 = 64;

/// A row of an upload: its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRow {
    /// The message's number.
    pub id: i64,
    /// Where it is.
    pub at: RowAt,
    /// JSON.
    pub data: Box<str>,
}

/// A row's place in an upload; rows are in the order of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowAt {
    /// The sheet, as the reader numbered it.
    pub sheet: u16,
    /// The row.
    pub row: RowNumber,
}

/// A page of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowPage {
    /// The rows, in order.
    pub rows: Vec<UploadRow>,
    /// Whether there are rows after them.
    pub more: bool,
}

/// A finding's place among an upload's findings; they are in the order of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FindingAt {
    /// The sheet and the row.
    pub at: RowAt,
    /// Which of the row's.
    pub ordinal: u32,
}

/// How a message of a queue stands: `None` until it has ended.
pub type CopyState = Option<OutcomeKind>;

impl Log {
    /// The rows of an upload that come after `after`, in row order: up to `limit` of them, and,
    /// unless the first alone has more, up to `bytes` bytes of data.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn upload_rows(
        &self,
        upload: UploadId,
        after: Option<RowAt>,
        limit: usize,
        bytes: usize,
    ) -> Result<RowPage, LogError> {
        let filling = Filling { page: RowPage::default(), limit, bytes };
        both!(self, log => log.upload_rows(upload, after, filling).await)
    }

    /// How the messages of these numbers stand in a queue, at one moment. Those that the queue does
    /// not hold (because its filters did not take them, for one) are left out.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn copies(
        &self,
        queue: QueueId,
        ids: &[i64],
    ) -> Result<HashMap<i64, CopyState>, LogError> {
        // Everything that holds a message begins in the message's block.
        let mut blocks: Vec<i64> = ids.iter().map(|id| id / BLOCK * BLOCK).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let places = match &self.0 {
            Dialect::Postgres(log) => log.places(&log.pool, queue, &blocks).await?,
            Dialect::Sqlite(log) => sqlite::places(&log.readers, queue, &blocks).await?,
        };
        let mut copies = HashMap::new();
        for place in places {
            place.expand(&mut copies)?;
        }
        Ok(copies)
    }

    /// The findings of an upload that come after `after`, as JSON, in row order; `limit` at most.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn findings_after(
        &self,
        upload: UploadId,
        after: Option<FindingAt>,
        limit: usize,
    ) -> Result<Vec<(FindingAt, String)>, LogError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = both!(self, log => log.findings_after(upload, after, limit).await?);
        Ok(rows
            .into_iter()
            .map(|(sheet, row, ordinal, content)| {
                let ordinal = ordinal.cast_unsigned();
                (FindingAt { at: row_at(sheet, row), ordinal }, content)
            })
            .collect())
    }
}

/// A place as its columns hold it; before everything if there is none.
pub(super) fn columns(at: Option<RowAt>) -> (i16, i32) {
    at.map_or((-1, -1), |at| (at.sheet.cast_signed(), at.row.0.cast_signed()))
}

fn row_at(sheet: i16, row: i32) -> RowAt {
    RowAt { sheet: sheet.cast_unsigned(), row: RowNumber(row.cast_unsigned()) }
}

/// A page that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    page: RowPage,
    limit: usize,
    bytes: usize,
}

impl Filling {
    /// How many rows still fit, and one to see whether there are more.
    pub(super) fn room(&self) -> i64 {
        i64::try_from(self.limit - self.page.rows.len() + 1).unwrap_or(i64::MAX)
    }

    /// Takes a row; `false` when the page is full without it.
    pub(super) fn push(&mut self, (id, sheet, row, data): (i64, i16, i32, String)) -> bool {
        let fits = self.page.rows.is_empty() || data.len() <= self.bytes;
        if !fits || self.page.rows.len() >= self.limit {
            self.page.more = true;
            return false;
        }
        self.bytes = self.bytes.saturating_sub(data.len());
        self.page.rows.push(UploadRow { id, at: row_at(sheet, row), data: data.into() });
        true
    }

    /// The batches, of those that come next, that certainly suffice: the first may begin before the
    /// page does.
    pub(super) fn enough<'a>(&self, batches: &'a [NextBatch]) -> &'a [NextBatch] {
        let (mut rows, mut upto) = (0, 1);
        for (_, _, _, n) in batches.iter().skip(1) {
            if rows >= self.room() {
                break;
            }
            rows += i64::from(*n);
            upto += 1;
        }
        &batches[..upto.min(batches.len())]
    }

    pub(super) fn done(self) -> RowPage {
        self.page
    }
}

/// Sheet, first row, first id, messages.
pub(super) type NextBatch = (i16, i32, i64, i32);

/// What holds messages of a queue: which table, first id, positions, the first position that is
/// left, the kind of an outcome, a mask, and ids (offsets, for a segment).
pub(super) type PlaceColumns = (i64, i64, i64, i64, i64, Option<String>, Option<Vec<i64>>);

#[derive(Debug)]
pub(super) struct Place(pub(super) PlaceColumns);

impl Place {
    /// What the statements say in the first column.
    pub(super) const SEGMENT: i64 = 0;
    pub(super) const LEASE: i64 = 1;
    pub(super) const REDELIVERY: i64 = 2;
    pub(super) const OUTCOME: i64 = 3;

    /// The position under which it holds a message; `None` when it does not.
    pub(super) fn position_of(&self, id: i64) -> Option<usize> {
        let (what, first, size, next, _, _, ids) = &self.0;
        let place = match ids {
            Some(ids) => {
                let named = if *what == Self::SEGMENT { id - first } else { id };
                ids.iter().position(|id| *id == named)?
            }
            None => usize::try_from(id - first).ok().filter(|_| id - first < *size)?,
        };
        (i64::try_from(place).ok()? >= *next && self.is_there(place)).then_some(place)
    }

    /// The messages it holds, by position.
    pub(super) fn ids(&self) -> Vec<i64> {
        let (what, first, size, next, _, _, ids) = &self.0;
        let size = ids.as_ref().map_or(*size, |ids| i64::try_from(ids.len()).unwrap_or(0));
        let mut all = vec![];
        for position in *next..size {
            let place = usize::try_from(position).unwrap_or(usize::MAX);
            if !self.is_there(place) {
                continue;
            }
            all.extend(match ids.as_ref().map(|ids| ids.get(place)) {
                Some(Some(offset)) if *what == Self::SEGMENT => Some(first + offset),
                Some(id) => id.copied(),
                None => Some(first + position),
            });
        }
        all
    }

    /// A lease's mask marks what has left it, an outcome's what is in it.
    fn is_there(&self, place: usize) -> bool {
        let marked = self.0.5.as_ref().map(|mask| mask.as_bytes().get(place) == Some(&b'1'));
        match self.0.0 {
            Self::LEASE => marked != Some(true),
            _ => marked != Some(false),
        }
    }

    /// How the messages it holds ended, if they have.
    pub(super) fn state(&self) -> Result<CopyState, LogError> {
        if self.0.0 != Self::OUTCOME {
            return Ok(None);
        }
        let kind = i16::try_from(self.0.4).ok().and_then(OutcomeKind::of);
        kind.map(Some).ok_or(LogError::Damaged("an unknown outcome"))
    }

    fn expand(&self, into: &mut HashMap<i64, CopyState>) -> Result<(), LogError> {
        let state = self.state()?;
        into.extend(self.ids().into_iter().map(|id| (id, state)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(place: PlaceColumns) -> Vec<(i64, CopyState)> {
        let mut copies = HashMap::new();
        let place = Place(place);
        place.expand(&mut copies).unwrap();
        for id in 990..1020 {
            assert_eq!(place.position_of(id).is_some(), copies.contains_key(&id), "{id}");
        }
        let mut copies: Vec<_> = copies.into_iter().collect();
        copies.sort_unstable_by_key(|(id, _)| *id);
        copies
    }

    #[test]
    fn each_place_names_the_messages_it_holds() {
        let segment = (Place::SEGMENT, 1000, 3, 1, 0, None, Some(vec![0, 4, 7]));
        assert_eq!(expanded(segment), [(1004, None), (1007, None)]);
        let lease = (Place::LEASE, 1000, 3, 0, 0, Some("010".into()), None);
        assert_eq!(expanded(lease), [(1000, None), (1002, None)]);
        assert_eq!(
            expanded((Place::REDELIVERY, 1009, 1, 0, 0, None, None)),
            [(1009, None)],
            "a redelivery is one message"
        );
        let done = OutcomeKind::Done;
        let outcome =
            (Place::OUTCOME, 1000, 8, 0, 1, Some("101".into()), Some(vec![1000, 1005, 1007]));
        assert_eq!(expanded(outcome), [(1000, Some(done)), (1007, Some(done))]);
    }

    #[test]
    fn a_page_is_bounded_in_rows_and_in_bytes() {
        let mut page = Filling { page: RowPage::default(), limit: 3, bytes: 4 };
        assert!(page.push((1, 0, 2, "longer than that".into())), "the first always fits");
        assert!(!page.push((2, 0, 3, "x".into())));
        assert!(page.done().more);
        let mut page = Filling { page: RowPage::default(), limit: 1, bytes: 4 };
        assert_eq!(page.room(), 2);
        assert_eq!(page.enough(&[(0, 2, 0, 9), (0, 11, 9, 2), (0, 13, 11, 1)]).len(), 2);
        assert!(page.push((1, 0, 2, "x".into())));
        assert!(!page.push((2, 0, 3, "y".into())));
        assert_eq!(page.done().rows.len(), 1);
    }
}
