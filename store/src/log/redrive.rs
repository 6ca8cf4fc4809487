//! Moving what waits in a queue to another, for a new life there.
//!
//! A redrive walks over what waited when it began, retried messages first and then segments, in
//! steps of one transaction each, and ends when it has come to the end; what comes into the queue
//! meanwhile is not waited for. Each step locks some of what waits, looks where those messages are
//! in the queues that they must not meet themselves in, and decides here, once for both databases,
//! which of them go.
//!
//! A message may be in a queue only once, and a death puts it into another. So a message stays where
//! it is if the other queue has it or has ended it in any way but death; if it would meet itself in
//! the other queue's dead queues, were it to die there; and if it may come into the other queue yet,
//! by dying in one whose dead queue that is. The deaths that led it here are undone, and the copies of its batch are counted anew where
//! it goes to or comes from a queue that uploads are not counted in: so their sums close.

use std::collections::{HashMap, HashSet};

use super::page::Place;
use super::types::{BLOCK, LogError, OutcomeKind, QueueId, UploadId};

/// What a redrive walks over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// Messages that come again on their own.
    Retried,
    /// Segments.
    Fresh,
}

/// A stretch of a walk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) walk: Walk,
    /// After this id.
    pub(super) after: i64,
    /// Up to this one.
    pub(super) upto: i64,
    /// Messages at most; a segment is taken whole.
    pub(super) most: i64,
    /// Those of one upload alone.
    pub(super) upload: Option<UploadId>,
}

/// A queue, its dead queue, and whether it keeps what died elsewhere.
pub(super) type Kin = (i32, Option<i32>, bool);

/// What a redrive has to know of the queues around the two.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) from: QueueId,
    pub(super) to: QueueId,
    /// Where deaths that led to `from` are recorded, and `to`.
    pub(super) died_in: Vec<i32>,
    /// Where messages may end up from `to`, but `from`.
    below: Vec<i32>,
    /// From where messages may end up in `to`, but `from`.
    above: Vec<i32>,
    /// Queues that uploads are not counted in.
    uncounted: HashSet<i32>,
}

impl Family {
    pub(super) fn new(from: QueueId, to: QueueId, queues: &[Kin]) -> Self {
        let below: HashMap<i32, i32> =
            queues.iter().filter_map(|(id, dead, _)| Some((*id, (*dead)?))).collect();
        let above: HashMap<i32, i32> = below.iter().map(|(id, dead)| (*dead, *id)).collect();
        let walk = |ways: &HashMap<i32, i32>, start: i32| {
            let mut met = vec![start];
            while let Some(next) = met.last().and_then(|at| ways.get(at)) {
                // A circle is refused when queues are made; it would not hold us here either.
                if met.contains(next) {
                    break;
                }
                met.push(*next);
            }
            met.split_off(1)
        };
        let mut above_to = walk(&above, to.0);
        above_to.retain(|queue| *queue != from.0);
        let mut died_in = walk(&above, from.0);
        if !died_in.contains(&to.0) {
            died_in.push(to.0);
        }
        let mut below = walk(&below, to.0);
        below.retain(|queue| *queue != from.0);
        let uncounted = queues.iter().filter(|(_, _, dead)| *dead).map(|(id, ..)| *id).collect();
        Self { from, to, died_in, below, above: above_to, uncounted }
    }

    /// The queues that a message may be in the way of itself in.
    pub(super) fn watched(&self) -> impl Iterator<Item = QueueId> {
        let around = self.below.iter().chain(&self.above).copied();
        std::iter::once(self.to.0).chain(around).map(QueueId)
    }

    fn counts(&self, queue: i32) -> i32 {
        i32::from(!self.uncounted.contains(&queue))
    }
}

/// What stands in the way of messages, by block.
#[derive(Debug, Default)]
pub(super) struct Obstacles(HashMap<i64, Vec<Place>>);

impl Obstacles {
    /// What a watched queue holds, or has ended. A death that will be undone is none, nor is any end
    /// from which a message cannot come on.
    pub(super) fn add(
        &mut self,
        family: &Family,
        queue: QueueId,
        places: Vec<Place>,
    ) -> Result<(), LogError> {
        let undone = family.died_in.contains(&queue.0);
        let above = family.above.contains(&queue.0);
        for place in places {
            let blocks = match place.state()? {
                None => true,
                Some(OutcomeKind::Dead) => !undone && !above,
                Some(_) => !above,
            };
            if blocks {
                self.0.entry(place.0.1 / BLOCK).or_default().push(place);
            }
        }
        Ok(())
    }

    fn block(&self, id: i64) -> bool {
        let there = self.0.get(&(id / BLOCK)).into_iter().flatten();
        there.into_iter().any(|place| place.position_of(id).is_some())
    }
}

/// A message that waits.
#[derive(Debug, Clone)]
pub(super) struct Waits {
    pub(super) id: i64,
    pub(super) upload: Option<i64>,
    pub(super) last_error: Option<String>,
    /// The segment it is in, if it is in one.
    pub(super) segment: Option<i64>,
}

/// The blocks of some messages.
pub(super) fn blocks(messages: &[Waits]) -> Vec<i64> {
    let mut blocks: Vec<i64> = messages.iter().map(|waits| waits.id / BLOCK * BLOCK).collect();
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}

