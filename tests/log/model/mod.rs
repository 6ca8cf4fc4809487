//! The log as a map: for each queue, where each of its messages is.
//!
//! Time is the test's: milliseconds moved only by an operation, all on a grid of [`TICK`], with
//! deadlines and retentions half a tick off it, so that the real milliseconds that an operation
//! takes never decide whether something is due. Where the log is free to choose (which messages a
//! receive hands out, which leases a sweep takes), the model is told and says whether it was allowed.

mod move_on;
mod settle;
mod steer;

use std::collections::BTreeMap;

use rowmill::domain::{Depth, Settled, Settlement, Verdict};
use rowmill::store::log::{BLOCK, Counts, HandedLease};
use uuid::Uuid;

use crate::violation::{Checked, Violation, check, check_eq};

/// The grid of the model's time, in milliseconds: more than twice as long as a whole case takes, on a
/// machine that is busy with other things.
pub(crate) const TICK: i64 = 60_000;

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spot {
    Fresh {
        held: bool,
        created: i64,
        available: i64,
        expires: Option<i64>,
    },
    Hands {
        receipt: Uuid,
        position: u16,
        attempt: u16,
        expires: Option<i64>,
    },
    Waiting {
        held: bool,
        attempts: u16,
        available: i64,
        expires: Option<i64>,
        error: Option<String>,
    },
    Ended {
        kind: i16,
        attempts: u16,
        item: Option<String>,
        at: i64,
    },
}

pub(crate) const DONE: i16 = 1;
pub(crate) const DEAD: i16 = 2;
pub(crate) const EXPIRED: i16 = 3;
pub(crate) const CANCELLED: i16 = 4;

/// A queue's terms and messages.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    pub(crate) dead_queue: Option<i32>,
    pub(crate) max_deliveries: u16,
    pub(crate) delay: i64,
    pub(crate) retention: Option<i64>,
    /// Whether ends of messages that are no rows of uploads are recorded.
    pub(crate) recorded: bool,
    /// Whether uploads are counted in it: not if it keeps what died elsewhere.
    pub(crate) counted: bool,
    pub(crate) deleted: bool,
    pub(crate) messages: BTreeMap<i64, Spot>,
}

/// Every queue of a case has this deadline, in milliseconds.
pub(crate) const DEADLINE: i64 = 150_000;

/// What was published under an id.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) upload: Option<i64>,
    pub(crate) place: Option<(u16, u32)>,
    pub(crate) data: String,
    pub(crate) attributes: Option<String>,
    pub(crate) created: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) queue: i32,
    /// By position.
    pub(crate) ids: Vec<i64>,
    pub(crate) expires: i64,
}

/// A delivery in somebody's hands.
#[derive(Debug, Clone, Copy)]
struct Held {
    queue: i32,
    id: i64,
    attempt: u16,
    expires: Option<i64>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: i64,
    /// The real time at the model's zero.
    pub(crate) began: i64,
    pub(crate) queues: BTreeMap<i32, Queue>,
    pub(crate) contents: BTreeMap<i64, Content>,
    /// Those that can still settle anything.
    pub(crate) leases: BTreeMap<Uuid, Lease>,
    /// The wait before the first retry's jitter is drawn, doubled at each attempt up to `most`.
    pub(crate) backoff: (i64, i64),
    pub(crate) uploads: BTreeMap<i64, Steered>,
}

/// What is known of an upload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steered {
    /// Whether its messages are let go as they come.
    pub(crate) stream: bool,
    pub(crate) published: Option<i64>,
    pub(crate) paused: Option<i64>,
}

impl Spot {
    fn fresh_now(&self, now: i64) -> bool {
        matches!(self, Self::Fresh { held: false, available, expires, .. }
            if *available <= now && lasts(*expires, now))
    }

    /// Whether it waits, whenever it comes due, and will not expire before anybody sees it.
    pub(crate) fn waits(&self, now: i64) -> bool {
        match self {
            Self::Fresh { held: false, expires, .. }
            | Self::Waiting { held: false, expires, .. } => lasts(*expires, now),
            _ => false,
        }
    }

    /// When it can be delivered next.
    pub(crate) fn available(&self) -> Option<i64> {
        match self {
            Self::Fresh { available, .. } | Self::Waiting { available, .. } => Some(*available),
            _ => None,
        }
    }
}

