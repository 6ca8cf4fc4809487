//! Numbers of messages that are derived from what they are, not drawn from a sequence: whoever sends
//! a row twice sends it under one number, and its outcome is recorded once.
//!
//! A derived number has bit 59 or bit 58 set, which no sequence reaches; all fit the 60 bits that a
//! [`MessageId`](super::MessageId) has room for. Layout of a row's, most significant first: bit 59
//! set, 28 bits of upload, one bit that says how the other 30 are used: 10 bits of sheet and 20 of
//! row, which is every row of a worksheet, or 2 bits of sheet and 28 of row, for longer texts. Rows
//! count from 0 in it. So the rows of one upload are a range, as those of one sheet are, but for rows
//! beyond the first 2^20.

use sha2::{Digest, Sha256};

use super::RowNumber;

/// Set in the number of a row, and in no other.
const ROW: i64 = 1 << 59;
/// Set in the number that a name stands for, without [`ROW`].
const NAMED: i64 = 1 << 58;
/// Set when a row has the long form.
const LONG: i64 = 1 << 30;
/// The numbers of one upload's rows.
const UPLOAD_SPAN: i64 = 1 << 31;
const MOST_UPLOADS: i64 = 1 << 28;
const SHORT_ROW_BITS: u32 = 20;
const LONG_ROW_BITS: u32 = 28;
const SHORT_SHEETS: i64 = 1 << 10;
const LONG_SHEETS: i64 = 1 << 2;

/// The first of the numbers that rows have.
pub const FIRST_ROW_NUMBER: i64 = ROW;

/// A row that has no number: its upload, sheet or row is beyond what the number has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "row {row} of sheet {sheet} of upload {upload} has no number: at most 2^28 uploads, 1,024 sheets of 2^20 rows, or the first 4 sheets with 2^28 rows"
)]
pub struct NoNumber {
    upload: i64,
    sheet: u16,
    row: RowNumber,
}

/// Whose row a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowOfUpload {
    /// The upload's number.
    pub upload: i64,
    /// The sheet, as the reader numbered it.
    pub sheet: u16,
    /// The row in that sheet.
    pub row: RowNumber,
}

impl RowOfUpload {
    /// The row's number.
    ///
    /// # Errors
    /// [`NoNumber`].
    pub fn number(self) -> Result<i64, NoNumber> {
        let Self { upload, sheet, row } = self;
        let none = NoNumber { upload, sheet, row };
        let at = i64::from(row.0) - 1;
        let wide = i64::from(sheet);
        if !(0..MOST_UPLOADS).contains(&upload) || at < 0 {
            return Err(none);
        }
        let place = if at < 1 << SHORT_ROW_BITS && wide < SHORT_SHEETS {
            wide << SHORT_ROW_BITS | at
        } else if at < 1 << LONG_ROW_BITS && wide < LONG_SHEETS {
            LONG | wide << LONG_ROW_BITS | at
        } else {
            return Err(none);
        };
        Ok(ROW | (upload * UPLOAD_SPAN) | place)
    }

    /// Whose row the number is; nothing for one that is no row's.
    pub fn of(number: i64) -> Option<Self> {
        if !(ROW..ROW << 1).contains(&number) {
            return None;
        }
        let place = number % UPLOAD_SPAN;
        let bits = if place & LONG == 0 { SHORT_ROW_BITS } else { LONG_ROW_BITS };
        let at = place & ((1 << bits) - 1);
        let sheet = (place & (LONG - 1)) >> bits;
        Some(Self {
            upload: (number & (ROW - 1)) / UPLOAD_SPAN,
            sheet: u16::try_from(sheet).ok()?,
            row: RowNumber(u32::try_from(at + 1).ok()?),
        })
    }

    /// The numbers that the rows of an upload may have: from the first to before the second. Nothing
    /// for an upload whose rows have none.
    pub fn range(upload: i64) -> Option<(i64, i64)> {
        let first = ROW | (upload * UPLOAD_SPAN);
        (0..MOST_UPLOADS).contains(&upload).then_some((first, first + UPLOAD_SPAN))
    }
}

/// The number that a name stands for: the same for the same parts, and for others another, as far as
/// 58 bits of SHA-256 tell them apart.
pub fn named(parts: &[&[u8]]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let first = hash.finalize().iter().take(8).fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    NAMED | (first >> 6).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::MessageKey;

    proptest! {
        #[test]
        fn a_number_says_whose_row_it_is(upload in 0..MOST_UPLOADS, sheet in 0_u16..1024, row in 1_u32..=1 << 20) {
            let of = RowOfUpload { upload, sheet, row: RowNumber(row) };
            let number = of.number().unwrap();
            prop_assert_eq!(RowOfUpload::of(number), Some(of));
            let (first, past) = RowOfUpload::range(upload).unwrap();
            prop_assert!((first..past).contains(&number));
            let key = MessageKey::new(b"k");
            prop_assert_eq!(key.open(key.id(3, number.cast_unsigned())), Some((3, number.cast_unsigned())));
        }

        #[test]
        fn a_long_text_has_numbers_too(upload in 0..MOST_UPLOADS, sheet in 0_u16..4, row in (1_u32 << 20) + 1..=1 << 28) {
            let of = RowOfUpload { upload, sheet, row: RowNumber(row) };
            prop_assert_eq!(RowOfUpload::of(of.number().unwrap()), Some(of));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let number =
            |upload, sheet, row| RowOfUpload { upload, sheet, row: RowNumber(row) }.number();
        for (upload, sheet, row) in [
            (1 << 28, 0, 2),
            (-1, 0, 2),
            (1, 1024, 2),
            (1, 4, (1 << 20) + 1),
            (1, 0, (1 << 28) + 1),
            (1, 0, 0),
        ] {
            assert!(number(upload, sheet, row).is_err(), "{upload} {sheet} {row}");
        }
        assert!(number((1 << 28) - 1, 1023, 1 << 20).unwrap() < 1 << 60);
    }

    #[test]
    fn numbers_of_names_are_no_rows_and_no_sequence_reaches_them() {
        let number = named(&[b"a", b"b"]);
        assert_eq!(number, named(&[b"a", b"b"]));
        assert_ne!(number, named(&[b"ab", b""]));
        assert!((NAMED..ROW).contains(&number));
        assert_eq!(RowOfUpload::of(number), None);
        assert_eq!(RowOfUpload::of(1_000), None);
    }
}
