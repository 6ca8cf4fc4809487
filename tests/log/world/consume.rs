//! What consumers do, and what is done with their leases.

use super::*;

impl World<'_> {
    pub(super) async fn receive(
        &mut self,
        queue: i32,
        max: usize,
        consumers: usize,
    ) -> Checked<Vec<Uuid>> {
        match self.log.receive(QueueId(queue), max, consumers).await? {
            Received::Leases(leases) => {
                self.model.receive(queue, max, consumers, &leases)?;
                let receipts: Vec<Uuid> = leases.iter().map(|lease| lease.receipt).collect();
                self.receipts.extend(&receipts);
                Ok(receipts)
            }
            Received::Empty(why) => {
                check!(!self.model.anything_due(queue), "nothing came, and something was due");
                let expected = self.model.next_due(queue);
                let Emptiness::Until(due) = why else {
                    return Err(Violation("others had it locked, and there are none".into()));
                };
                let due = due.map(|due| i64::try_from(due.as_millis()).unwrap());
                let near = due.zip(expected).is_none_or(|(a, b)| (0..TICK).contains(&(b - a)));
                check!(
                    near && due.is_some() == expected.is_some(),
                    "the next is due in {due:?}, should be {expected:?}"
                );
                Ok(vec![])
            }
        }
    }

    /// A receipt: most of the time one that still holds something.
    pub(super) fn pick(&self, pick: u8) -> Option<Uuid> {
        let live: Vec<Uuid> =
            self.receipts.iter().filter(|r| self.model.leases.contains_key(r)).copied().collect();
        let from = if pick.is_multiple_of(4) || live.is_empty() { &self.receipts } else { &live };
        from.get(usize::from(pick / 4) % from.len().max(1)).copied()
    }

    pub(super) async fn settle(&mut self, picks: &[(u8, Pattern)], half: bool) -> Checked {
        let mut asked = vec![];
        for (pick, pattern) in picks {
            let Some(receipt) = self.pick(*pick) else { continue };
            let n = self.model.leases.get(&receipt).map_or(3, |lease| lease.ids.len());
            let n = u8::try_from(n).unwrap();
            let positions = match pattern {
                Pattern::Whole(by) => (0..n).map(|at| ((at + by % n) % n, Ending::Done)).collect(),
                // One beyond the last is a position that never was.
                Pattern::Some(some) => {
                    some.iter().map(|(at, ending)| (at % (n + 1), *ending)).collect::<Vec<_>>()
                }
            };
            let settlements = positions.into_iter().map(|(at, ending)| {
                self.serial += 1;
                let position = u16::from(at);
                Settlement { position, verdict: verdict(ending, receipt, position, self.serial) }
            });
            asked.push((receipt, settlements.collect()));
        }
        let settled = self.log.settle(&asked, &mut || if half { 0.0 } else { 1.0 }).await?;
        check_eq!(settled, self.model.settle(&asked, half), "settled");
        Ok(())
    }

    pub(super) async fn extend(&mut self, picks: &[u8], ticks: Option<u8>) -> Checked {
        let lasting = ticks.map(|ticks| i64::from(ticks) * TICK + TICK / 2);
        let asked: BTreeSet<Uuid> = picks.iter().filter_map(|pick| self.pick(*pick)).collect();
        let asked: Vec<Uuid> = asked.into_iter().collect();
        let mut extended = self.log.extend(&asked, lasting.map(millis)).await?;
        extended.sort_unstable();
        let there = asked.into_iter().filter(|receipt| self.model.leases.contains_key(receipt));
        let expected: Vec<_> =
            there.map(|receipt| (receipt, millis(lasting.unwrap_or(DEADLINE)))).collect();
        check_eq!(extended, expected, "extended");
        for (receipt, _) in expected {
            let expires = self.model.now + lasting.unwrap_or(DEADLINE);
            self.model.leases.get_mut(&receipt).unwrap().expires = expires;
        }
        Ok(())
    }

    pub(super) async fn sweep(&mut self, most: u32) -> Checked {
        let lapsed = self.model.lapsed();
        let swept = self.log.sweep(most).await?;
        check_eq!(swept.len(), lapsed.len().min(most as usize), "leases swept");
        // Which of them is the log's to choose: those that are no longer there.
        let left = self.leases_left().await?;
        let gone = lapsed.into_iter().filter(|receipt| !left.contains(receipt));
        let expected = gone.map(|receipt| self.model.end_lease(receipt, true)).collect();
        check_eq!(sorted(swept), sorted(expected), "what the sweep did");
        Ok(())
    }

    pub(super) async fn reclaim(&mut self, queue: i32) -> Checked {
        let reclaimed = self.log.reclaim(QueueId(queue)).await?;
        let leases = self.model.leases.iter().filter(|(_, lease)| lease.queue == queue);
        let receipts: Vec<Uuid> = leases.map(|(receipt, _)| *receipt).collect();
        let expected = receipts.into_iter().map(|receipt| self.model.end_lease(receipt, false));
        check_eq!(sorted(reclaimed), sorted(expected.collect()), "what the reclaim did");
        Ok(())
    }

    pub(super) async fn leases_left(&self) -> Checked<BTreeSet<Uuid>> {
        let places = Tables::read(&self.store).await?.places()?;
        let receipts = places.values().filter_map(|found| match found.place {
            Place::Hands { receipt, .. } => Some(receipt),
            _ => None,
        });
        Ok(receipts.collect())
    }

    /// Works off everything, and looks at all outcomes.
    pub(super) async fn drain(&mut self) -> Checked {
        for at in 0..self.uploads.len() {
            let upload = &self.uploads[at];
            self.log.release(upload.fence(Fault::Nothing), "{}").await?;
            self.model.release(upload.id.0);
        }
        for upload in self.model.uploads.keys().copied().collect::<Vec<_>>() {
            self.resume(upload).await?;
        }
        let idle = Operation::Advance { ticks: 9 };
        while self.remove(100).await? > 0 {}
        for round in 0.. {
            check!(round < 50, "the queues do not empty");
            self.apply(&idle).await?;
            while !self.model.lapsed().is_empty() {
                self.sweep(100).await?;
            }
            let mut receipts = vec![];
            for queue in self.queues.clone() {
                loop {
                    let more = self.receive(queue, 100, 1).await?;
                    if more.is_empty() {
                        break;
                    }
                    receipts.extend(more);
                }
            }
            // What died while its dead queue was being deleted goes with that.
            while self.remove(100).await? > 0 {}
            let left: u64 = self.queues.iter().map(|queue| self.model.depth(*queue).total()).sum();
            if left == 0 {
                break;
            }
            for receipt in receipts {
                self.receipts = vec![receipt];
                self.settle(&[(1, Pattern::Whole(1))], false).await?;
            }
            self.apply(&Operation::Expire).await?;
        }
        self.compare(&Tables::read(&self.store).await?.places()?)?;
        for queue in &self.queues {
            for upload in &self.uploads {
                self.check_upload(upload, *queue).await?;
            }
        }
        Ok(())
    }
}

fn verdict(ending: Ending, receipt: Uuid, position: u16, serial: u64) -> Verdict {
    let reason = || format!("no {serial}").into();
    match ending {
        Ending::Done => {
            let output =
                format!(r#"{{"receipt":"{receipt}","position":{position},"serial":{serial}}}"#);
            Verdict::Done { output: Some(output.into()) }
        }
        Ending::DoneWithNothing => Verdict::Done { output: None },
        Ending::Retry => Verdict::Retry { reason: reason(), after: None },
        Ending::RetryAfter(ticks) => {
            Verdict::Retry { reason: reason(), after: Some(millis(i64::from(ticks) * TICK)) }
        }
        Ending::Reject => Verdict::Reject { reason: reason() },
        Ending::Release => Verdict::Release,
    }
}

fn sorted(mut all: Vec<Settled>) -> Vec<Settled> {
    all.sort_by_key(|settled| (settled.done, settled.dead, settled.again));
    all
}
