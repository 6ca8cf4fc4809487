//! The ends of rows as they come from the log: records in the order of sheets and rows, one a row and
//! queue. The file is written before the columns are known, because the keys of all outputs must be
//! seen first, and lies on the disk so that memory does not grow with the rows.
//!
//! A record is `sheet u16, row u32, queue u16, status u8, attempts u16, at i64, output u32, error u32`,
//! little endian, and the two texts of these lengths.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

const HEAD_BYTES: usize = 27;

/// How a row stands in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not ended yet.
    Pending,
    /// Acked.
    Done,
    /// Rejected by its handler, or out of attempts.
    Dead,
    /// Not delivered in time.
    Expired,
    /// Withdrawn.
    Cancelled,
    /// It became no message: something in it is wrong.
    Rejected,
    /// No queue takes it.
    Unrouted,
}

const ALL: [Status; 7] = [
    Status::Pending,
    Status::Done,
    Status::Dead,
    Status::Expired,
    Status::Cancelled,
    Status::Rejected,
    Status::Unrouted,
];

impl Status {
    /// The word that stands in the column.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Unrouted => "unrouted",
        }
    }
}

/// The end of a row in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndOfRow {
    /// The sheet, as the reader numbered it.
    pub sheet: u16,
    /// The row in it.
    pub row: u32,
    /// Which queue, by its place in the plan.
    pub queue: u16,
    /// How.
    pub status: Status,
    /// Deliveries it took.
    pub attempts: u16,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// The output, as JSON; empty for none.
    pub output: String,
    /// What went wrong; empty for nothing.
    pub error: String,
}

impl EndOfRow {
    /// Appends the record.
    ///
    /// # Errors
    /// What the file says.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut head = [0; HEAD_BYTES];
        let status = ALL.iter().position(|status| *status == self.status).unwrap_or(0) as u8;
        let length = |text: &str| (text.len() as u32).to_le_bytes();
        let fields: [&[u8]; 8] = [
            &self.sheet.to_le_bytes(),
            &self.row.to_le_bytes(),
            &self.queue.to_le_bytes(),
            &[status],
            &self.attempts.to_le_bytes(),
            &self.at_ms.to_le_bytes(),
            &length(&self.output),
            &length(&self.error),
        ];
        let mut rest = &mut head[..];
        for field in fields {
            rest.write_all(field)?;
        }
        out.write_all(&head)?;
        out.write_all(self.output.as_bytes())?;
        out.write_all(self.error.as_bytes())
    }
}

/// Reads records one after another.
#[derive(Debug)]
pub(super) struct Ends {
    file: BufReader<File>,
    next: Option<EndOfRow>,
}

impl Ends {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut ends =
            Self { file: BufReader::with_capacity(256 << 10, File::open(path)?), next: None };
        ends.next = ends.read()?;
        Ok(ends)
    }

    /// The records of a row; those of rows before it are passed over.
    pub(super) fn of_row(
        &mut self,
        sheet: u16,
        row: u32,
        mut take: impl FnMut(EndOfRow),
    ) -> io::Result<()> {
        while let Some(next) = self.next.take() {
            if (next.sheet, next.row) > (sheet, row) {
                self.next = Some(next);
                return Ok(());
            }
            if (next.sheet, next.row) == (sheet, row) {
                take(next);
            }
            self.next = self.read()?;
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<Option<EndOfRow>> {
        if self.file.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let sheet = u16::from_le_bytes(self.field()?);
        let row = u32::from_le_bytes(self.field()?);
        let queue = u16::from_le_bytes(self.field()?);
        let [status] = self.field()?;
        let attempts = u16::from_le_bytes(self.field()?);
        let at_ms = i64::from_le_bytes(self.field()?);
        let output = u32::from_le_bytes(self.field()?);
        let error = u32::from_le_bytes(self.field()?);
        let status = ALL.get(usize::from(status)).copied();
        let status = status.ok_or_else(|| io::Error::other("a record of no known status"))?;
        let (output, error) = (self.text(output)?, self.text(error)?);
        Ok(Some(EndOfRow { sheet, row, queue, status, attempts, at_ms, output, error }))
    }

    fn field<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn text(&mut self, length: u32) -> io::Result<String> {
        let mut text = String::new();
        self.file.by_ref().take(u64::from(length)).read_to_string(&mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_by_their_row() {
        let end = |sheet, row, queue, error: &str| EndOfRow {
            sheet,
            row,
            queue,
            status: Status::Dead,
            attempts: 3,
            at_ms: -1,
            output: "{}".into(),
            error: error.into(),
        };
        let all = [end(0, 2, 0, "a"), end(0, 2, 1, ""), end(0, 7, 0, "ü"), end(2, 1, 0, "")];
        let mut file = tempfile::NamedTempFile::new().unwrap();
        all.iter().for_each(|end| end.write(&mut file).unwrap());
        let mut ends = Ends::open(file.path()).unwrap();
        let mut of = |sheet, row| {
            let mut found = vec![];
            ends.of_row(sheet, row, |end| found.push(end)).unwrap();
            found
        };
        assert_eq!(of(0, 1), []);
        assert_eq!(of(0, 2), all[..2]);
        assert_eq!(of(0, 6), []);
        assert_eq!(of(2, 1), all[3..], "the row between is passed over");
        assert_eq!(of(3, 1), []);
    }
}
