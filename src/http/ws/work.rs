//! What a socket has to tell the broker: verdicts and extends. They gather while one such call is
//! under way, and go together in the next.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::hands::Held;
use crate::api::SettledAs;
use crate::broker::{Broker, BrokerError};
use crate::domain::{MessageId, Receipt, Settled, Settlement, Verdict};

/// Whose verdict it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The client's, who is told what became of it.
    Client,
    /// Ours, because the client wants every delivery acked as soon as it was sent.
    AutoAck,
}

/// A delivery on which there is a verdict.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    pub(super) id: MessageId,
    pub(super) held: Held,
    pub(super) by: By,
}

/// A delivery that needs longer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) id: MessageId,
    pub(super) receipt: Receipt,
    pub(super) lasting: Duration,
}

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Work {
    verdicts: Vec<(Judged, Verdict)>,
    extends: Vec<Wanted>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Nothing where the call failed: it may have been done or not, and can be said again.
    pub(super) settled: Vec<(Judged, Option<SettledAs>)>,
    pub(super) extended: Vec<(Wanted, Extended)>,
    /// Why something failed.
    pub(super) failure: Option<BrokerError>,
}

/// What became of an extend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extended {
    /// It lasts until then.
    Until(Instant),
    /// The delivery was settled or swept before.
    TooLate,
    /// The call failed.
    Open,
}

impl Work {
    pub(super) fn judge(&mut self, judged: Judged, verdict: Verdict) {
        self.verdicts.push((judged, verdict));
    }

    pub(super) fn extend(&mut self, wanted: Wanted) {
        self.extends.push(wanted);
    }

    /// Verdicts that wait.
    pub(super) fn verdicts(&self) -> usize {
        self.verdicts.len()
    }

    /// All that waits.
    pub(super) fn len(&self) -> usize {
        self.verdicts.len() + self.extends.len()
    }

    /// Tells the broker.
    ///
    /// Cancellation safety: dropped half-way, any part of it may have been done.
    pub(super) async fn carry_out<B: Broker>(self, broker: B) -> Report {
        let mut report = Report::default();
        // A lease has one deadline: what is asked of several of its messages is asked together.
        let mut by_time: BTreeMap<Duration, Vec<Wanted>> = BTreeMap::new();
        for wanted in self.extends {
            by_time.entry(wanted.lasting).or_default().push(wanted);
        }
        for (lasting, wanted) in by_time {
            let receipts = wanted.iter().map(|wanted| wanted.receipt).collect();
            match broker.extend_for(receipts, lasting).await {
                Ok(deadlines) => {
                    let now = Instant::now();
                    let became = deadlines.into_iter().map(|left| match left {
                        Some(left) => Extended::Until(now + left),
                        None => Extended::TooLate,
                    });
                    report.extended.extend(wanted.into_iter().zip(became));
                }
                Err(error) => {
                    let open = wanted.into_iter().map(|wanted| (wanted, Extended::Open));
                    report.extended.extend(open);
                    report.failure = Some(error);
                }
            }
        }
        if self.verdicts.is_empty() {
            return report;
        }
        let (judged, asked) = by_lease(self.verdicts);
        match broker.settle(asked).await {
            Ok(settled) => {
                for (judged, settled) in judged.into_iter().zip(settled) {
                    report.settled.extend(what_became(&judged, &settled));
                }
            }
            Err(error) => {
                let open = judged.into_iter().flatten().map(|(judged, _)| (judged, None));
                report.settled.extend(open);
                report.failure = Some(error);
            }
        }
        report
    }
}

/// What was said of a delivery, as far as its answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meant {
    Done,
    Retry,
    Reject,
}

type OfLease = Vec<(Judged, Meant)>;

