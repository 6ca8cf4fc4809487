//! The ledger of messages that travel in a carrier: the coverage of batches that a carrier has
//! confirmed, and the ends of messages, each recorded once however often the carrier delivers it.
//!
//! `carried_end` has a row a message and is the guard; whoever adds the row has ended the message, and
//! in the same transaction its end becomes part of `outcome`, in ranges within a block as for all
//! messages. So whoever reads outcomes need not know what carried them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::plan::{OutcomeRow, storable};
use super::types::{BLOCK, LogError, OutcomeKind, Publication, QueueId, RowsOf, TopicId, UploadId};
use super::{Dialect, Log};
use rowmill_domain::{Attempt, FIRST_ROW_NUMBER};

/// Where the numbers of rows begin, for the statements. Those that look for the end of an upload's
/// numbers have it written out, 576460752303423488, beside the span of one upload's, 2147483648: rows
/// of the long form lie beyond the last batch's own.
pub(super) const DERIVED: i64 = FIRST_ROW_NUMBER;

/// A batch of an upload's rows that a carrier has confirmed.
#[derive(Debug, Clone)]
pub struct CarriedBatch {
    /// The topic.
    pub topic: TopicId,
    /// The version of the topic's routes by which it was sent.
    pub routes_version: i32,
    /// The number of the first row that it covers.
    pub first_id: i64,
    /// Its messages.
    pub messages: u32,
    /// The rows that it covers.
    pub rows: RowsOf,
    /// How many of its messages were sent to each queue.
    pub copies: Vec<(QueueId, u32)>,
    /// How many no queue takes.
    pub unrouted: u32,
    /// Copies that ended at once, because the carrier refused them.
    pub refused: Vec<End>,
}

/// The end of a message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The queue.
    pub queue: QueueId,
    /// The message's number.
    pub message: i64,
    /// The upload it is a row of.
    pub upload: Option<UploadId>,
    /// How.
    pub kind: OutcomeKind,
    /// Deliveries it took.
    pub attempts: Attempt,
    /// The output of a done one, as JSON text, or the error of a dead one.
    pub item: Option<Box<str>>,
}

/// What the ledger knows of messages that were taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Those that have ended, and how.
    pub ended: HashMap<i64, OutcomeKind>,
    /// The uploads whose rows are to be worked on.
    pub open: HashSet<UploadId>,
}

/// What a statement answers of each: 0 and a message's number and kind, or 1, an upload's number, and
/// whether it is open.
pub(super) type KnownColumns = (i64, i64, i16);

impl Log {
    /// Commits the coverage of a batch, under the upload's epoch and the topic's routes.
    ///
    /// # Errors
    /// As [`Log::publish`]; nothing was changed then.
    pub async fn commit_carried(&self, batch: &CarriedBatch) -> Result<(), LogError> {
        both!(self, log => log.commit_carried(batch).await)
    }

    /// Records ends, in one step. Answers, in the order asked, which are new: of several ends of a
    /// message the first is. What a deleted queue or upload holds is not recorded.
    ///
    /// # Errors
    /// [`LogError`]; nothing was recorded then.
    pub async fn record_ends(&self, ends: &[End]) -> Result<Vec<bool>, LogError> {
        if ends.is_empty() {
            return Ok(vec![]);
        }
        both!(self, log => log.record_ends(ends).await)
    }

    /// What is known of these messages of a queue, and of these uploads.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn known(
        &self,
        queue: QueueId,
        messages: &[i64],
        uploads: &[UploadId],
    ) -> Result<Known, LogError> {
        let uploads: Vec<i64> = uploads.iter().map(|upload| upload.0).collect();
        let rows = both!(self, log => log.known(queue, messages, &uploads).await)?;
        let mut known = Known::default();
        for (what, number, value) in rows {
            if what == 1 {
                if value == 1 {
                    known.open.insert(UploadId(number));
                }
                continue;
            }
            let kind = OutcomeKind::of(value).ok_or(LogError::Damaged("an unknown end"))?;
            known.ended.insert(number, kind);
        }
        Ok(known)
    }

    /// Forgets the deaths of messages in a queue: they begin a new life there.
    ///
    /// # Errors
    /// [`LogError`]; nothing was forgotten then.
    pub async fn forget_deaths(&self, queue: QueueId, messages: &[i64]) -> Result<(), LogError> {
        both!(self, log => log.forget_deaths(queue, messages).await)
    }

    /// The publish of that name, if there was one.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn publication(
        &self,
        topic: TopicId,
        key: &str,
    ) -> Result<Option<Publication>, LogError> {
        let found = both!(self, log => log.publication(topic, key).await)?;
        let publication =
            |(fingerprint, answer)| Publication { key: key.to_owned(), fingerprint, answer };
        Ok(found.map(publication))
    }

    /// Records that a publish was made; one of that name that is there already stays.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn remember_publication(
        &self,
        topic: TopicId,
        once: &Publication,
    ) -> Result<(), LogError> {
        both!(self, log => log.remember_publication(topic, once).await)
    }

    /// Removes the recorded ends of carried messages that are no rows of uploads and ended longer
    /// than `age` ago; about `most` messages a step. Answers how many.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn remove_carried(&self, age: Duration, most: u32) -> Result<u64, LogError> {
        both!(self, log => log.remove_carried(age, i64::from(most)).await)
    }
}

