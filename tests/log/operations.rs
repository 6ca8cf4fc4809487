//! What a case does: operations that proptest makes up and shrinks.
//!
//! They name leases and messages by numbers of no meaning, which the world takes modulo what there
//! is at that moment, so that a sequence stays possible whatever is cut out of it.

use proptest::collection::vec;
use proptest::prelude::*;

/// The queues of the topic; their dead queues come after them.
pub(crate) const ROUTED: usize = 3;
/// All queues of a case: the routed ones, and the dead queues of the first and the last.
pub(crate) const QUEUES: usize = 5;

/// How a position is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Done,
    DoneWithNothing,
    Retry,
    RetryAfter(u8),
    Reject,
    Release,
}

/// Which positions of a lease, and how.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// All done, in the order of this rotation.
    Whole(u8),
    /// These, in this order; repeated and impossible ones among them.
    Some(Vec<(u8, Ending)>),
}

/// What is wrong with a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    OldEpoch,
    OldRoutes,
}

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// For an upload or for none; who takes what is a bit mask a queue; where in its block.
    Publish {
        upload: Option<u8>,
        size: u8,
        takes: [u16; ROUTED],
        at_end: bool,
        fault: Fault,
    },
    /// The end of an upload: all is let go, or taken back.
    Finish {
        upload: u8,
        discard: bool,
        fault: Fault,
    },
    TakeOver {
        upload: u8,
    },
    /// Nothing of an upload, published or not, is handed out.
    Pause {
        upload: u8,
    },
    Resume {
        upload: u8,
    },
    Receive {
        queue: u8,
        max: u8,
        consumers: u8,
    },
    Settle {
        picks: Vec<(u8, Pattern)>,
        half: bool,
    },
    /// By the queue's deadline, or for so long.
    Extend {
        picks: Vec<u8>,
        ticks: Option<u8>,
    },
    Sweep {
        most: u8,
    },
    Expire,
    Advance {
        ticks: u8,
    },
    Crash,
    Reclaim {
        queue: u8,
    },
    Purge {
        queue: u8,
    },
    Redrive {
        from: u8,
        to: u8,
        step: u8,
    },
    Delete {
        queue: u8,
    },
    /// Rows of deleted queues.
    Remove {
        most: u8,
    },
    /// What ended long ago.
    Tidy {
        ticks: u8,
        most: u8,
    },
    Peek {
        queue: u8,
        limit: u8,
    },
    Look {
        queue: u8,
        pick: u8,
    },
    Reroute,
    Holder {
        queue: u8,
        pick: u8,
    },
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        4 => Just(Ending::Done),
        1 => Just(Ending::DoneWithNothing),
        3 => Just(Ending::Retry),
        1 => (0_u8..4).prop_map(Ending::RetryAfter),
        2 => Just(Ending::Reject),
        1 => Just(Ending::Release),
    ]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        2 => any::<u8>().prop_map(Pattern::Whole),
        3 => vec((any::<u8>(), ending()), 1..8).prop_map(Pattern::Some),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![8 => Just(Fault::Nothing), 1 => Just(Fault::OldEpoch), 1 => Just(Fault::OldRoutes)]
}

/// All of a batch, or a part of it.
fn takes() -> impl Strategy<Value = u16> {
    prop_oneof![2 => Just(u16::MAX), 3 => any::<u16>(), 1 => Just(0)]
}

/// From a dead queue to where its messages died, half of the time.
fn redrive() -> impl Strategy<Value = Operation> {
    let queue = 0..u8::try_from(QUEUES).unwrap();
    let back = prop_oneof![Just((4_u8, 0_u8)), Just((3, 2))];
    (prop_oneof![back, (queue.clone(), queue)], 1_u8..12)
        .prop_map(|((from, to), step)| Operation::Redrive { from, to, step })
}

fn operation() -> impl Strategy<Value = Operation> {
    let queue = 0..u8::try_from(QUEUES).unwrap();
    let publish = (
        proptest::option::weighted(0.7, 0_u8..3),
        0_u8..15,
        [takes(), takes(), takes()],
        proptest::bool::weighted(0.2),
        fault(),
    )
        .prop_map(|(upload, size, takes, at_end, fault)| Operation::Publish {
            upload,
            size,
            takes,
            at_end,
            fault,
        });
    prop_oneof![
        6 => publish,
        2 => (0_u8..3, proptest::bool::weighted(0.3), fault())
            .prop_map(|(upload, discard, fault)| Operation::Finish { upload, discard, fault }),
        1 => (0_u8..3).prop_map(|upload| Operation::TakeOver { upload }),
        10 => (queue.clone(), 1_u8..20, prop_oneof![2 => Just(1_u8), 1 => 2_u8..5])
            .prop_map(|(queue, max, consumers)| Operation::Receive { queue, max, consumers }),
        10 => (vec((any::<u8>(), pattern()), 1..4), any::<bool>())
            .prop_map(|(picks, half)| Operation::Settle { picks, half }),
        1 => (vec(any::<u8>(), 1..4), proptest::option::of(0_u8..6))
            .prop_map(|(picks, ticks)| Operation::Extend { picks, ticks }),
        3 => (1_u8..12).prop_map(|most| Operation::Sweep { most }),
        1 => Just(Operation::Expire),
        5 => (1_u8..8).prop_map(|ticks| Operation::Advance { ticks }),
        1 => Just(Operation::Crash),
        1 => queue.clone().prop_map(|queue| Operation::Reclaim { queue }),
        1 => queue.clone().prop_map(|queue| Operation::Purge { queue }),
        2 => redrive(),
        1 => proptest::option::weighted(0.3, queue.clone()).prop_map(|queue| match queue {
            Some(queue) => Operation::Delete { queue },
            None => Operation::Expire,
        }),
        1 => (1_u8..12).prop_map(|most| Operation::Remove { most }),
        1 => (0_u8..9, 1_u8..12).prop_map(|(ticks, most)| Operation::Tidy { ticks, most }),
        2 => (queue.clone(), 1_u8..30).prop_map(|(queue, limit)| Operation::Peek { queue, limit }),
        3 => (queue.clone(), any::<u8>()).prop_map(|(queue, pick)| Operation::Look { queue, pick }),
        1 => Just(Operation::Reroute),
        1 => (queue, any::<u8>()).prop_map(|(queue, pick)| Operation::Holder { queue, pick }),
    ]
}

/// The operations of one case in which uploads are paused, too.
pub(crate) fn steered_operations() -> impl Strategy<Value = Vec<Operation>> {
    let steer = prop_oneof![
        3 => any::<u8>().prop_map(|upload| Operation::Pause { upload }),
        2 => any::<u8>().prop_map(|upload| Operation::Resume { upload }),
    ];
    vec(prop_oneof![7 => operation(), 1 => steer], 5..60)
}

/// The operations of one case.
pub(crate) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 5..60)
}
