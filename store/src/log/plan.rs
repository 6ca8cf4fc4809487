//! What a settlement changes, decided once for both databases.
//!
//! A settle, a sweep and a reclaim all do the same: they lock leases, decide for each position
//! where its message goes next, and write that down in one transaction. The decision is here, pure,
//! under the invariant that a message is in exactly one place; the databases only lock the leases
//! and write the [`Plan`].

use std::collections::{BTreeMap, HashMap};

use crate::clock::millis;
use rowmill_domain::{Settled, Settlement, Verdict};

use super::types::{LeaseRow, OutcomeKind, QueueId, UploadId};

/// How a position of a lease ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending<'a> {
    /// By its consumer's verdict.
    Verdict(&'a Verdict),
    /// Its deadline passed.
    Lapsed,
}

/// A row for the outcome table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OutcomeRow {
    pub(super) queue: QueueId,
    pub(super) first_id: i64,
    pub(super) last_id: i64,
    pub(super) upload: Option<UploadId>,
    pub(super) kind: OutcomeKind,
    pub(super) n: usize,
    /// A `0` or `1` for each place of the span; `None` when all of it ended so.
    pub(super) mask: Option<String>,
    /// The ids of the span, if they are not a run.
    pub(super) ids: Option<Vec<i64>>,
    /// The attempts of the span, if not all 1.
    pub(super) attempts: Option<Vec<i16>>,
    /// Outputs of a done one (a JSON array aligned with the span; none when all are null), or the
    /// error of a dead one.
    pub(super) items: Option<String>,
}

/// A row for the redelivery table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RedeliveryRow {
    pub(super) queue: QueueId,
    pub(super) message: i64,
    pub(super) upload: Option<UploadId>,
    pub(super) attempts: i16,
    pub(super) available_at: i64,
    pub(super) last_error: Option<String>,
    pub(super) expires_at: Option<i64>,
    /// Whether it is the first life of a dead message in a dead queue. One that is there already, by
    /// a way round that nobody thought of, is left as it is.
    pub(super) died: bool,
}

/// Everything that one transaction writes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Leases of which nothing is left.
    pub(super) gone: Vec<uuid::Uuid>,
    /// Leases partly settled: their settled positions, how many are left.
    pub(super) part: BTreeMap<uuid::Uuid, (String, i32)>,
    pub(super) outcomes: Vec<OutcomeRow>,
    pub(super) redeliveries: Vec<RedeliveryRow>,
    /// The database's time when the leases were locked.
    pub(super) now_ms: i64,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.part.is_empty() && self.outcomes.is_empty()
    }

    /// Adds what was asked of each lease, in the order asked; a lease that was not there to be
    /// locked has been swept or settled, and everything asked of it is stale. A lease may be named
    /// more than once, as when several small settles are joined: each finds what the one before left.
    pub(super) fn settle_all(
        &mut self,
        leases: Vec<LeaseRow>,
        asked: &[(uuid::Uuid, Vec<Settlement>)],
        dice: &mut dyn FnMut() -> f64,
    ) -> Vec<Settled> {
        let mut by_id: HashMap<_, _> = leases.into_iter().map(|lease| (lease.id, lease)).collect();
        asked
            .iter()
            .map(|(receipt, settlements)| match by_id.get_mut(receipt) {
                Some(lease) => self.settle(lease, settlements, dice),
                None => Settled {
                    stale: settlements.iter().map(|settlement| settlement.position).collect(),
                    ..Settled::default()
                },
            })
            .collect()
    }

    /// Adds the end of some positions of a lease. `dice` is thrown once for each back-off, in 0..1.
    fn settle(
        &mut self,
        lease: &mut LeaseRow,
        settlements: &[Settlement],
        dice: &mut dyn FnMut() -> f64,
    ) -> Settled {
        let mut verdicts = vec![None; lease.n];
        let mut settled = Settled::default();
        for settlement in settlements {
            let position = usize::from(settlement.position);
            // A position named twice in one call: the first verdict stands, the second is stale.
            match verdicts.get_mut(position) {
                Some(free @ None) if !lease.is_settled(position) => {
                    *free = Some(Ending::Verdict(&settlement.verdict));
                }
                _ => settled.stale.push(settlement.position),
            }
        }
        self.end(lease, &verdicts, &mut settled, dice);
        settled
    }

    /// Adds the end of everything that a lease still holds: its deadline passed.
    pub(super) fn lapse(&mut self, lease: &mut LeaseRow) -> Settled {
        self.end_all(lease, Ending::Lapsed)
    }

    /// Hands back everything that a lease still holds, without holding it against the messages.
    pub(super) fn reclaim(&mut self, lease: &mut LeaseRow) -> Settled {
        self.end_all(lease, Ending::Verdict(&Verdict::Release))
    }

    fn end_all(&mut self, lease: &mut LeaseRow, ending: Ending<'_>) -> Settled {
        let endings: Vec<_> =
            (0..lease.n).map(|position| (!lease.is_settled(position)).then_some(ending)).collect();
        let mut settled = Settled::default();
        // No back-off is drawn for a lapse or a release, so the dice are never thrown.
        self.end(lease, &endings, &mut settled, &mut || 0.0);
        settled
    }

    fn end(
        &mut self,
        lease: &mut LeaseRow,
        endings: &[Option<Ending<'_>>],
        settled: &mut Settled,
        dice: &mut dyn FnMut() -> f64,
    ) {
        if endings.iter().all(Option::is_none) {
            return;
        }
        self.now_ms = self.now_ms.max(lease.now_ms);
        let mut done = vec![];
        for (position, ending) in endings.iter().enumerate() {
            match ending {
                None => {}
                Some(Ending::Verdict(Verdict::Done { output })) => {
                    done.push((position, output.as_deref()));
                }
                Some(ending) => self.fail(lease, position, *ending, settled, dice),
            }
        }
        if let Some(row) = done_range(lease, &done) {
            settled.done += u32::try_from(row.n).unwrap_or(u32::MAX);
            self.record(lease, row);
        }
        let bits: String = (0..lease.n)
            .map(|at| if lease.is_settled(at) || endings[at].is_some() { '1' } else { '0' })
            .collect();
        let left = bits.bytes().filter(|bit| *bit == b'0').count();
        if left == 0 {
            self.part.remove(&lease.id);
            self.gone.push(lease.id);
        } else {
            self.part.insert(lease.id, (bits.clone(), i32::try_from(left).unwrap_or(i32::MAX)));
        }
        lease.settled = Some(bits);
    }

    fn record(&mut self, lease: &LeaseRow, row: OutcomeRow) {
        if lease.recorded {
            self.outcomes.push(row);
        }
    }

    /// A position that was not acked: it comes again, or it is dead.
    fn fail(
        &mut self,
        lease: &LeaseRow,
        position: usize,
        ending: Ending<'_>,
        settled: &mut Settled,
        dice: &mut dyn FnMut() -> f64,
    ) {
        let attempt = lease.attempt(position);
        let last = i32::from(attempt) >= lease.max_deliveries;
        let (error, dead, wait_ms) = match ending {
            Ending::Lapsed => (Some("its ack deadline passed".to_owned()), last, 0),
            Ending::Verdict(Verdict::Retry { reason, after }) => {
                let wait = after.unwrap_or_else(|| {
                    lease.retry.wait(u16::try_from(attempt).unwrap_or(1), dice())
                });
                (Some(storable(reason)), last, millis(wait))
            }
            Ending::Verdict(Verdict::Reject { reason }) => (Some(storable(reason)), true, 0),
            Ending::Verdict(Verdict::Release | Verdict::Done { .. }) => (None, false, 0),
        };
        let id = lease.id_at(position);
        let row = |queue| RedeliveryRow {
            queue,
            message: id,
            upload: lease.upload,
            attempts: attempt,
            available_at: lease.now_ms.saturating_add(wait_ms),
            last_error: error.clone(),
            expires_at: lease.expiries.at(position),
            died: false,
        };
        if dead {
            settled.dead += 1;
            // Its time in the dead queue begins now, and is that queue's.
            let died = |queue| RedeliveryRow {
                attempts: 0,
                available_at: lease.now_ms,
                expires_at: lease.dead_retention_ms.map(|ms| lease.now_ms.saturating_add(ms)),
                died: true,
                ..row(queue)
            };
            self.redeliveries.extend(lease.dead_queue.map(died));
            let outcome = OutcomeRow {
                queue: lease.queue,
                first_id: id,
                last_id: id,
                upload: lease.upload,
                kind: OutcomeKind::Dead,
                n: 1,
                mask: None,
                ids: None,
                attempts: Some(vec![attempt]),
                items: error,
            };
            self.record(lease, outcome);
        } else {
            settled.again += 1;
            self.redeliveries.push(row(lease.queue));
        }
    }
}

