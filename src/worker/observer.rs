//! Who watches a worker: progress bars, numbers for a monitor, and whoever must know when everything
//! has ended.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Settled, Verdict};

/// Told what a worker does, as it does it. The calls are made between two steps of the worker, so
/// they must return at once: count, or send to a channel, and do no I/O.
pub trait Observer: Send + Sync + 'static {
    /// So many messages came in one receive.
    fn received(&self, _messages: usize) {}

    /// A handler starts on a message.
    fn started(&self) {}

    /// A handler that was started ended, after that long; what it said is not settled yet.
    fn handled(&self, _verdict: &Verdict, _took: Duration) {}

    /// A message that was received is not started: it is handed back, or somebody else's by now.
    fn not_started(&self) {}

    /// A lease's part of a settle was applied, durably.
    fn settled(&self, _settled: &Settled) {}
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

impl<O: Observer> Observer for Arc<O> {
    fn received(&self, messages: usize) {
        (**self).received(messages);
    }

    fn started(&self) {
        (**self).started();
    }

    fn handled(&self, verdict: &Verdict, took: Duration) {
        (**self).handled(verdict, took);
    }

    fn not_started(&self) {
        (**self).not_started();
    }

    fn settled(&self, settled: &Settled) {
        (**self).settled(settled);
    }
}

/// Somebody and, perhaps, somebody else.
impl<A: Observer, B: Observer> Observer for (A, Option<B>) {
    fn received(&self, messages: usize) {
        self.0.received(messages);
        self.1.iter().for_each(|other| other.received(messages));
    }

    fn started(&self) {
        self.0.started();
        self.1.iter().for_each(Observer::started);
    }

    fn handled(&self, verdict: &Verdict, took: Duration) {
        self.0.handled(verdict, took);
        self.1.iter().for_each(|other| other.handled(verdict, took));
    }

    fn not_started(&self) {
        self.0.not_started();
        self.1.iter().for_each(Observer::not_started);
    }

    fn settled(&self, settled: &Settled) {
        self.0.settled(settled);
        self.1.iter().for_each(|other| other.settled(settled));
    }
}
