//! Consumers: they settle whole, in parts, together, late, twice, or never.

use super::*;

impl Mill {
    pub(super) async fn consume(self: Arc<Self>, mut rng: Rng) -> Checked {
        let mut late: Vec<(Instant, Uuid, Vec<Held>)> = vec![];
        while !self.ended() {
            let terms = self.queues[rng.usize(..self.queues.len())];
            let max = rng.usize(1..60);
            // Some receive for several at once, as a broker does for its process.
            let consumers = if rng.bool() { 1 } else { rng.usize(2..5) };
            let received =
                self.answer(self.log.receive(QueueId(terms.queue), max, consumers).await)?;
            let mut together = vec![];
            match received {
                None => tokio::time::sleep(PAUSE).await,
                Some(Received::Empty(Emptiness::Contended)) => tokio::task::yield_now().await,
                Some(Received::Empty(Emptiness::Until(due))) => {
                    let nap = due.unwrap_or(DEADLINE).min(Duration::from_millis(10));
                    tokio::time::sleep(nap.max(Duration::from_millis(1))).await;
                }
                Some(Received::Leases(leases)) => {
                    for lease in leases {
                        let held = self.hold(terms.queue, &lease)?;
                        let receipt = lease.receipt;
                        match if self.draining() { 0 } else { rng.u8(0..100) } {
                            0..35 => {
                                self.settle(vec![(receipt, held)], true, &mut rng).await?;
                            }

                            35..60 => self.settle_in_parts(receipt, held, &mut rng).await?,
                            60..70 => together.push((receipt, held)),
                            70..80 => late.push((Instant::now() + DEADLINE, receipt, held)),
                            // A crash: nobody knows the receipt any more.
                            80..90 => {}
                            _ => {
                                self.answer(self.log.extend(&[receipt], None).await)?;
                                self.settle(vec![(receipt, held)], false, &mut rng).await?;
                            }
                        }
                    }
                }
            }
            if !together.is_empty() {
                self.settle(together, false, &mut rng).await?;
            }
            let now = Instant::now();
            let (over, yet): (Vec<_>, Vec<_>) = late.drain(..).partition(|(at, ..)| *at <= now);
            late = yet;
            for (_, receipt, held) in over {
                self.settle(vec![(receipt, held)], false, &mut rng).await?;
            }
        }
        Ok(())
    }

    pub(super) fn hold(&self, queue: i32, lease: &HandedLease) -> Checked<Vec<Held>> {
        let held: Vec<Held> = lease
            .messages
            .iter()
            .map(|message| Held {
                queue,
                id: message.id,
                attempt: message.attempt,
                position: message.position,
            })
            .collect();
        for message in &lease.messages {
            check_eq!(*message.data, *format!(r#"{{"id":{}}}"#, message.id), "data");
        }
        self.ledger.handed(lease.receipt, &held)?;
        Ok(held)
    }

    /// Random positions at a time, each part sent once more for good measure.
    pub(super) async fn settle_in_parts(
        &self,
        receipt: Uuid,
        mut held: Vec<Held>,
        rng: &mut Rng,
    ) -> Checked {
        rng.shuffle(&mut held);
        while !held.is_empty() {
            let part: Vec<Held> = held.split_off(rng.usize(..held.len()));
            self.settle(vec![(receipt, part.clone())], false, rng).await?;
            if rng.bool() {
                let applied = self.settle(vec![(receipt, part)], true, rng).await?;
                check!(applied == 0 || self.size.failing, "a repeated settle was applied");
            }
        }
        Ok(())
    }

    pub(super) fn verdicts(
        receipt: Uuid,
        held: &[Held],
        all_done: bool,
        rng: &mut Rng,
    ) -> Vec<Settlement> {
        let one = |held: &Held| {
            let reason = || format!("no {}", held.id).into();
            let verdict = match if all_done { 0 } else { rng.u8(0..10) } {
                0..6 => {
                    let (id, attempt) = (held.id, held.attempt);
                    let output = format!(r#"{{"id":{id},"attempt":{attempt},"by":"{receipt}"}}"#);
                    Verdict::Done { output: Some(output.into()) }
                }
                6 | 7 => Verdict::Retry { reason: reason(), after: None },
                8 => Verdict::Reject { reason: reason() },
                _ => Verdict::Release,
            };
            Settlement { position: held.position, verdict }
        };
        held.iter().map(one).collect()
    }

    /// Answers how many positions that ended, or may have.
    pub(super) async fn settle(
        &self,
        mut leases: Vec<(Uuid, Vec<Held>)>,
        all_done: bool,
        rng: &mut Rng,
    ) -> Checked<usize> {
        let mut applied = 0;
        let mut asked = vec![];
        for (receipt, held) in &mut leases {
            rng.shuffle(held);
            asked.push((*receipt, Self::verdicts(*receipt, held, all_done, rng)));
        }
        let mut dice = rng.fork();
        let answer = self.log.settle(&asked, &mut || dice.f64()).await;
        let answer = self.answer(answer)?;
        for (at, ((_, held), (_, settlements))) in leases.iter().zip(&asked).enumerate() {
            let stale: HashSet<u16> = match &answer {
                Some(answer) => answer[at].stale.iter().copied().collect(),
                None => HashSet::new(),
            };
            for (held, settlement) in held.iter().zip(settlements) {
                if !stale.contains(&held.position) {
                    applied += 1;
                    self.ledger.settled(held, &settlement.verdict, answer.is_some())?;
                }
            }
        }
        Ok(applied)
    }
}
