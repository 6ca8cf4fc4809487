//! What moves messages, or ends or removes them, without a delivery.

use super::*;

impl Model {
    /// Ends what waited too long; answers how many messages.
    pub(crate) fn expire(&mut self) -> u64 {
        let now = self.now;
        let late = |spot: &Spot| match spot {
            Spot::Fresh { held: false, expires, .. }
            | Spot::Waiting { held: false, expires, .. } => !lasts(*expires, now),
            _ => false,
        };
        self.end_all(late, EXPIRED, None)
    }

    /// Cancels what waits in a queue; answers how many messages.
    pub(crate) fn purge(&mut self, queue: i32) -> u64 {
        let waits = |spot: &Spot| matches!(spot, Spot::Fresh { .. } | Spot::Waiting { .. });
        self.end_all(waits, CANCELLED, Some(queue))
    }

    fn end_all(&mut self, which: impl Fn(&Spot) -> bool, kind: i16, only: Option<i32>) -> u64 {
        let (mut ended, at) = (vec![], self.now);
        for (number, queue) in &self.queues {
            if only.is_none_or(|only| only == *number) {
                let over = queue.messages.iter().filter(|(_, spot)| which(spot));
                ended.extend(over.map(|(id, spot)| match spot {
                    Spot::Waiting { attempts, .. } => (*number, *id, *attempts),
                    _ => (*number, *id, 0),
                }));
            }
        }
        for (queue, id, attempts) in &ended {
            let spot = Spot::Ended { kind, attempts: *attempts, item: None, at };
            self.put(*queue, *id, spot);
        }
        ended.len() as u64
    }

    /// The dead queues that lead on from a queue, and the queues whose dead queues lead to it.
    fn chains(&self, of: i32) -> (Vec<i32>, Vec<i32>) {
        let (mut below, mut above) = (vec![], vec![]);
        while let Some(next) = self.queues[below.last().unwrap_or(&of)].dead_queue {
            below.push(next);
        }
        let owner = |of| self.queues.iter().find(|(_, queue)| queue.dead_queue == Some(of));
        while let Some((next, _)) = owner(*above.last().unwrap_or(&of)) {
            above.push(*next);
        }
        (below, above)
    }

    /// What waits begins a new life in another queue; answers how many messages.
    pub(crate) fn redrive(&mut self, from: i32, to: i32) -> u64 {
        if from == to || self.queues[&to].deleted {
            return 0;
        }
        let died_in: Vec<i32> = self.chains(from).1.into_iter().chain([to]).collect();
        let mut watched = self.chains(to).0;
        watched.retain(|queue| *queue != from);
        watched.push(to);
        let mut above = self.chains(to).1;
        above.retain(|queue| *queue != from);
        let (delay, retention) = (self.queues[&to].delay, self.queues[&to].retention);
        let waiting: Vec<i64> = self.queues[&from]
            .messages
            .iter()
            .filter(|(_, spot)| spot.waits(self.now))
            .map(|(id, _)| *id)
            .collect();
        let mut moved = 0;
        for id in waiting {
            let in_the_way = |queue: &i32| match self.queues[queue].messages.get(&id) {
                None => false,
                Some(Spot::Ended { kind: DEAD, .. }) => !died_in.contains(queue),
                Some(_) => true,
            };
            let may_die_into_it = |queue: &i32| {
                let spot = self.queues[queue].messages.get(&id);
                spot.is_some_and(|spot| !matches!(spot, Spot::Ended { .. }))
            };
            if watched.iter().any(in_the_way) || above.iter().any(may_die_into_it) {
                continue;
            }
            let left = self.queues.get_mut(&from).unwrap().messages.remove(&id);
            let error = match left {
                Some(Spot::Waiting { error, .. }) => error,
                _ => None,
            };
            for queue in &died_in {
                let messages = &mut self.queues.get_mut(queue).unwrap().messages;
                if matches!(messages.get(&id), Some(Spot::Ended { kind: DEAD, .. })) {
                    messages.remove(&id);
                }
            }
            let expires = retention.map(|retention| self.now + retention);
            let held = self.is_paused(id) && self.queues[&to].counted;
            let available = self.now + delay;
            let spot = Spot::Waiting { held, attempts: 0, available, expires, error };
            self.put(to, id, spot);
            moved += 1;
        }
        moved
    }

    /// A queue is deleted: it hands out nothing, and nothing comes to it.
    pub(crate) fn delete(&mut self, number: i32) {
        for queue in self.queues.values_mut() {
            queue.dead_queue = queue.dead_queue.filter(|dead| *dead != number);
        }
        let queue = self.queues.get_mut(&number).unwrap();
        queue.deleted = true;
        queue.dead_queue = None;
    }

    /// Whether deleted queues hold nothing any more.
    pub(crate) fn none_deleted(&self) -> bool {
        self.queues.values().all(|queue| !queue.deleted || queue.messages.is_empty())
    }

    /// Something of a deleted queue was removed.
    pub(crate) fn forget(&mut self, queue: i32, id: i64) {
        self.queues.get_mut(&queue).unwrap().messages.remove(&id);
        self.forget_empty_leases();
    }

    /// Removes messages that are no rows and that ended longer than `age` ago, where all such
    /// messages of their block are over; answers how many.
    pub(crate) fn tidy(&mut self, age: i64) -> u64 {
        let (now, contents) = (self.now, &self.contents);
        let mut busy = std::collections::BTreeSet::new();
        for (id, spot) in self.queues.values().flat_map(|queue| &queue.messages) {
            let over = matches!(spot, Spot::Ended { at, .. } if *at <= now - age);
            if contents[id].upload.is_none() && !over {
                busy.insert(id / BLOCK);
            }
        }
        let over: Vec<i64> = contents
            .iter()
            .filter(|(id, content)| {
                content.upload.is_none()
                    && content.created <= now - age.min(60_000)
                    && !busy.contains(&(*id / BLOCK))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in &over {
            self.contents.remove(id);
            self.queues.values_mut().for_each(|queue| drop(queue.messages.remove(id)));
        }
        over.len() as u64
    }
}
