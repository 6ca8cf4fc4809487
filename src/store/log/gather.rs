//! Puts what a receive returned in order.
//!
//! The rows of a receive come in whatever order the database likes. Each says its lease and its
//! position, and by these alone it is placed: an output stored beside the wrong message is the
//! worst that this log could do.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::types::{Handed, HandedLease, LogError, UploadId};

#[derive(Default)]
pub(super) struct Gather {
    leases: Vec<HandedLease>,
    sizes: Vec<usize>,
    at: HashMap<Uuid, usize>,
}

impl Gather {
    /// Adds one message of a lease of `size` messages.
    pub(super) fn add(
        &mut self,
        receipt: Uuid,
        upload: Option<UploadId>,
        size: usize,
        deadline: Duration,
        message: Handed,
    ) -> Result<(), LogError> {
        if usize::from(message.position) >= size {
            return Err(LogError::Damaged("a message beyond the end of its lease"));
        }
        let at = *self.at.entry(receipt).or_insert_with(|| {
            let messages = Vec::with_capacity(size);
            self.leases.push(HandedLease { receipt, upload, deadline, messages });
            self.sizes.push(size);
            self.leases.len() - 1
        });
        self.leases[at].messages.push(message);
        Ok(())
    }

    /// The leases, each with its messages by position.
    pub(super) fn finish(mut self) -> Result<Vec<HandedLease>, LogError> {
        for (lease, size) in self.leases.iter_mut().zip(&self.sizes) {
            lease.messages.sort_unstable_by_key(|message| message.position);
            let doubled =
                lease.messages.windows(2).any(|pair| pair[0].position == pair[1].position);
            if doubled {
                return Err(LogError::Damaged("two messages at one position of a lease"));
            }
            if lease.messages.len() < *size {
                tracing::error!(
                    receipt = %lease.receipt,
                    missing = size - lease.messages.len(),
                    "a lease names messages that are not in the log"
                );
            }
        }
        Ok(self.leases)
    }
}
