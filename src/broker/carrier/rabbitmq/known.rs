//! What this process was told of queues: RabbitMQ keeps their arguments and does not tell them.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use super::delays::Step;
use crate::broker::carrier::CarrierQueue;
use crate::domain::QueueName;

/// The queues that were ensured by this process, and the delay queues that it has seen.
#[derive(Debug, Default)]
pub(super) struct Known {
    queues: RwLock<HashMap<QueueName, CarrierQueue>>,
    delays: RwLock<HashSet<(QueueName, Step)>>,
}

macro_rules! locked {
    ($lock:expr, $how:ident) => {
        $lock.$how().unwrap_or_else(PoisonError::into_inner)
    };
}

impl Known {
    pub(super) fn put(&self, queue: &CarrierQueue) {
        locked!(self.queues, write).insert(queue.name.clone(), queue.clone());
    }

    pub(super) fn get(&self, name: &QueueName) -> Option<CarrierQueue> {
        locked!(self.queues, read).get(name).cloned()
    }

    /// Everything of a queue.
    pub(super) fn forget(&self, name: &QueueName) {
        locked!(self.queues, write).remove(name);
        self.forget_delays(name);
    }

    pub(super) fn has_delay(&self, name: &QueueName, step: Step) -> bool {
        locked!(self.delays, read).contains(&(name.clone(), step))
    }

    pub(super) fn put_delay(&self, name: &QueueName, step: Step) {
        locked!(self.delays, write).insert((name.clone(), step));
    }

    pub(super) fn forget_delay(&self, name: &QueueName, step: Step) {
        locked!(self.delays, write).remove(&(name.clone(), step));
    }

    /// Somebody has removed them.
    pub(super) fn forget_delays(&self, name: &QueueName) {
        locked!(self.delays, write).retain(|(queue, _)| queue != name);
    }
}