/// What one step moves.
#[derive(Debug, Default)]
pub(super) struct Moves {
    pub(super) messages: Vec<Waits>,
    /// Segments of which everything goes.
    pub(super) gone: Vec<i64>,
    /// Segments of which something stays: its offsets.
    pub(super) shortened: Vec<(i64, Vec<i64>)>,
}

impl Moves {
    pub(super) fn decide(messages: Vec<Waits>, obstacles: &Obstacles) -> Self {
        let (stay, messages): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|waits| obstacles.block(waits.id));
        let segments: HashSet<i64> = messages.iter().filter_map(|waits| waits.segment).collect();
        let mut left: HashMap<i64, Vec<i64>> = HashMap::new();
        for waits in stay {
            if let Some(segment) = waits.segment.filter(|segment| segments.contains(segment)) {
                left.entry(segment).or_default().push(waits.id - segment);
            }
        }
        let gone = segments.into_iter().filter(|segment| !left.contains_key(segment)).collect();
        Self { messages, gone, shortened: left.into_iter().collect() }
    }

    /// How many copies each message of an upload is more, where that is not none. `undone` are the
    /// deaths that were: message, queue.
    pub(super) fn copies(&self, family: &Family, undone: &[(i64, i32)]) -> (Vec<i64>, Vec<i32>) {
        let moved = family.counts(family.to.0) - family.counts(family.from.0);
        let mut more: HashMap<i64, i32> = self
            .messages
            .iter()
            .filter(|waits| waits.upload.is_some())
            .map(|waits| (waits.id, moved))
            .collect();
        for (id, queue) in undone {
            if let Some(more) = more.get_mut(id) {
                *more -= family.counts(*queue);
            }
        }
        more.into_iter().filter(|(_, more)| *more != 0).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: i32 = 1;
    const DEAD: i32 = 2;
    const DEADER: i32 = 3;
    const OTHER: i32 = 4;
    const OTHER_DEAD: i32 = 5;

    fn family(from: i32, to: i32) -> Family {
        let queues = [
            (WORK, Some(DEAD), false),
            (DEAD, Some(DEADER), true),
            (DEADER, None, true),
            (OTHER, Some(OTHER_DEAD), false),
            (OTHER_DEAD, None, true),
        ];
        Family::new(QueueId(from), QueueId(to), &queues)
    }

    fn moved(upload: Option<i64>) -> Moves {
        let waits = Waits { id: 7, upload, last_error: None, segment: None };
        Moves { messages: vec![waits], ..Moves::default() }
    }

    #[test]
    fn deaths_are_undone_all_the_way_up() {
        assert_eq!(family(DEADER, WORK).died_in, [DEAD, WORK]);
        assert_eq!(family(DEADER, OTHER).died_in, [DEAD, WORK, OTHER]);
        let below = |from, to| family(from, to).watched().map(|queue| queue.0).collect::<Vec<_>>();
        assert_eq!(below(DEADER, WORK), [WORK, DEAD]);
        assert_eq!(below(DEAD, OTHER), [OTHER, OTHER_DEAD]);
        assert_eq!(below(OTHER, DEADER), [DEADER, DEAD, WORK]);
        assert_eq!(below(WORK, DEADER), [DEADER, DEAD], "what leaves a queue cannot die there");
    }

    #[test]
    fn sums_close_wherever_a_message_goes() {
        let copies = |from, to, undone: &[(i64, i32)]| {
            moved(Some(1)).copies(&family(from, to), undone).1.first().copied().unwrap_or(0)
        };
        assert_eq!(copies(DEAD, WORK, &[(7, WORK)]), 0, "back to where it died");
        assert_eq!(copies(DEAD, OTHER, &[(7, WORK)]), 0, "to another queue instead");
        assert_eq!(copies(DEAD, OTHER, &[(7, WORK), (7, OTHER)]), -1, "two copies become one");
        assert_eq!(copies(DEAD, OTHER, &[]), 1, "the queue in which it died is gone");
        assert_eq!(copies(WORK, OTHER, &[]), 0);
        assert_eq!(copies(WORK, OTHER_DEAD, &[]), -1, "out of the queues that are counted");
        assert_eq!(copies(DEADER, DEAD, &[(7, DEAD)]), 0);
        assert!(moved(None).copies(&family(DEAD, OTHER), &[]).0.is_empty());
    }

    #[test]
    fn a_segment_keeps_what_stays() {
        let waits = |id| Waits { id, upload: None, last_error: None, segment: Some(1000) };
        let mut obstacles = Obstacles::default();
        let held = Place((Place::REDELIVERY, 1002, 1, 0, 0, None, None));
        obstacles.add(&family(WORK, OTHER), QueueId(OTHER), vec![held]).unwrap();
        let moves = Moves::decide(vec![waits(1001), waits(1002), waits(1004)], &obstacles);
        assert_eq!(moves.messages.iter().map(|waits| waits.id).collect::<Vec<_>>(), [1001, 1004]);
        assert_eq!((moves.gone, moves.shortened), (vec![], vec![(1000, vec![2])]));
        let moves = Moves::decide(vec![waits(1001)], &obstacles);
        assert_eq!((moves.gone, moves.shortened), (vec![1000], vec![]));
        let moves = Moves::decide(vec![waits(1002)], &obstacles);
        assert_eq!((moves.gone, moves.shortened), (vec![], vec![]), "nothing goes of it");
    }
}
