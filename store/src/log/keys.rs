//! What rows are known by. A key belongs to the row that took it first; whoever brings another row with
//! it is told whose it is. The row that holds a key is known by its upload, its sheet and its number, so
//! that an ingestion that goes on after a crash meets its own keys as its own; and a key is given up by
//! a message that ended without being done (dead, expired, cancelled), so that what failed may be sent
//! once more.
//!
//! Keys are taken before the batch is published, in one transaction a batch under the upload's epoch,
//! and go with their upload. What an upload in between holds and has not published is published when
//! its ingestion goes on, or given up with it.

use std::collections::{HashMap, HashSet};

use super::types::{Fence, LogError, UploadId};
use super::{Dialect, Log};
use rowmill_domain::{RowNumber, RowOfUpload};

/// A key: the first half of a SHA-256.
pub type RowKey = [u8; 16];

/// A row of a batch, and what it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRow {
    /// The row.
    pub row: RowNumber,
    /// Its keys; a row without any is like no other.
    pub keys: Vec<RowKey>,
}

/// The rows of a batch that is to be published.
#[derive(Debug, Clone)]
pub struct Claim {
    /// For which upload, and by which right.
    pub fence: Fence,
    /// The sheet, as the reader numbered it.
    pub sheet: u16,
    /// The number of the first message; 0 where messages have the numbers of their rows.
    pub first_id: i64,
    /// The rows, ascending.
    pub rows: Vec<KeyedRow>,
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The upload.
    pub upload: UploadId,
    /// Its public id.
    pub public_id: String,
    /// The sheet, as the reader numbered it.
    pub sheet: u16,
    /// The row.
    pub row: RowNumber,
}

/// A key that was there before.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) holder: Holder,
    /// Whether the holder's message ended without being done, or its upload is gone.
    pub(super) given_up: bool,
}

/// A key that a row gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) key: RowKey,
    pub(super) row: RowNumber,
    pub(super) message: i64,
}

/// What is to be done with the keys of a batch.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// By row: whose its key is, if it is a duplicate.
    pub(super) duplicates: Vec<Option<Holder>>,
    pub(super) taken: Vec<Taken>,
}

