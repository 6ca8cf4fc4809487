//! What this process has in hands: until when, and what is in it.
//!
//! SQS does not say that a delivery is over: to delete by an old receipt succeeds and does nothing,
//! and a message cannot be read by its receipt. So the driver remembers of what it took until when it
//! has it, to answer [`Failed::Over`](super::super::Failed::Over), and what it was, to move it to a
//! dead queue. What another process took is not known here, and the engine is asked.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::letter::Contents;
use super::limits::SqsLimits;

/// How a delivery stands, as far as this process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// In this process's hands.
    Held,
    /// Taken by this process, and over: settled, or its deadline passed.
    Over,
    /// Taken by another process, or forgotten.
    Unknown,
}

struct Held {
    until: Instant,
    /// `None` when it is over.
    contents: Option<Arc<Contents>>,
}

#[derive(Default)]
struct Known {
    by_handle: HashMap<Arc<str>, Held>,
    /// Those in hands, by deadline.
    live: BTreeSet<(Instant, Arc<str>)>,
    live_bytes: usize,
    /// Those that are over, in the order in which they ended.
    over: VecDeque<Arc<str>>,
}

/// What this process has in hands.
pub(super) struct Hands {
    known: Mutex<Known>,
    most: usize,
    most_bytes: usize,
    over_kept: usize,
}

impl Hands {
    pub(super) fn new(limits: &SqsLimits) -> Self {
        Self {
            known: Mutex::default(),
            most: limits.in_hands,
            most_bytes: limits.in_hands_bytes,
            over_kept: limits.over_kept,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // It is changed entry by entry: one that a panic left behind is still good.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A delivery was taken.
    pub(super) fn took(&self, handle: &str, until: Instant, contents: Arc<Contents>) {
        let mut known = self.lock();
        known.sweep(Instant::now());
        let handle: Arc<str> = handle.into();
        known.live_bytes += contents.bytes();
        known.live.insert((until, Arc::clone(&handle)));
        known.by_handle.insert(handle, Held { until, contents: Some(contents) });
        while known.live.len() > self.most || known.live_bytes > self.most_bytes {
            // The one that ends first is forgotten: from now on the engine is asked about it.
            let Some((_, handle)) = known.live.pop_first() else { break };
            known.forget(&handle);
        }
        while known.over.len() > self.over_kept {
            let Some(handle) = known.over.pop_front() else { break };
            known.forget(&handle);
        }
    }

    /// How a delivery stands.
    pub(super) fn standing(&self, handle: &str) -> Standing {
        match self.lock().by_handle.get(handle) {
            None => Standing::Unknown,
            Some(held) if held.contents.is_some() && held.until > Instant::now() => Standing::Held,
            Some(_) => Standing::Over,
        }
    }

    /// What is in a delivery in hands.
    pub(super) fn contents(&self, handle: &str) -> Option<Arc<Contents>> {
        self.lock().by_handle.get(handle)?.contents.clone()
    }

    /// A delivery has another deadline.
    pub(super) fn extended(&self, handle: &str, until: Instant) {
        let mut known = self.lock();
        let Some((handle, before)) = known.live_one(handle) else { return };
        known.live.remove(&(before, Arc::clone(&handle)));
        known.live.insert((until, Arc::clone(&handle)));
        if let Some(held) = known.by_handle.get_mut(&handle) {
            held.until = until;
        }
    }

    /// A delivery was settled.
    pub(super) fn ended(&self, handle: &str) {
        let mut known = self.lock();
        if let Some((handle, until)) = known.live_one(handle) {
            known.live.remove(&(until, Arc::clone(&handle)));
            known.end(handle);
        }
    }
}

impl Known {
    fn live_one(&self, handle: &str) -> Option<(Arc<str>, Instant)> {
        let (handle, held) = self.by_handle.get_key_value(handle)?;
        held.contents.as_ref().map(|_| (Arc::clone(handle), held.until))
    }

    /// What was held too long is over, and what was in it can go.
    fn sweep(&mut self, now: Instant) {
        while self.live.first().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, handle)) = self.live.pop_first() {
                self.end(handle);
            }
        }
    }

    fn end(&mut self, handle: Arc<str>) {
        if let Some(contents) =
            self.by_handle.get_mut(&handle).and_then(|held| held.contents.take())
        {
            self.live_bytes -= contents.bytes();
        }
        self.over.push_back(handle);
    }

    fn forget(&mut self, handle: &str) {
        if let Some(Held { contents: Some(contents), .. }) = self.by_handle.remove(handle) {
            self.live_bytes -= contents.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn contents(bytes: usize) -> Arc<Contents> {
        Arc::new(Contents { data: "x".repeat(bytes).into(), ..Contents::default() })
    }

    fn hands(in_hands: usize, in_hands_bytes: usize, over_kept: usize) -> Hands {
        Hands::new(&SqsLimits { in_hands, in_hands_bytes, over_kept, ..SqsLimits::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_is_held_until_its_deadline_or_its_end() {
        let hands = hands(100, 1_000, 100);
        let second = Duration::from_secs(1);
        for handle in ["a", "b", "c"] {
            hands.took(handle, Instant::now() + second, contents(10));
        }
        hands.extended("b", Instant::now() + 10 * second);
        hands.ended("c");
        let standing = |handle| hands.standing(handle);
        assert_eq!([standing("a"), standing("c")], [Standing::Held, Standing::Over]);
        assert_eq!(standing("never"), Standing::Unknown);
        tokio::time::advance(2 * second).await;
        assert_eq!([standing("a"), standing("b")], [Standing::Over, Standing::Held]);
        // What is over stays so, whatever is said of it.
        hands.extended("c", Instant::now() + second);
        assert_eq!(standing("c"), Standing::Over);
        assert!(hands.contents("b").is_some() && hands.contents("c").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_has_limits() {
        let hands = hands(3, 100, 2);
        let at = |n: u64| Instant::now() + Duration::from_secs(n);
        for (n, handle) in (1..).zip(["a", "b", "c", "d"]) {
            hands.took(handle, at(n), contents(10));
        }
        assert_eq!(hands.standing("a"), Standing::Unknown);
        assert_eq!(hands.standing("b"), Standing::Held);
        hands.took("large", at(9), contents(95));
        assert_eq!(hands.standing("d"), Standing::Unknown);
        assert_eq!(hands.standing("large"), Standing::Held);
        for handle in ["e", "f", "g", "h"] {
            hands.took(handle, at(10), contents(1));
            hands.ended(handle);
        }
        let known = hands.lock();
        assert!(known.over.len() <= 3 && known.by_handle.len() <= 5);
        assert_eq!(known.live_bytes, 95);
    }
}
