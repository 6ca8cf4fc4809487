//! Rows that come again: the same in every column, or in those that are the key. What is kept of a
//! row is 64 bits of a hash and its place, for so many rows and no more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use rowmill_domain::{Address, RowNumber};

/// Rows that come again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Duplicates {
    /// How many.
    pub rows: u64,
    /// The first of these: where each is, and where it was first.
    pub first: Vec<(Address, Address)>,
    /// Rows without anything in a column of the key.
    pub without_key: u64,
    /// Whether every row was looked for among all before it: those beyond the limit are not kept.
    pub complete: bool,
}

/// Looks for rows that come again.
#[derive(Debug)]
pub(super) struct Twins {
    seen: HashMap<u64, (u16, RowNumber)>,
    most: usize,
    addresses: usize,
    found: u64,
    without_key: u64,
    complete: bool,
    first: Vec<((u16, RowNumber), (u16, RowNumber))>,
    hasher: DefaultHasher,
}

impl Twins {
    pub(super) fn new(most: usize, addresses: usize) -> Self {
        Self {
            seen: HashMap::new(),
            most,
            addresses,
            found: 0,
            without_key: 0,
            complete: true,
            first: vec![],
            hasher: DefaultHasher::new(),
        }
    }

    /// A value that the row at hand is known by.
    pub(super) fn value(&mut self, place: usize, value: &impl Hash) {
        (place, value).hash(&mut self.hasher);
    }

    /// Ends the row at hand; one that lacks something in its key is like no other.
    pub(super) fn end_row(&mut self, sheet: u16, row: RowNumber, has_key: bool) {
        let hash = std::mem::take(&mut self.hasher).finish();
        if !has_key {
            self.without_key += 1;
            return;
        }
        let room = self.seen.len() < self.most;
        match self.seen.entry(hash) {
            Entry::Occupied(earlier) => {
                self.found += 1;
                if self.first.len() < self.addresses {
                    self.first.push(((sheet, row), *earlier.get()));
                }
            }
            Entry::Vacant(place) if room => {
                place.insert((sheet, row));
            }
            Entry::Vacant(_) => self.complete = false,
        }
    }

    /// What was found; `name` knows the sheets.
    pub(super) fn end(self, name: impl Fn(u16) -> Option<String>) -> Duplicates {
        let at = |(sheet, row): (u16, RowNumber)| Address {
            sheet: name(sheet),
            row: Some(row),
            column: None,
        };
        Duplicates {
            rows: self.found,
            first: self.first.into_iter().map(|(again, first)| (at(again), at(first))).collect(),
            without_key: self.without_key,
            complete: self.complete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_found_as_far_as_rows_are_kept() {
        let mut twins = Twins::new(2, 1);
        for (row, value) in [(2, "a"), (3, "b"), (4, "a"), (5, "c"), (6, "c"), (7, "b")] {
            twins.value(0, &value);
            twins.end_row(0, RowNumber(row), true);
        }
        twins.end_row(0, RowNumber(8), false);
        let found = twins.end(|_| Some("S".into()));
        assert_eq!((found.rows, found.without_key, found.complete), (2, 1, false));
        let (again, first) = &found.first[0];
        assert_eq!((again.to_string(), first.to_string()), ("S!4:4".into(), "S!2:2".into()));
        assert_eq!(found.first.len(), 1);
    }

    #[test]
    fn a_value_counts_where_it_stands() {
        let mut twins = Twins::new(9, 9);
        for (row, values) in [(2, ["a", ""]), (3, ["", "a"])] {
            for (place, value) in values.iter().enumerate() {
                twins.value(place, value);
            }
            twins.end_row(0, RowNumber(row), true);
        }
        let found = twins.end(|_| None);
        assert_eq!((found.rows, found.complete), (0, true));
    }
}