/// Whether a message that expires then does so later than now.
fn lasts(expires: Option<i64>, now: i64) -> bool {
    expires.is_none_or(|at| at > now)
}

impl Model {
    /// Whether a real time is the model's, and what the case took so far.
    pub(crate) fn is_at(&self, real: i64, model: i64) -> bool {
        (0..TICK / 2).contains(&(real - self.began - model))
    }

    /// The same of times that may be none.
    pub(crate) fn is_at_all(&self, real: Option<i64>, model: Option<i64>) -> bool {
        real.is_some() == model.is_some()
            && real.zip(model).is_none_or(|(real, model)| self.is_at(real, model))
    }

    /// A message arrives in a queue.
    pub(crate) fn publish(&mut self, queue: i32, id: i64, held: bool) {
        let held = held || self.is_paused(id);
        let (now, queue) = (self.now, self.queues.get_mut(&queue).unwrap());
        let spot = Spot::Fresh {
            held,
            created: now,
            available: now + queue.delay,
            expires: queue.retention.map(|retention| now + retention),
        };
        queue.messages.insert(id, spot);
    }

    /// What an upload held is let go: delay and retention begin now.
    pub(crate) fn release(&mut self, upload: i64) {
        let (now, contents) = (self.now, &self.contents);
        let steered = self.uploads.get_mut(&upload).unwrap();
        steered.published = Some(now);
        if steered.stream {
            // What is held then is so by a pause.
            return;
        }
        for (id, spot) in self.queues.values_mut().flat_map(|queue| &mut queue.messages) {
            if contents[id].upload != Some(upload) {
                continue;
            }
            if let Spot::Fresh { held: held @ true, created, available, expires } = spot {
                *held = steered.paused.is_some();
                *available += now - *created;
                *expires = expires.map(|at| at + now - *created);
            }
        }
    }

    /// An upload never was.
    pub(crate) fn discard(&mut self, upload: i64) {
        let contents = &self.contents;
        for queue in self.queues.values_mut() {
            queue.messages.retain(|id, _| contents[id].upload != Some(upload));
        }
        self.contents.retain(|_, content| content.upload != Some(upload));
    }

    /// Whether a receive could hand out anything now.
    pub(crate) fn anything_due(&self, queue: i32) -> bool {
        self.next_due(queue).is_some_and(|due| due <= 0)
    }

    /// When the next message comes due, from now.
    pub(crate) fn next_due(&self, queue: i32) -> Option<i64> {
        let queue = &self.queues[&queue];
        let waiting = queue.messages.values().filter(|spot| spot.waits(self.now));
        let due = waiting.filter_map(|spot| Some(spot.available()? - self.now)).min();
        due.filter(|_| !queue.deleted)
    }

    /// Takes note of what a receive handed out, if it was allowed to.
    pub(crate) fn receive(
        &mut self,
        queue: i32,
        each: usize,
        consumers: usize,
        leases: &[HandedLease],
    ) -> Checked {
        let now = self.now;
        let max = each * consumers;
        for lease in leases {
            check!(lease.consumer < consumers, "a lease for consumer {}", lease.consumer);
        }
        for consumer in 0..consumers {
            let own = leases.iter().filter(|lease| lease.consumer == consumer);
            let handed: usize = own.map(|lease| lease.messages.len()).sum();
            check!(handed <= each, "{handed} messages for one consumer, asked for {each}");
        }
        let fresh_waits = self.queues[&queue].messages.values().any(|spot| spot.fresh_now(now));
        let handed: usize = leases.iter().map(|lease| lease.messages.len()).sum();
        check!((1..=max).contains(&handed), "{handed} messages, asked for 1 to {max}");
        let mut retries = 0;
        for lease in leases {
            retries += self.lease(queue, lease)?;
        }
        check!(
            !fresh_waits || retries <= each.div_ceil(2) * consumers,
            "{retries} of {max} were retries while fresh messages waited"
        );
        Ok(())
    }

