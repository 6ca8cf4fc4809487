//! What this process has in hands: until when, and what is in it.
//!
//! SQS does not say that a delivery is over: to delete by an old receipt succeeds and does nothing,
//! and a message cannot be read by its receipt. So the driver remembers of what it took until when it
//! has it, to answer [`Failed::Over`](super::super::Failed::Over), and what it was, to move it to a
//! dead queue. What another process took is not known here, and the engine is asked.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::SqsLimits;
use super::letter::Contents;

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

    /// A delivery was taken, now, and is held until then.
    pub(super) fn took(&self, handle: &str, now: Instant, until: Instant, contents: Arc<Contents>) {
        let mut known = self.lock();
        known.sweep(now);
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

    /// How a delivery stands now.
    pub(super) fn standing(&self, handle: &str, now: Instant) -> Standing {
        match self.lock().by_handle.get(handle) {
            None => Standing::Unknown,
            Some(held) if held.contents.is_some() && held.until > now => Standing::Held,
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

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_delivery_is_held_until_its_deadline_or_its_end() {
        let (hands, begin) = (hands(100, 1_000, 100), Instant::now());
        for handle in ["a", "b", "c"] {
            hands.took(handle, begin, begin + SECOND, contents(10));
        }
        hands.extended("b", begin + 10 * SECOND);
        hands.ended("c");
        let standing = |handle, after| hands.standing(handle, begin + after);
        assert_eq!(standing("a", SECOND / 2), Standing::Held);
        assert_eq!(standing("c", SECOND / 2), Standing::Over);
        assert_eq!(standing("never", SECOND / 2), Standing::Unknown);
        assert_eq!(standing("a", 2 * SECOND), Standing::Over);
        assert_eq!(standing("b", 2 * SECOND), Standing::Held);
        // What is over stays so, whatever is said of it.
        hands.extended("c", begin + 10 * SECOND);
        assert_eq!(standing("c", SECOND), Standing::Over);
        assert!(hands.contents("b").is_some() && hands.contents("c").is_none());
        // What was held too long gives its memory back when the next one comes.
        hands.took("d", begin + 2 * SECOND, begin + 3 * SECOND, contents(10));
        assert!(hands.contents("a").is_none());
        assert_eq!(standing("a", 2 * SECOND), Standing::Over);
    }

    #[test]
    fn what_is_remembered_has_limits() {
        let (hands, begin) = (hands(3, 100, 2), Instant::now());
        for (n, handle) in (1..).zip(["a", "b", "c", "d"]) {
            hands.took(handle, begin, begin + n * SECOND, contents(10));
        }
        assert_eq!(hands.standing("a", begin), Standing::Unknown);
        assert_eq!(hands.standing("b", begin), Standing::Held);
        hands.took("large", begin, begin + 9 * SECOND, contents(95));
        assert_eq!(hands.standing("d", begin), Standing::Unknown);
        assert_eq!(hands.standing("large", begin), Standing::Held);
        for handle in ["e", "f", "g", "h"] {
            hands.took(handle, begin, begin + 10 * SECOND, contents(1));
            hands.ended(handle);
        }
        let known = hands.lock();
        assert!(known.over.len() <= 3 && known.by_handle.len() <= 5);
        assert_eq!(known.live_bytes, 95);
    }
}
