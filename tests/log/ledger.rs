//! What those who use a log at the same time know for certain, and whether the tables agree.
//!
//! Publishers write down what they are about to publish and what was committed, consumers what they
//! were handed and what a settle answered. Whatever was written down before a snapshot must be in
//! it; at the end every message must have the one outcome that the answers allow.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use rowmill::domain::Verdict;
use uuid::Uuid;

use crate::model::{CANCELLED, DEAD, DONE, EXPIRED};
use crate::tables::{Place, Places};
use crate::violation::{Checked, Violation, check, check_eq};

/// What may happen to a queue's messages besides being worked off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) queue: i32,
    pub(crate) dead_queue: Option<i32>,
    pub(crate) max_deliveries: u16,
    pub(crate) purged: bool,
    pub(crate) redriven: bool,
    pub(crate) expires: bool,
}

type Key = (i32, i64);

#[derive(Debug, Default)]
struct Book {
    trying: HashSet<Key>,
    committed: HashSet<Key>,
    refused: HashSet<Key>,
    handed: HashMap<Key, Vec<u16>>,
    /// Output and attempt of an ack that was answered with success.
    acked: HashMap<Key, (u16, Option<String>)>,
    /// The same of one whose answer never came.
    perhaps_acked: HashMap<Key, Vec<(u16, Option<String>)>>,
    /// Attempt and error of every death by a verdict, sure or not.
    died: HashMap<Key, Vec<(u16, String)>>,
    receipts: HashSet<Uuid>,
}

/// One delivery as a consumer remembers it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) queue: i32,
    pub(crate) id: i64,
    pub(crate) attempt: u16,
    pub(crate) position: u16,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    terms: Vec<Terms>,
    book: Mutex<Book>,
}

/// What was known before a snapshot was taken.
pub(crate) struct Known {
    committed: HashSet<Key>,
    acked: HashSet<Key>,
}

impl Ledger {
    pub(crate) fn new(terms: Vec<Terms>) -> Self {
        Self { terms, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(crate) fn trying(&self, keys: &[Key]) {
        self.book().trying.extend(keys);
    }

    pub(crate) fn committed(&self, keys: &[Key]) {
        self.book().committed.extend(keys);
    }

    pub(crate) fn refused(&self, keys: &[Key]) {
        self.book().refused.extend(keys);
    }

    pub(crate) fn handed(&self, receipt: Uuid, held: &[Held]) -> Checked {
        let mut book = self.book();
        check!(book.receipts.insert(receipt), "a receipt was issued twice");
        for Held { queue, id, attempt, .. } in held {
            let key = (*queue, *id);
            check!(book.trying.contains(&key), "{key:?} was handed out and never published");
            let redriven = self.terms_of(*queue)?.redriven;
            let before = book.handed.entry(key).or_default();
            check!(
                redriven || !before.contains(attempt),
                "attempt {attempt} of {key:?} was handed out twice"
            );
            before.push(*attempt);
        }
        Ok(())
    }

    /// A verdict was applied; or, when `sure` is not, its answer was lost.
    pub(crate) fn settled(&self, held: &Held, verdict: &Verdict, sure: bool) -> Checked {
        let key = (held.queue, held.id);
        let last = held.attempt >= self.terms_of(held.queue)?.max_deliveries;
        let mut book = self.book();
        match verdict {
            Verdict::Done { output } => {
                let ack = (held.attempt, output.as_deref().map(str::to_owned));
                if sure {
                    let before = book.acked.insert(key, ack);
                    check!(before.is_none(), "{key:?} was acked twice");
                } else {
                    book.perhaps_acked.entry(key).or_default().push(ack);
                }
            }
            Verdict::Retry { reason, .. } if !last => drop(reason.len()),
            Verdict::Retry { reason, .. } | Verdict::Reject { reason } => {
                book.died.entry(key).or_default().push((held.attempt, String::from(&**reason)));
            }
            Verdict::Release => {}
        }
        Ok(())
    }

    fn terms_of(&self, queue: i32) -> Checked<&Terms> {
        let found = self.terms.iter().find(|terms| terms.queue == queue);
        found.ok_or_else(|| Violation(format!("queue {queue} is none of ours")))
    }

    pub(crate) fn known(&self) -> Known {
        let book = self.book();
        Known { committed: book.committed.clone(), acked: book.acked.keys().copied().collect() }
    }

    /// Whether a snapshot has everything that was known before it, and nothing that never was.
    pub(crate) fn check_snapshot(&self, known: &Known, places: &Places) -> Checked {
        for key in &known.committed {
            check!(places.contains_key(key), "{key:?} was committed and is lost");
        }
        for key in &known.acked {
            let place = places.get(key).map(|found| &found.place);
            check!(
                matches!(place, Some(Place::Ended { kind: DONE, .. })),
                "{key:?} was acked and is {place:?}"
            );
        }
        let book = self.book();
        let dead_queues: HashSet<i32> =
            self.terms.iter().filter_map(|terms| terms.dead_queue).collect();
        for key in places.keys().filter(|(queue, _)| !dead_queues.contains(queue)) {
            check!(book.trying.contains(key), "{key:?} was never published");
            check!(!book.refused.contains(key), "{key:?} is there, and its publish was refused");
        }
        for terms in &self.terms {
            let Some(dead_queue) = terms.dead_queue else { continue };
            for (key, found) in places.iter().filter(|((queue, _), _)| *queue == terms.queue) {
                let died = matches!(found.place, Place::Ended { kind: DEAD, .. });
                let there = places.contains_key(&(dead_queue, key.1));
                check_eq!(there, died, "{key:?} is {found:?}; whether it is in its dead queue");
            }
        }
        Ok(())
    }

    /// Whether every message has the outcome that the answers allow. Answers how many there are.
    pub(crate) fn check_end(&self, places: &Places) -> Checked<usize> {
        let mut outcomes = 0;
        self.check_snapshot(&self.known(), places)?;
        let book = self.book();
        for terms in &self.terms {
            for (key, found) in places.iter().filter(|((queue, _), _)| *queue == terms.queue) {
                let Place::Ended { kind, attempts, item } = &found.place else {
                    return Err(Violation(format!("{key:?} has no outcome: {found:?}")));
                };
                outcomes += 1;
                let attempt = attempts.unwrap_or(1);
                let handed = book.handed.get(key).into_iter().flatten();
                let later = handed.filter(|handed| **handed > attempt).count();
                check!(
                    later == 0 || terms.redriven || *kind == CANCELLED,
                    "{key:?} was handed out after its end: {found:?}"
                );
                let known = match *kind {
                    DONE => {
                        let ack = (attempt, item.clone());
                        book.acked.get(key) == Some(&ack)
                            || book.perhaps_acked.get(key).is_some_and(|all| all.contains(&ack))
                    }
                    DEAD => {
                        let lapsed = item.as_deref() == Some("its ack deadline passed");
                        let by_deadline = lapsed && attempt >= terms.max_deliveries;
                        let death = (attempt, item.clone().unwrap_or_default());
                        by_deadline
                            || book.died.get(key).is_some_and(|deaths| deaths.contains(&death))
                    }
                    EXPIRED => terms.expires,
                    CANCELLED => terms.purged,
                    _ => false,
                };
                check!(known, "{key:?} ended as {found:?}, which nobody said");
            }
        }
        Ok(outcomes)
    }
}