    /// Answers how many of the lease were retries.
    fn lease(&mut self, number: i32, lease: &HandedLease) -> Checked<usize> {
        let receipt = lease.receipt;
        check!(!self.leases.contains_key(&receipt), "a receipt was issued twice");
        check_eq!(i64::try_from(lease.deadline.as_millis()).unwrap(), DEADLINE, "deadline");
        check!(!self.queues[&number].deleted, "queue {number} is deleted, and hands out");
        let began = self.began;
        let near = |real: i64, model: i64| (0..TICK / 2).contains(&(real - began - model));
        let queue = self.queues.get_mut(&number).unwrap();
        let block = lease.messages[0].id / BLOCK;
        let mut retries = 0;
        for (at, message) in lease.messages.iter().enumerate() {
            let (id, position) = (message.id, message.position);
            check_eq!(usize::from(position), at, "position of message {id}");
            check_eq!(id / BLOCK, block, "block of message {id}");
            let content = self.contents.get(&id);
            let content = content.ok_or_else(|| Violation(format!("{id} was never published")))?;
            check_eq!(&*message.data, content.data, "data of message {id}");
            check_eq!(message.attributes.as_deref(), content.attributes.as_deref(), "of {id}");
            let place = message.place.map(|(sheet, row)| (sheet, row.0));
            check_eq!(place, content.place, "place of message {id}");
            check_eq!(lease.upload.map(|upload| upload.0), content.upload, "upload of {id}");
            let Some(spot) = queue.messages.get_mut(&id) else {
                return Err(Violation(format!("message {id} is not of queue {number}")));
            };
            let created = message.created_ms;
            check!(near(created, content.created), "{id} was not published at {created}");
            let (before, expires) = match &spot {
                Spot::Fresh { expires, .. } if spot.fresh_now(self.now) => (0, *expires),
                Spot::Waiting { held: false, attempts, available, expires, .. }
                    if *available <= self.now && lasts(*expires, self.now) =>
                {
                    retries += 1;
                    let last = attempts + 1 >= queue.max_deliveries;
                    let alone = lease.messages.len() == 1;
                    check!(!last || alone, "the last attempt of {id} has neighbours");
                    (*attempts, *expires)
                }
                other => return Err(Violation(format!("{id} was handed out while {other:?}"))),
            };
            check_eq!(message.attempt, before + 1, "attempt of message {id}");
            let told = message.expires_ms;
            check!(
                told.is_some() == expires.is_some()
                    && told.zip(expires).is_none_or(|(real, model)| near(real, model)),
                "{id} expires at {told:?}, should be {expires:?}"
            );
            *spot = Spot::Hands { receipt, position, attempt: message.attempt, expires };
        }
        check!(retries == 0 || retries == lease.messages.len(), "fresh and retried in one lease");
        let ids = lease.messages.iter().map(|message| message.id).collect();
        self.leases.insert(receipt, Lease { queue: number, ids, expires: self.now + DEADLINE });
        Ok(retries)
    }

    /// Copies of an upload's rows in the queues that uploads are counted in.
    pub(crate) fn copies(&self, upload: i64) -> u64 {
        let counted = self.queues.values().filter(|queue| queue.counted);
        let ids = counted.flat_map(|queue| queue.messages.keys());
        ids.filter(|id| self.contents[*id].upload == Some(upload)).count() as u64
    }

    /// Who has a message in hands.
    pub(crate) fn holder(&self, queue: i32, id: i64) -> Option<(Uuid, u16)> {
        match self.queues[&queue].messages.get(&id).filter(|_| !self.queues[&queue].deleted)? {
            Spot::Hands { receipt, position, .. } => Some((*receipt, *position)),
            _ => None,
        }
    }

    pub(crate) fn depth(&self, queue: i32) -> Depth {
        let mut depth = Depth::default();
        for spot in self.queues[&queue].messages.values() {
            let count = match spot {
                Spot::Fresh { held: true, .. } | Spot::Waiting { held: true, .. } => {
                    &mut depth.held
                }
                Spot::Fresh { available, .. } | Spot::Waiting { available, .. } => {
                    if *available <= self.now { &mut depth.ready } else { &mut depth.delayed }
                }
                Spot::Hands { .. } => &mut depth.in_flight,
                Spot::Ended { .. } => continue,
            };
            *count += 1;
        }
        depth
    }

    pub(crate) fn counts(&self, upload: i64, queue: i32) -> Counts {
        let mut counts = Counts::default();
        for (id, spot) in &self.queues[&queue].messages {
            let Spot::Ended { kind, .. } = spot else { continue };
            if self.contents[id].upload == Some(upload) {
                match *kind {
                    DONE => counts.done += 1,
                    DEAD => counts.dead += 1,
                    EXPIRED => counts.expired += 1,
                    _ => counts.cancelled += 1,
                }
            }
        }
        counts
    }
}
