//! Queues as a relay needs them: their terms, read at most a second ago, and made in the carrier as
//! these terms say.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::broker::cache::{read, write};
use crate::broker::carrier::{Abilities, Carrier, CarrierQueue};
use crate::broker::error::BrokerError;
use crate::broker::names::Known;
use crate::domain::QueueName;
use crate::store::Store;
use crate::store::control::{QueueRecord, QueueTerms};

/// An engine keeps a message for so much longer than it may wait, if it can: that it has expired is
/// recorded by whoever takes it.
const KEPT_LONGER: Duration = Duration::from_secs(24 * 3600);
/// Dead queues of dead queues that are followed at most; there are no circles.
const DEPTH: usize = 100;

pub(super) struct Queues {
    store: Store,
    known: Known<QueueName, Arc<QueueRecord>>,
    /// What the carrier was last told.
    ensured: RwLock<HashMap<QueueName, CarrierQueue>>,
}

impl Queues {
    pub(super) fn new(store: Store) -> Self {
        Self { store, known: Known::default(), ensured: RwLock::default() }
    }

    /// A queue, which the carrier has, and so have the dead queues that lead from it.
    pub(super) async fn get<C: Carrier>(
        &self,
        carrier: &C,
        name: &QueueName,
    ) -> Result<Arc<QueueRecord>, BrokerError> {
        let queue = self.record(name).await?;
        let abilities = carrier.abilities();
        if read(&self.ensured).get(name) == Some(&told(name, &queue.terms, &abilities)) {
            return Ok(queue);
        }
        // From the last dead queue on, so that each is there when another names it.
        let mut chain = vec![Arc::clone(&queue)];
        while let Some(dead) = chain.last().and_then(|queue| queue.terms.dead_queue.clone()) {
            if chain.len() >= DEPTH {
                break;
            }
            chain.push(self.record(&dead).await?);
        }
        for queue in chain.into_iter().rev() {
            let told = told(&queue.name, &queue.terms, &abilities);
            let known = read(&self.ensured).get(&queue.name) == Some(&told);
            if !known {
                carrier.ensure(&told).await?;
                write(&self.ensured).insert(queue.name.clone(), told);
            }
        }
        Ok(queue)
    }

    async fn record(&self, name: &QueueName) -> Result<Arc<QueueRecord>, BrokerError> {
        if let Some(queue) = self.known.get(name) {
            return Ok(queue);
        }
        let found = self.store.control.queue_record(name).await?;
        let queue = Arc::new(found.ok_or_else(|| BrokerError::NoQueue(name.clone()))?);
        self.known.put(name.clone(), Arc::clone(&queue));
        Ok(queue)
    }

    /// Terms may be others by now.
    pub(super) fn forget(&self) {
        self.known.clear();
    }

    /// The carrier has lost it.
    pub(super) fn lost(&self, name: &QueueName) {
        write(&self.ensured).remove(name);
    }
}

/// The queue as a carrier is told of it. Its limit of deliveries is one higher than rowmill's, for
/// consumers that die without a word.
pub(super) fn told(name: &QueueName, terms: &QueueTerms, abilities: &Abilities) -> CarrierQueue {
    let kept = |retention: Duration| match abilities.retention_most {
        Some(most) if retention <= most => retention.saturating_add(KEPT_LONGER).min(most),
        _ => retention.saturating_add(KEPT_LONGER),
    };
    CarrierQueue {
        name: name.clone(),
        dead: terms.dead_queue.clone(),
        // Without a dead queue there is nowhere to give a message up to.
        deliveries: terms
            .dead_queue
            .as_ref()
            .and(terms.max_deliveries)
            .map(|most| u32::from(most) + 1),
        ack_deadline: terms.deadline,
        retention: terms.retention.map(kept),
        capacity: None,
    }
}
