//! Looking at messages without taking them.

use rowmill::domain::MessageState;
use rowmill::store::log::Seen;

use super::*;
use crate::model::{CANCELLED, DEAD, DONE};

impl World<'_> {
    /// What is ready comes first, then what waits for its time, by it.
    pub(super) async fn peek(&self, queue: i32, limit: usize) -> Checked {
        let seen = self.log.peek(QueueId(queue), limit).await?;
        let (now, terms) = (self.model.now, &self.model.queues[&queue]);
        if terms.deleted {
            check!(seen.is_empty(), "queue {queue} is deleted");
            return Ok(());
        }
        let waiting = terms.messages.values().filter(|spot| spot.waits(now));
        let due: Vec<i64> = waiting.filter_map(Spot::available).collect();
        check_eq!(seen.len(), due.len().min(limit), "messages seen in queue {queue}");
        let ready = due.iter().filter(|at| **at <= now).count();
        let mut before = None;
        let mut met = BTreeSet::new();
        for (at, seen) in seen.iter().enumerate() {
            check!(met.insert(seen.id), "message {} was seen twice", seen.id);
            let spot = terms.messages.get(&seen.id).filter(|spot| spot.waits(now));
            let Some(spot) = spot else {
                return Err(Violation(format!("{seen:?} does not wait")));
            };
            let available = spot.available().unwrap();
            check_eq!(available <= now, at < ready, "whether number {at}, {seen:?}, is ready");
            let in_turn = before.is_none_or(|before| before <= available);
            check!(available <= now || in_turn, "{seen:?} comes too late");
            before = (available > now).then_some(available);
            self.check_seen(seen, spot)?;
        }
        Ok(())
    }

    pub(super) async fn look(&self, queue: i32, pick: u8) -> Checked {
        let terms = &self.model.queues[&queue];
        let ids: Vec<i64> = self.model.contents.keys().copied().collect();
        let id = ids.get(usize::from(pick) % ids.len().max(1)).copied().unwrap_or(1);
        let seen = self.log.message(QueueId(queue), id).await?;
        let spot = terms.messages.get(&id).filter(|_| !terms.deleted);
        check_eq!(seen.is_some(), spot.is_some(), "whether {id} is seen in queue {queue}");
        let Some((seen, spot)) = seen.zip(spot) else { return Ok(()) };
        self.check_seen(&seen, spot)
    }

    fn check_seen(&self, seen: &Seen, spot: &Spot) -> Checked {
        let content = &self.model.contents[&seen.id];
        let place = seen.place.map(|(sheet, row)| (sheet, row.0));
        check_eq!(&*seen.data, content.data, "data of {seen:?}");
        check_eq!(seen.attributes.as_deref(), content.attributes.as_deref(), "of {seen:?}");
        check_eq!(seen.upload.map(|upload| upload.0), content.upload, "upload of {seen:?}");
        check_eq!(place, content.place, "place of {seen:?}");
        let (state, attempts, scheduled, expires, reason) = match spot {
            Spot::Fresh { held, available, expires, .. } => {
                let state = if *held { MessageState::Held } else { MessageState::Waiting };
                (state, 0, *available, *expires, None)
            }
            Spot::Waiting { held, attempts, available, expires, error } => {
                let state = if *held { MessageState::Held } else { MessageState::Waiting };
                (state, *attempts, *available, *expires, error.clone())
            }
            Spot::Hands { receipt, attempt, expires, .. } => {
                let deadline = self.model.leases[receipt].expires;
                (MessageState::InFlight, *attempt, deadline, *expires, None)
            }
            Spot::Ended { kind, attempts, item, at } => {
                let (state, reason) = match *kind {
                    DONE => (MessageState::Done, None),
                    DEAD => (MessageState::Dead, item.clone()),
                    CANCELLED => (MessageState::Cancelled, None),
                    _ => (MessageState::Expired, None),
                };
                (state, *attempts, *at, None, reason)
            }
        };
        check_eq!(seen.state, state, "state of {seen:?}, which is {spot:?}");
        check_eq!(seen.attempts, attempts, "attempts of {seen:?}");
        check_eq!(seen.reason.as_deref(), reason.as_deref(), "reason of {seen:?}");
        check!(
            self.model.is_at(seen.created_ms, content.created),
            "{seen:?} was made another time"
        );
        check!(self.model.is_at(seen.scheduled_ms, scheduled), "{seen:?} is due at {scheduled}");
        check!(self.model.is_at_all(seen.expires_ms, expires), "{seen:?} expires at {expires:?}");
        let ended = matches!(spot, Spot::Ended { .. });
        let updated = if ended { scheduled } else { content.created };
        check!(self.model.is_at(seen.updated_ms, updated), "{seen:?} changed at {updated}");
        Ok(())
    }
}
