//! What is kept of a child's stdout or stderr.
//!
//! A pipe that is not read to its end stops the child, and one that is kept whole lets the child
//! choose our memory. So everything is read, the first bytes are kept up to a cap, of the rest only
//! the last few (an error is usually said last), and what fell between is counted.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is read from a pipe at once: a pipe holds 64 KiB on Linux.
const READ_BYTES: usize = 16 * 1024;

/// The kept parts of one stream.
#[derive(Debug)]
pub(super) struct Capture {
    head: Vec<u8>,
    head_cap: usize,
    tail: VecDeque<u8>,
    tail_cap: usize,
    seen: u64,
}

impl Capture {
    /// Keeps the first `head_cap` bytes, and the last `tail_cap` of the rest.
    pub(super) fn new(head_cap: usize, tail_cap: usize) -> Self {
        Self { head: Vec::new(), head_cap, tail: VecDeque::new(), tail_cap, seen: 0 }
    }

    /// Takes the next bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        let room = self.head_cap - self.head.len();
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        let rest = &rest[rest.len().saturating_sub(self.tail_cap)..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(self.tail_cap);
        self.tail.drain(..surplus);
        self.tail.extend(rest);
    }

    /// Reads a stream to its end. A read error ends it like an end of file: the exit code decides
    /// what became of the child, not its pipes.
    ///
    /// Cancellation safety: what was read is kept.
    pub(super) async fn drain(&mut self, mut stream: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(n) => self.push(&buffer[..n]),
            }
        }
    }

    /// Whether nothing came.
    pub(super) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// How many bytes are not in [`Capture::text`].
    pub(super) fn truncated(&self) -> u64 {
        self.seen - self.head.len() as u64
    }

    /// The kept head; bytes that are not UTF-8 are replaced.
    pub(super) fn text(&self) -> String {
        let mut kept = self.head.as_slice();
        if self.truncated() > 0 {
            // The cap may have cut a character in two: its half is left out, not replaced.
            if let Err(e) = std::str::from_utf8(kept)
                && e.error_len().is_none()
            {
                kept = &kept[..e.valid_up_to()];
            }
        }
        String::from_utf8_lossy(kept).into_owned()
    }

    /// The last `most` bytes or fewer, trimmed, as text.
    pub(super) fn end(&self, most: usize) -> String {
        let mut end: Vec<u8> = Vec::with_capacity(most);
        let from_tail = self.tail.len().min(most);
        // The head's end belongs before the tail only if nothing fell between them.
        if self.truncated() == self.tail.len() as u64 {
            let from_head = self.head.len().min(most - from_tail);
            end.extend_from_slice(&self.head[self.head.len() - from_head..]);
        }
        end.extend(self.tail.iter().skip(self.tail.len() - from_tail));
        // A cut may have left the rest of a character in front.
        let cut = (end.len() as u64) < self.seen;
        let broken = end.iter().take(3).take_while(|b| cut && **b & 0xC0 == 0x80).count();
        String::from_utf8_lossy(&end[broken..]).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_kept_and_the_rest_counted() {
        let mut capture = Capture::new(4, 3);
        capture.push(b"ab");
        assert_eq!((capture.text().as_str(), capture.truncated()), ("ab", 0));
        capture.push(b"cdef");
        assert_eq!((capture.text().as_str(), capture.truncated()), ("abcd", 2));
        assert_eq!(capture.end(5), "bcdef");
        capture.push(b"ghijk");
        assert_eq!((capture.text().as_str(), capture.truncated()), ("abcd", 7));
        assert_eq!(capture.end(100), "ijk");
        assert_eq!(capture.end(2), "jk");
    }

    #[test]
    fn a_cut_character_is_left_out_and_broken_bytes_are_replaced() {
        let mut capture = Capture::new(3, 3);
        capture.push("aéé".as_bytes());
        assert_eq!(capture.text(), "aé");
        let mut capture = Capture::new(2, 3);
        capture.push("aéé".as_bytes());
        assert_eq!((capture.text(), capture.end(3)), ("a".into(), "é".into()));
        let mut capture = Capture::new(9, 0);
        capture.push(b"a\xFFb\xC3");
        assert_eq!(capture.text(), "a\u{FFFD}b\u{FFFD}");
    }

    #[tokio::test]
    async fn a_stream_is_read_to_its_end() {
        let mut capture = Capture::new(10, 4);
        capture.drain(&vec![b'x'; 100_000][..]).await;
        assert_eq!((capture.text().len(), capture.truncated()), (10, 99_990));
    }
}