impl Claim {
    /// Every key, each once, in their order: the order in which they are locked.
    pub(super) fn keys(&self) -> Vec<RowKey> {
        let mut keys: Vec<RowKey> = self.rows.iter().flat_map(|row| row.keys.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Every key with the first row that has it, as it is if none was there before.
    pub(super) fn first_of_each(&self) -> Result<Vec<Taken>, LogError> {
        let hoped = self.decide(&HashMap::new())?.taken;
        let mut seen: HashSet<RowKey> = hoped.iter().map(|taken| taken.key).collect();
        let all = self.rows.iter().flat_map(|row| row.keys.iter().map(|key| (*key, row.row)));
        let rest = all.filter(|(key, _)| seen.insert(*key));
        let rest: Vec<_> = rest.map(|(key, row)| Taken { key, row, message: 0 }).collect();
        Ok([hoped, rest].concat())
    }

    /// Decides, row by row: of rows with the same key the first has it.
    pub(super) fn decide(&self, held: &HashMap<RowKey, Held>) -> Result<Decision, LogError> {
        let mut decision = Decision::default();
        let mut ours: HashMap<RowKey, RowNumber> = HashMap::new();
        let mut next = self.first_id;
        for row in &self.rows {
            let before = |key: &RowKey| -> Option<Holder> {
                if let Some(first) = ours.get(key) {
                    return Some(Holder {
                        upload: self.fence.upload,
                        public_id: String::new(),
                        sheet: self.sheet,
                        row: *first,
                    });
                }
                let held = held.get(key)?;
                let same_upload = held.holder.upload == self.fence.upload;
                let same =
                    same_upload && held.holder.sheet == self.sheet && held.holder.row == row.row;
                let free = same || (held.given_up && !same_upload);
                (!free).then(|| held.holder.clone())
            };
            let duplicate_of = row.keys.iter().find_map(before);
            if duplicate_of.is_none() {
                let message = self.number(row.row, next)?;
                next += 1;
                for key in &row.keys {
                    ours.insert(*key, row.row);
                    decision.taken.push(Taken { key: *key, row: row.row, message });
                }
            }
            decision.duplicates.push(duplicate_of);
        }
        Ok(decision)
    }

    /// The number of a row's message, if it is the next that is published.
    fn number(&self, row: RowNumber, next: i64) -> Result<i64, LogError> {
        if self.first_id > 0 {
            return Ok(next);
        }
        let of = RowOfUpload { upload: self.fence.upload.0, sheet: self.sheet, row };
        // What has no number is refused when it is published.
        Ok(of.number().unwrap_or(0))
    }
}

impl Decision {
    /// The keys of the batch that no row gets.
    pub(super) fn unused(&self, all: &[RowKey]) -> Vec<RowKey> {
        let used: HashSet<RowKey> = self.taken.iter().map(|taken| taken.key).collect();
        all.iter().filter(|key| !used.contains(*key)).copied().collect()
    }
}

impl Log {
    /// Takes the keys of a batch's rows for them. Answers, by row, whose its key is if it is a
    /// duplicate; such a row takes none. Asked again, it answers the same.
    ///
    /// # Errors
    /// [`LogError::LeaseLost`] when the upload is no longer this publisher's.
    pub async fn claim(&self, claim: &Claim) -> Result<Vec<Option<Holder>>, LogError> {
        if claim.rows.iter().all(|row| row.keys.is_empty()) {
            return Ok(vec![None; claim.rows.len()]);
        }
        both!(self, log => log.claim(claim).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: RowKey = [1; 16];
    const B: RowKey = [2; 16];

    fn claim(rows: &[(u32, &[RowKey])]) -> Claim {
        let row =
            |(row, keys): &(u32, &[RowKey])| KeyedRow { row: RowNumber(*row), keys: keys.to_vec() };
        Claim {
            fence: Fence { upload: UploadId(7), epoch: 1 },
            sheet: 0,
            first_id: 1_000,
            rows: rows.iter().map(row).collect(),
        }
    }

    fn held(upload: i64, row: u32, given_up: bool) -> Held {
        let public_id = String::new();
        let holder = Holder { upload: UploadId(upload), public_id, sheet: 0, row: RowNumber(row) };
        Held { holder, given_up }
    }

    fn duplicates(claim: &Claim, before: &[(RowKey, Held)]) -> Vec<Option<u32>> {
        let decision = claim.decide(&before.iter().cloned().collect()).unwrap();
        decision.duplicates.iter().map(|one| one.as_ref().map(|holder| holder.row.0)).collect()
    }

    #[test]
    fn the_first_row_has_the_key() {
        let claim = claim(&[(2, &[A]), (3, &[A]), (4, &[]), (5, &[B])]);
        assert_eq!(duplicates(&claim, &[]), [None, Some(2), None, None]);
        let decision = claim.decide(&HashMap::new()).unwrap();
        let messages: Vec<_> = decision.taken.iter().map(|taken| taken.message).collect();
        assert_eq!(messages, [1_000, 1_002]);
    }

    #[test]
    fn a_key_is_its_holders_until_that_gives_it_up() {
        let claim = claim(&[(2, &[A])]);
        assert_eq!(duplicates(&claim, &[(A, held(6, 9, false))]), [Some(9)]);
        assert_eq!(duplicates(&claim, &[(A, held(6, 9, true))]), [None]);
        assert_eq!(duplicates(&claim, &[(A, held(7, 2, false))]), [None], "its own");
        assert_eq!(duplicates(&claim, &[(A, held(7, 9, true))]), [Some(9)], "in the same file");
    }

    #[test]
    fn a_duplicate_takes_none_of_its_keys() {
        let claim = claim(&[(2, &[A, B]), (3, &[B])]);
        let decision = claim.decide(&HashMap::from([(A, held(6, 9, false))])).unwrap();
        assert_eq!(decision.taken, [Taken { key: B, row: RowNumber(3), message: 1_000 }]);
        assert_eq!(decision.unused(&claim.keys()), [A]);
    }
}
