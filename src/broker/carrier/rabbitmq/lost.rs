//! What was in hands over a node of a cluster that was killed, and that nobody kept.
//!
//! RabbitMQ 3.10 gives such deliveries to nobody until the node is back (see `settle`). This process
//! knows what they were, so it sends them anew, with the deliveries that are behind them. If the node
//! was not killed, but the connection alone was lost, they are there twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use lapin::types::ShortString;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::Shared;
use super::lane::Held;
use super::letter::{Anew, Letter};
use super::send::Addressed;
use crate::broker::carrier::CarrierError;
use crate::domain::QueueName;

/// What is to be sent anew. It is no more than was in hands.
#[derive(Debug, Default)]
pub(super) struct Lost {
    all: Mutex<Vec<(QueueName, Held)>>,
    some: Notify,
}

impl Lost {
    /// These went with their channel.
    pub(super) fn tell(&self, queue: &QueueName, held: Vec<Held>) {
        if held.is_empty() {
            return;
        }
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(held.into_iter().map(|held| (queue.clone(), held)));
        self.some.notify_one();
    }

    fn take(&self) -> HashMap<QueueName, Vec<Held>> {
        let all = std::mem::take(&mut *self.all.lock().unwrap_or_else(PoisonError::into_inner));
        let mut queues: HashMap<QueueName, Vec<Held>> = HashMap::new();
        for (queue, held) in all {
            queues.entry(queue).or_default().push(held);
        }
        queues
    }
}

/// Sends it, until the carrier is gone.
pub(super) async fn resend(shared: Weak<Shared>, lost: Arc<Lost>) {
    loop {
        lost.some.notified().await;
        let Some(shared) = shared.upgrade() else { return };
        let mut failed = false;
        for (queue, held) in lost.take() {
            tracing::info!(%queue, count = held.len(), "sent anew: a node may have taken it along");
            let left = shared.send_lost(&queue, held).await;
            failed |= !left.is_empty();
            lost.tell(&queue, left);
        }
        if failed {
            sleep(shared.limits.pause_most).await;
        }
    }
}

impl Shared {
    /// Answers what is to be tried again.
    async fn send_lost(&self, queue: &QueueName, held: Vec<Held>) -> Vec<Held> {
        let key = ShortString::from(queue.as_str());
        let letter = |held: &Held| {
            let how = Anew::Later(held.attempt, None);
            Letter::anew(&held.body, &held.properties, how, key.clone(), self.sizes())
        };
        let (letters, held): (Vec<_>, Vec<_>) = held
            .into_iter()
            .filter_map(|held| Some((Addressed { letter: letter(&held).ok()?, later: None }, held)))
            .unzip();
        match self.deliver(queue, &letters).await {
            Ok(answers) => {
                let left = held.into_iter().zip(answers).filter(|(_, answer)| answer.is_err());
                left.map(|(held, _)| held).collect()
            }
            Err(CarrierError::NoQueue(_)) => Vec::new(),
            Err(error) => {
                tracing::debug!(%error, %queue, "not sent anew yet");
                held
            }
        }
    }
}
