//! How deliveries end, and the leases they were in.

use super::*;

impl Model {
    /// What settling must answer. `half` is whether the dice make back-offs half as long.
    pub(crate) fn settle(&mut self, asked: &[(Uuid, Vec<Settlement>)], half: bool) -> Vec<Settled> {
        let one = |(receipt, settlements): &(Uuid, Vec<Settlement>)| {
            let mut settled = Settled::default();
            for settlement in settlements {
                let position = settlement.position;
                match self.holds(*receipt, position) {
                    Some(held) => self.end(held, &settlement.verdict, half, &mut settled),
                    None => settled.stale.push(position),
                }
            }
            settled
        };
        let all = asked.iter().map(one).collect();
        self.forget_empty_leases();
        all
    }

    /// What is at a position, if the receipt still holds it.
    pub(super) fn holds(&self, receipt: Uuid, at: u16) -> Option<Held> {
        let lease = self.leases.get(&receipt)?;
        let id = *lease.ids.get(usize::from(at))?;
        match self.queues[&lease.queue].messages.get(&id) {
            Some(Spot::Hands { receipt: holder, position, attempt, expires })
                if (*holder, *position) == (receipt, at) =>
            {
                let (queue, attempt, expires) = (lease.queue, *attempt, *expires);
                Some(Held { queue, id, attempt, expires })
            }
            _ => None,
        }
    }

    pub(super) fn end(&mut self, held: Held, how: &Verdict, half: bool, sum: &mut Settled) {
        let Held { queue, id, attempt, expires } = held;
        let (now, (first, most)) = (self.now, self.backoff);
        let terms = &self.queues[&queue];
        let last = attempt >= terms.max_deliveries;
        let backoff = (first << (attempt - 1).min(20)).min(most) / if half { 2 } else { 1 };
        let held = self.is_paused(id);
        let again = |wait: i64, error: Option<&str>| Spot::Waiting {
            held,
            attempts: attempt,
            available: now + wait,
            expires,
            error: error.map(str::to_owned),
        };
        let spot = match how {
            Verdict::Done { output } => {
                sum.done += 1;
                let item = output.as_deref().map(str::to_owned);
                Spot::Ended { kind: DONE, attempts: attempt, item, at: now }
            }
            Verdict::Release => again(0, None),
            Verdict::Retry { reason, after } if !last => {
                let after = after.map(|after| i64::try_from(after.as_millis()).unwrap());
                again(after.unwrap_or(backoff), Some(reason))
            }
            Verdict::Retry { reason, .. } | Verdict::Reject { reason } => {
                sum.dead += 1;
                let error = Some(String::from(&**reason));
                if let Some(dead_queue) = terms.dead_queue {
                    let dead_queue = self.queues.get_mut(&dead_queue).unwrap();
                    let expires = dead_queue.retention.map(|retention| now + retention);
                    let error = error.clone();
                    let available = now;
                    let held = false;
                    let spot = Spot::Waiting { held, attempts: 0, available, expires, error };
                    dead_queue.messages.insert(id, spot);
                }
                Spot::Ended { kind: DEAD, attempts: attempt, item: error, at: now }
            }
        };
        sum.again += u32::from(matches!(spot, Spot::Waiting { .. }));
        self.put(queue, id, spot);
    }

    /// Where a message is from now on: nowhere, when its end is not recorded.
    pub(super) fn put(&mut self, queue: i32, id: i64, spot: Spot) {
        let row = self.contents[&id].upload.is_some();
        let queue = self.queues.get_mut(&queue).unwrap();
        if matches!(spot, Spot::Ended { .. }) && !queue.recorded && !row {
            queue.messages.remove(&id);
        } else {
            queue.messages.insert(id, spot);
        }
    }

    pub(super) fn forget_empty_leases(&mut self) {
        let held: Vec<Uuid> = self
            .leases
            .keys()
            .filter(|receipt| {
                let n = self.leases[*receipt].ids.len();
                (0..n).any(|at| self.holds(**receipt, u16::try_from(at).unwrap()).is_some())
            })
            .copied()
            .collect();
        self.leases.retain(|receipt, _| held.binary_search(receipt).is_ok());
    }

    /// Ends all that a lease holds; what a sweep (`lapsed`) or a reclaim must answer for it.
    pub(crate) fn end_lease(&mut self, receipt: Uuid, lapsed: bool) -> Settled {
        let how = if lapsed {
            Verdict::Retry {
                reason: "its ack deadline passed".into(),
                after: Some(std::time::Duration::ZERO),
            }
        } else {
            Verdict::Release
        };
        let n = self.leases[&receipt].ids.len();
        let mut settled = Settled::default();
        for position in 0..u16::try_from(n).unwrap() {
            if let Some(held) = self.holds(receipt, position) {
                self.end(held, &how, false, &mut settled);
            }
        }
        self.leases.remove(&receipt);
        settled
    }

    /// The leases whose deadline passed.
    pub(crate) fn lapsed(&self) -> Vec<Uuid> {
        let lapsed = self.leases.iter().filter(|(_, lease)| lease.expires < self.now);
        lapsed.map(|(receipt, _)| *receipt).collect()
    }
}
