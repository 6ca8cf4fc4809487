//! Which rows an upload has committed already.

use crate::domain::RowNumber;
use crate::store::log::Covered;

/// The committed ranges of rows. They are disjoint, because a batch covers only rows that none
/// covered before it.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// Ascending.
    ranges: Vec<Covered>,
}

impl Coverage {
    /// The coverage by these ranges, in any order.
    pub fn new(mut ranges: Vec<Covered>) -> Self {
        ranges.sort_unstable();
        Self { ranges }
    }

    /// Whether a row is committed.
    pub fn contains(&self, sheet: u16, row: RowNumber) -> bool {
        let after =
            self.ranges.partition_point(|range| (range.sheet, range.first_row) <= (sheet, row));
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|range| {
            range.sheet == sheet && range.first_row <= row && row <= range.last_row
        })
    }

    /// Messages committed.
    pub fn messages(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.messages)).sum()
    }

    /// Those of them that no queue takes.
    pub fn unrouted(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.unrouted)).sum()
    }

    /// Batches committed: the number of the next.
    pub fn batches(&self) -> i32 {
        i32::try_from(self.ranges.len()).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_within_a_range_are_covered_and_others_are_not() {
        let range = |sheet, first, last| Covered {
            sheet,
            first_row: RowNumber(first),
            last_row: RowNumber(last),
            messages: 2,
            unrouted: 1,
        };
        let coverage = Coverage::new(vec![range(1, 2, 4), range(0, 10, 20), range(0, 2, 5)]);
        let covered = |sheet| {
            (1..=21).filter(|row| coverage.contains(sheet, RowNumber(*row))).collect::<Vec<_>>()
        };
        assert_eq!(covered(0), (2..=5).chain(10..=20).collect::<Vec<_>>());
        assert_eq!(covered(1), [2, 3, 4]);
        assert!(covered(2).is_empty());
        assert_eq!((coverage.messages(), coverage.unrouted(), coverage.batches()), (6, 3, 3));
    }
}