fn by_lease(verdicts: Vec<(Judged, Verdict)>) -> (Vec<OfLease>, Vec<(Receipt, Vec<Settlement>)>) {
    let mut places: HashMap<Receipt, usize> = HashMap::new();
    let (mut leases, mut asked): (Vec<OfLease>, Vec<(Receipt, Vec<Settlement>)>) = (vec![], vec![]);
    for (judged, verdict) in verdicts {
        let Held { receipt, position, .. } = judged.held;
        let at = *places.entry(receipt).or_insert_with(|| {
            leases.push(vec![]);
            asked.push((receipt, vec![]));
            leases.len() - 1
        });
        let meant = match verdict {
            Verdict::Done { .. } => Meant::Done,
            Verdict::Reject { .. } => Meant::Reject,
            Verdict::Retry { .. } | Verdict::Release => Meant::Retry,
        };
        leases[at].push((judged, meant));
        asked[at].1.push(Settlement { position, verdict });
    }
    (leases, asked)
}

/// What became of each delivery of a lease. The broker counts the dead; of those that were to be
/// tried again, those with the most attempts behind them have died, for all have the same limit.
fn what_became(judged: &[(Judged, Meant)], settled: &Settled) -> Vec<(Judged, Option<SettledAs>)> {
    let is_stale = |judged: &Judged| settled.stale.contains(&judged.held.position);
    let live = |meant| judged.iter().filter(move |(one, said)| *said == meant && !is_stale(one));
    let rejected = live(Meant::Reject).count();
    let mut attempts: Vec<_> = live(Meant::Retry).map(|(one, _)| one.held.attempt).collect();
    attempts.sort_unstable_by(|a, b| b.cmp(a));
    let died = usize::try_from(settled.dead).unwrap_or(usize::MAX).saturating_sub(rejected);
    let last = died.checked_sub(1).and_then(|last| attempts.get(last)).copied();
    let status = |one: &Judged, meant| match meant {
        _ if is_stale(one) => SettledAs::Stale,
        Meant::Done => SettledAs::Done,
        Meant::Reject => SettledAs::Dead,
        Meant::Retry if last.is_some_and(|last| one.held.attempt >= last) => SettledAs::Dead,
        Meant::Retry => SettledAs::Again,
    };
    judged.iter().map(|(one, meant)| (*one, Some(status(one, *meant)))).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::MessageKey;

    fn judged(lease: u128, position: u16, attempt: u16) -> Judged {
        let receipt = Receipt(Uuid::from_u128(lease));
        let held = Held { receipt, position, attempt, until: Instant::now() };
        let id = MessageKey::new(b"k").id(1, u64::from(position));
        Judged { id, held, by: By::Client }
    }

    #[test]
    fn each_is_told_what_became_of_it() {
        let judged = [
            (judged(1, 0, 1), Meant::Done),
            (judged(1, 1, 5), Meant::Retry),
            (judged(1, 2, 2), Meant::Retry),
            (judged(1, 3, 1), Meant::Reject),
            (judged(1, 4, 1), Meant::Done),
            (judged(1, 5, 9), Meant::Reject),
        ];
        let settled = Settled { done: 1, dead: 2, again: 1, stale: vec![4, 5] };
        let became: Vec<_> =
            what_became(&judged, &settled).into_iter().map(|(_, became)| became.unwrap()).collect();
        use SettledAs::{Again, Dead, Done, Stale};
        assert_eq!(became, [Done, Dead, Again, Dead, Stale, Stale]);
        let none_died = Settled { done: 1, dead: 1, again: 2, stale: vec![4, 5] };
        let became = what_became(&judged, &none_died);
        assert_eq!((became[1].1, became[2].1), (Some(Again), Some(Again)));
    }

    #[test]
    fn verdicts_of_a_lease_go_together() {
        let release = || Verdict::Release;
        let all = vec![
            (judged(2, 3, 1), release()),
            (judged(1, 0, 1), release()),
            (judged(2, 1, 1), release()),
        ];
        let (leases, asked) = by_lease(all);
        let places: Vec<(u128, Vec<u16>)> = asked
            .iter()
            .map(|(receipt, all)| {
                (receipt.0.as_u128(), all.iter().map(|one| one.position).collect())
            })
            .collect();
        assert_eq!(places, [(2, vec![3, 1]), (1, vec![0])]);
        assert_eq!(leases.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }
}
