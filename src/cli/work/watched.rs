//! A source that says when a queue has nothing more: `--until-empty`.
//!
//! That is when a receive that began with nothing in hand waited and came back with nothing. One
//! that began earlier proves nothing: what was in hand then may have been nacked and come again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::{BrokerError, Source};
use crate::domain::{Lease, QueueName, Receipt, Settled, Settlement};

/// A source, watched if somebody is to be told.
#[derive(Debug)]
pub(super) struct Watched<S> {
    source: S,
    finished: Option<CancellationToken>,
    /// Messages received and not settled, by lease. Bounded by what the worker takes.
    in_hand: Mutex<HashMap<Receipt, usize>>,
}

impl<S> Watched<S> {
    /// Fires `finished` when there is nothing more.
    pub(super) fn new(source: S, finished: Option<CancellationToken>) -> Self {
        Self { source, finished, in_hand: Mutex::default() }
    }

    fn in_hand(&self) -> MutexGuard<'_, HashMap<Receipt, usize>> {
        // No code panics while holding it, and its numbers would still be the best there are.
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Source> Source for Watched<S> {
    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Lease>, BrokerError> {
        let Some(finished) = &self.finished else {
            return self.source.receive(queue, max, wait).await;
        };
        let idle = self.in_hand().is_empty();
        let leases = self.source.receive(queue, max, wait).await?;
        let mut received = false;
        for lease in leases.iter().filter(|lease| !lease.deliveries.is_empty()) {
            self.in_hand().insert(lease.receipt, lease.deliveries.len());
            received = true;
        }
        if idle && !received {
            finished.cancel();
        }
        Ok(leases)
    }

    async fn settle(
        &self,
        settlements: Vec<(Receipt, Vec<Settlement>)>,
    ) -> Result<Vec<Settled>, BrokerError> {
        let asked: Vec<_> =
            settlements.iter().map(|(receipt, all)| (*receipt, all.len())).collect();
        let settled = self.source.settle(settlements).await?;
        let mut in_hand = self.in_hand();
        for (receipt, messages) in asked {
            if let Some(left) = in_hand.get_mut(&receipt) {
                *left = left.saturating_sub(messages);
                if *left == 0 {
                    in_hand.remove(&receipt);
                }
            }
        }
        Ok(settled)
    }

    async fn extend(&self, receipts: Vec<Receipt>) -> Result<Vec<Option<Duration>>, BrokerError> {
        let deadlines = self.source.extend(receipts.clone()).await?;
        for (receipt, deadline) in receipts.iter().zip(&deadlines) {
            if deadline.is_none() {
                // Swept: its messages are in nobody's hands, and those that have not started never
                // will be settled here.
                self.in_hand().remove(receipt);
            }
        }
        Ok(deadlines)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::domain::{Delivery, MessageKey, Verdict};

    /// Answers what it was told to, then nothing.
    #[derive(Default)]
    struct Scripted(Mutex<VecDeque<Vec<Lease>>>);

    impl Source for Scripted {
        async fn receive(
            &self,
            _: &QueueName,
            _: usize,
            _: Duration,
        ) -> Result<Vec<Lease>, BrokerError> {
            Ok(self.0.lock().unwrap().pop_front().unwrap_or_default())
        }

        async fn settle(
            &self,
            asked: Vec<(Receipt, Vec<Settlement>)>,
        ) -> Result<Vec<Settled>, BrokerError> {
            Ok(vec![Settled::default(); asked.len()])
        }

        async fn extend(&self, all: Vec<Receipt>) -> Result<Vec<Option<Duration>>, BrokerError> {
            Ok(vec![None; all.len()])
        }
    }

    fn lease(n: u128, messages: u16) -> Lease {
        let receipt = Receipt(uuid::Uuid::from_u128(n));
        let delivery = |position| Delivery {
            receipt,
            position,
            id: MessageKey::new(b"k").id(1, 1),
            attempt: 1,
            origin: None,
            data: "{}".into(),
            attributes: None,
            created_ms: 0,
            expires_ms: None,
        };
        Lease {
            receipt,
            deadline: Duration::from_secs(1),
            deliveries: (0..messages).map(delivery).collect(),
        }
    }

    #[tokio::test]
    async fn empty_is_a_receive_that_began_with_nothing_in_hand_and_found_nothing() {
        let finished = CancellationToken::new();
        let script = Scripted::default();
        script.0.lock().unwrap().extend([vec![lease(1, 2), lease(2, 1)], vec![]]);
        let source = Watched::new(script, Some(finished.clone()));
        let queue: QueueName = "rows".parse().unwrap();
        let receive = || source.receive(&queue, 9, Duration::ZERO);
        let done = |position| Settlement { position, verdict: Verdict::Release };

        receive().await.unwrap();
        receive().await.unwrap();
        assert!(!finished.is_cancelled(), "three are in hand");
        source.settle(vec![(lease(1, 0).receipt, vec![done(0)])]).await.unwrap();
        receive().await.unwrap();
        assert!(!finished.is_cancelled(), "two are in hand");
        source.settle(vec![(lease(1, 0).receipt, vec![done(1)])]).await.unwrap();
        source.extend(vec![lease(2, 0).receipt]).await.unwrap();
        receive().await.unwrap();
        assert!(finished.is_cancelled());
    }
}