/// Which of the ends are new, when these were: of several ends of one message, the first.
pub(super) fn new_of(ends: &[End], added: impl IntoIterator<Item = (i32, i64)>) -> Vec<bool> {
    let mut added: HashSet<(i32, i64)> = added.into_iter().collect();
    ends.iter().map(|end| added.remove(&(end.queue.0, end.message))).collect()
}

/// The rows for `outcome`: those done together and those that came to another end but death, by block
/// and upload; a row for each dead one, so that a redrive can take it back.
pub(super) fn outcome_rows(ends: &[End], new: &[bool]) -> Vec<OutcomeRow> {
    let mut rows = vec![];
    let mut groups: BTreeMap<(i32, Option<i64>, i16, i64), Vec<&End>> = BTreeMap::new();
    for (end, _) in ends.iter().zip(new).filter(|(_, new)| **new) {
        if end.kind == OutcomeKind::Dead {
            rows.push(OutcomeRow {
                items: end.item.as_deref().map(storable),
                ..row(end, vec![end])
            });
            continue;
        }
        let upload = end.upload.map(|upload| upload.0);
        let block = end.message / BLOCK;
        groups.entry((end.queue.0, upload, end.kind.number(), block)).or_default().push(end);
    }
    for mut group in groups.into_values() {
        group.sort_unstable_by_key(|end| end.message);
        let Some(first) = group.first() else { continue };
        rows.push(row(first, group));
    }
    rows
}

/// The row of some ends, ascending, of which `first` is the first.
fn row(first: &End, group: Vec<&End>) -> OutcomeRow {
    let last_id = group.last().map_or(first.message, |last| last.message);
    let run = last_id - first.message + 1 == i64::try_from(group.len()).unwrap_or(0);
    let attempts = |end: &&End| i16::try_from(end.attempts).unwrap_or(i16::MAX);
    let outputs = group.iter().map(|end| end.item.as_deref().unwrap_or("null"));
    let outputs: Vec<&str> = outputs.collect();
    let any = outputs.iter().any(|output| *output != "null");
    OutcomeRow {
        queue: first.queue,
        first_id: first.message,
        last_id,
        upload: first.upload,
        kind: first.kind,
        n: group.len(),
        mask: None,
        ids: (!run).then(|| group.iter().map(|end| end.message).collect()),
        attempts: Some(group.iter().map(attempts).collect()),
        items: (any && first.kind == OutcomeKind::Done).then(|| format!("[{}]", outputs.join(","))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(message: i64, kind: OutcomeKind, item: Option<&str>) -> End {
        let item = item.map(Into::into);
        End { queue: QueueId(1), message, upload: None, kind, attempts: 1, item }
    }

    #[test]
    fn ends_become_ranges_within_a_block_and_the_dead_rows_of_their_own() {
        let (done, dead) = (OutcomeKind::Done, OutcomeKind::Dead);
        let ends = [
            end(1003, done, None),
            end(1001, done, Some("7")),
            end(2000, done, None),
            end(1002, dead, Some("no\0")),
            end(1005, done, None),
        ];
        let rows = outcome_rows(&ends, &[true, true, true, true, false]);
        let said: Vec<_> = rows
            .iter()
            .map(|row| (row.first_id, row.last_id, row.n, row.ids.clone(), row.items.as_deref()))
            .collect();
        assert_eq!(
            said,
            [
                (1002, 1002, 1, None, Some("no\u{FFFD}")),
                (1001, 1003, 2, Some(vec![1001, 1003]), Some("[7,null]")),
                (2000, 2000, 1, None, None),
            ]
        );
    }

    #[test]
    fn of_two_ends_of_one_message_the_first_is_new() {
        let done = OutcomeKind::Done;
        let ends = [end(1, done, None), end(2, done, None), end(1, OutcomeKind::Dead, None)];
        assert_eq!(new_of(&ends, [(1, 1)]), [true, false, false]);
    }
}
