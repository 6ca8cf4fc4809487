//! UTF-32, which the encoding library leaves out because the web does: four bytes a character.

use std::io::{self, Read};

use super::super::kind::ByteOrder;
use super::super::limits::unreadable;
use rowmill_domain::Problem;

/// Makes UTF-8 of it, piece by piece.
pub(super) struct Wide {
    order: ByteOrder,
    bytes: Vec<u8>,
}

impl Wide {
    pub(super) fn new(order: ByteOrder) -> Self {
        Self { order, bytes: Vec::new() }
    }

    /// Reads as much as fits into `out` as UTF-8, which is never longer; 0 is the end.
    pub(super) fn read(&mut self, file: &mut impl Read, out: &mut [u8]) -> Result<usize, Problem> {
        let whole = out.len() / 4 * 4;
        self.bytes.clear();
        let read = file.take(whole as u64).read_to_end(&mut self.bytes);
        read.map_err(|error: io::Error| unreadable(format!("the file cannot be read: {error}")))?;
        let (units, rest) = self.bytes.as_chunks::<4>();
        let mut length = 0;
        for unit in units {
            let code = match self.order {
                ByteOrder::Little => u32::from_le_bytes(*unit),
                ByteOrder::Big => u32::from_be_bytes(*unit),
            };
            let c = char::from_u32(code).ok_or_else(wrong)?;
            if let Some(place) = out.get_mut(length..length + c.len_utf8()) {
                length += c.encode_utf8(place).len();
            }
        }
        if rest.is_empty() { Ok(length) } else { Err(wrong()) }
    }
}

fn wrong() -> Problem {
    unreadable("the text is not the UTF-32 it should be; say which encoding it has")
}