impl LeaseRow {
    fn is_settled(&self, position: usize) -> bool {
        self.settled.as_ref().is_some_and(|bits| bits.as_bytes().get(position) == Some(&b'1'))
    }

    fn id_at(&self, position: usize) -> i64 {
        match &self.ids {
            // `ids` has `n` entries; a position beyond was refused before.
            Some(ids) => ids.get(position).copied().unwrap_or(self.first_id),
            None => self.first_id + i64::try_from(position).unwrap_or(0),
        }
    }

    fn attempt(&self, position: usize) -> i16 {
        self.attempts.as_ref().and_then(|all| all.get(position).copied()).unwrap_or(1)
    }
}

/// An error's text as both databases can hold it: PostgreSQL has no NUL in text.
pub(super) fn storable(reason: &str) -> String {
    reason.replace('\0', "\u{FFFD}")
}

/// One outcome row for the acked positions of a lease: from the first to the last of them, with a
/// mask where others lie between. Outputs are placed by position, never by arrival.
fn done_range(lease: &LeaseRow, done: &[(usize, Option<&str>)]) -> Option<OutcomeRow> {
    let (first, last) = (done.first()?.0, done.last()?.0);
    let span = last - first + 1;
    let mut mask = vec![b'0'; span];
    let mut outputs = vec!["null"; span];
    for (position, output) in done {
        mask[position - first] = b'1';
        outputs[position - first] = output.unwrap_or("null");
    }
    let slice = |all: &Vec<i64>| all.get(first..=last).map(<[i64]>::to_vec);
    Some(OutcomeRow {
        queue: lease.queue,
        first_id: lease.id_at(first),
        last_id: lease.id_at(last),
        upload: lease.upload,
        kind: OutcomeKind::Done,
        n: done.len(),
        mask: (done.len() < span).then(|| mask.iter().map(|bit| char::from(*bit)).collect()),
        ids: lease.ids.as_ref().and_then(slice),
        attempts: lease
            .attempts
            .as_ref()
            .and_then(|all| all.get(first..=last).map(<[i16]>::to_vec)),
        items: outputs
            .iter()
            .any(|output| *output != "null")
            .then(|| format!("[{}]", outputs.join(","))),
    })
}
