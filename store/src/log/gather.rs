//! Puts what a receive returned in order.
//!
//! The messages of a lease come in whatever order the database likes. Each says its position, and
//! by this alone it is placed: an output stored beside the wrong message is the worst that this log
//! could do.

use super::types::{Handed, LogError};

/// The messages of a lease of `size`, by position.
pub(super) fn in_order(mut messages: Vec<Handed>, size: usize) -> Result<Vec<Handed>, LogError> {
    messages.sort_unstable_by_key(|message| message.position);
    if messages.last().is_some_and(|last| usize::from(last.position) >= size) {
        return Err(LogError::Damaged("a message beyond the end of its lease"));
    }
    if messages.windows(2).any(|pair| pair[0].position == pair[1].position) {
        return Err(LogError::Damaged("two messages at one position of a lease"));
    }
    if messages.len() < size {
        let missing = size - messages.len();
        tracing::error!(missing, "a lease names messages that are not in the log");
    }
    Ok(messages)
}
