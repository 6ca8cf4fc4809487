//! When to look for what is due, and where: the task that brings it (see `porter`) goes by this.
//!
//! Two of a process do not visit one place at once: what the first has in hands the second would not see.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::delays::Step;
use crate::domain::QueueName;

/// Where there may be something to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) queue: QueueName,
    /// A delay queue of it; for none it is looked which there are.
    pub(super) step: Option<Step>,
}

impl Place {
    pub(super) fn queue(queue: &QueueName) -> Self {
        Self { queue: queue.clone(), step: None }
    }

    pub(super) fn delay(queue: &QueueName, step: Step) -> Self {
        Self { queue: queue.clone(), step: Some(step) }
    }
}

#[derive(Debug, Default)]
struct Plan {
    next: Option<Instant>,
    /// Somebody of this process is there; nobody else goes.
    visited: bool,
}

/// When to go where.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    plans: Mutex<HashMap<Place, Plan>>,
    sooner: Notify,
}

impl Agenda {
    /// To go there at that time at the latest.
    pub(super) fn visit(&self, place: Place, at: Instant) {
        let mut plans = self.plans();
        let plan = plans.entry(place).or_default();
        if plan.next.is_none_or(|next| at < next) {
            plan.next = Some(at);
            self.sooner.notify_one();
        }
    }

    /// Nothing of a queue is to be visited any more.
    pub(super) fn forget(&self, queue: &QueueName) {
        self.plans().retain(|place, _| place.queue != *queue);
    }

    /// Up to `room` places whose time has come, which are visited from now on, and the time of the
    /// next whose time has not.
    fn begin(&self, room: usize) -> (Vec<Place>, Option<Instant>) {
        let (now, mut due, mut next) = (Instant::now(), Vec::new(), None);
        for (place, plan) in self.plans().iter_mut().filter(|(_, plan)| !plan.visited) {
            match plan.next {
                Some(at) if at > now => next = next.map_or(Some(at), |next| Some(at.min(next))),
                Some(_) if due.len() < room => {
                    *plan = Plan { next: None, visited: true };
                    due.push(place.clone());
                }
                _ => {}
            }
        }
        (due, next)
    }

    /// A visit is over; nothing is left to do there if there is no time to come again.
    fn end(&self, place: &Place, again: Option<Instant>) {
        let mut plans = self.plans();
        let Some(plan) = plans.get_mut(place) else { return };
        plan.visited = false;
        plan.next = plan.next.into_iter().chain(again).min();
        if plan.next.is_none() {
            plans.remove(place);
        }
    }

    fn plans(&self) -> MutexGuard<'_, HashMap<Place, Plan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes where the agenda says, until the carrier is gone.
pub(super) async fn walk(shared: Weak<Shared>, agenda: Arc<Agenda>) {
    let mut visits = JoinSet::new();
    loop {
        let sooner = agenda.sooner.notified();
        let most = match shared.upgrade() {
            Some(shared) => shared.limits.delay_visits.max(1),
            None => return,
        };
        let (places, next) = agenda.begin(most.saturating_sub(visits.len()));
        for place in places {
            let Some(shared) = shared.upgrade() else { return };
            visits.spawn(async move {
                let again = shared.visit(&place).await;
                shared.agenda.end(&place, again);
            });
        }
        let next = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sooner => {}
            () = next => {}
            Some(_) = visits.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn place(seconds: usize) -> Place {
        Place::delay(&"q".parse().unwrap(), Step::all().nth(seconds).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_visited_by_one_at_a_time_and_as_soon_as_anybody_wants() {
        let (agenda, now) = (Agenda::default(), Instant::now());
        let second = Duration::from_secs(1);
        agenda.visit(place(0), now + 2 * second);
        agenda.visit(place(0), now + second);
        agenda.visit(place(0), now + 3 * second);
        agenda.visit(place(1), now + 5 * second);
        assert_eq!(agenda.begin(9), (vec![], Some(now + second)));
        tokio::time::advance(second).await;
        assert_eq!(agenda.begin(0), (vec![], Some(now + 5 * second)));
        assert_eq!(agenda.begin(9), (vec![place(0)], Some(now + 5 * second)));
        agenda.visit(place(0), now);
        assert_eq!(agenda.begin(9), (vec![], Some(now + 5 * second)), "somebody is there");
        agenda.end(&place(0), Some(now + 9 * second));
        assert_eq!(agenda.begin(9).0, [place(0)], "what was wanted meanwhile");
        agenda.end(&place(0), None);
        assert_eq!(agenda.begin(9), (vec![], Some(now + 5 * second)));
        agenda.forget(&"q".parse().unwrap());
        assert_eq!(agenda.begin(9), (vec![], None));
    }
}
