//! Who watches a worker: progress bars, and whoever must know when everything has ended.

use crate::domain::Settled;

/// Told what a worker does, as it does it. The calls are made between two steps of the worker, so
/// they must return at once: count, or send to a channel, and do no I/O.
pub trait Observer: Send + Sync + 'static {
    /// So many messages came in one receive.
    fn received(&self, _messages: usize) {}

    /// A handler starts on a message.
    fn started(&self) {}

    /// A lease's part of a settle was applied, durably.
    fn settled(&self, _settled: &Settled) {}
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}
