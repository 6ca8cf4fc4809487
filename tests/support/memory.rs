//! A queue in memory that keeps the worker's contract: leases with deadlines and positions, partial
//! and repeated settles, extension, sweeping. It also records what it was asked, and fails when
//! it is told to, which a real one does not do on request.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowmill::broker::{BrokerError, Source};
use rowmill::domain::{
    Delivery, Lease, MessageKey, QueueName, Receipt, Settled, Settlement, Verdict,
};
use rowmill::worker::Observer;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone)]
struct Message {
    number: u64,
    attempt: u16,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    waiting: VecDeque<Message>,
    leases: HashMap<Receipt, (Instant, Vec<Option<Message>>)>,
    /// How messages ended, and how often each was acked.
    pub(crate) done: BTreeMap<u64, (usize, Option<String>)>,
    pub(crate) dead: BTreeMap<u64, String>,
    /// Reasons of retries, in order.
    pub(crate) retried: Vec<String>,
    /// What was asked for: messages a receive, messages a settle, leases an extend.
    pub(crate) receives: Vec<usize>,
    pub(crate) settles: Vec<usize>,
    pub(crate) extends: Vec<usize>,
    pub(crate) failing: bool,
    pub(crate) deleted: bool,
    receipts: u128,
}

impl State {
    fn sweep(&mut self, now: Instant) {
        let over: Vec<_> =
            self.leases.iter().filter(|(_, l)| l.0 <= now).map(|(receipt, _)| *receipt).collect();
        for receipt in over {
            for message in self.leases.remove(&receipt).into_iter().flat_map(|l| l.1).flatten() {
                self.waiting.push_back(Message { attempt: message.attempt + 1, ..message });
            }
        }
    }

    /// As if every deadline had passed.
    pub(crate) fn sweep_all(&mut self) {
        self.leases.values_mut().for_each(|lease| lease.0 = Instant::now());
        self.sweep(Instant::now());
    }

    /// Messages that nobody has in hand.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a receive that waits has something to answer.
    fn stirs(&self) -> bool {
        !self.waiting.is_empty() || self.failing || self.deleted
    }

    pub(crate) fn leased(&self) -> usize {
        self.leases.values().map(|lease| lease.1.iter().flatten().count()).sum()
    }
}

pub(crate) struct Memory {
    state: Mutex<State>,
    changed: Notify,
    key: MessageKey,
    /// The data of every message.
    pub(crate) data: Box<str>,
    pub(crate) deadline: Duration,
    pub(crate) attempts: u16,
    /// Messages of one lease, at most.
    pub(crate) lease_size: usize,
    /// Given over what was asked for.
    pub(crate) surplus: usize,
    /// Between the leasing and the answer.
    pub(crate) answer_takes: Duration,
}

impl Memory {
    pub(crate) fn new(messages: u64) -> Self {
        let waiting = (0..messages).map(|number| Message { number, attempt: 1 }).collect();
        Self {
            state: Mutex::new(State { waiting, ..State::default() }),
            changed: Notify::new(),
            key: MessageKey::new(b"memory"),
            data: r#"{"n":1}"#.into(),
            deadline: Duration::from_secs(60),
            attempts: 1,
            lease_size: usize::MAX,
            surplus: 0,
            answer_takes: Duration::ZERO,
        }
    }

    pub(crate) fn look<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        let answer = with(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
        answer
    }

    /// Waits until the state is as asked for.
    pub(crate) async fn until(&self, is_so: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if is_so(&self.state.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it never came to be so");
    }

    /// The number that a delivery's id stands for.
    pub(crate) fn number(&self, delivery: &Delivery) -> u64 {
        self.key.open(delivery.id).unwrap().1
    }

    fn works(&self, queue: Option<&QueueName>) -> Result<(), BrokerError> {
        let (failing, deleted) = self.look(|state| (state.failing, state.deleted));
        match queue {
            Some(queue) if deleted => Err(BrokerError::NoQueue(queue.clone())),
            _ if failing => Err(BrokerError::Store("the database is away".into())),
            _ => Ok(()),
        }
    }

    fn lease(&self, max: usize) -> Vec<Lease> {
        self.look(|state| {
            state.sweep(Instant::now());
            let n = (max + self.surplus).min(state.waiting.len());
            let taken: Vec<_> = state.waiting.drain(..n).collect();
            let mut leases = Vec::new();
            for messages in taken.chunks(self.lease_size.min(n.max(1))) {
                state.receipts += 1;
                let receipt = Receipt(uuid::Uuid::from_u128(state.receipts));
                let held = messages.iter().cloned().map(Some).collect();
                state.leases.insert(receipt, (Instant::now() + self.deadline, held));
                let delivery = |(position, message): (usize, &Message)| Delivery {
                    receipt,
                    position: position as u16,
                    id: self.key.id(1, message.number),
                    attempt: message.attempt,
                    origin: None,
                    data: self.data.clone(),
                    attributes: None,
                    created_ms: 0,
                    expires_ms: None,
                };
                let deliveries = messages.iter().enumerate().map(delivery).collect();
                leases.push(Lease { receipt, deadline: self.deadline, deliveries });
            }
            leases
        })
    }

    fn settle_one(&self, state: &mut State, receipt: Receipt, one: Settlement, to: &mut Settled) {
        let held = state.leases.get_mut(&receipt).and_then(|l| l.1.get_mut(one.position as usize));
        let Some(message) = held.and_then(Option::take) else {
            to.stale.push(one.position);
            return;
        };
        match one.verdict {
            Verdict::Done { output } => {
                to.done += 1;
                let done = state.done.entry(message.number).or_default();
                *done = (done.0 + 1, output.map(Into::into));
            }
            Verdict::Retry { reason, .. } if message.attempt < self.attempts => {
                to.again += 1;
                state.retried.push(reason.into());
                state.waiting.push_back(Message { attempt: message.attempt + 1, ..message });
            }
            Verdict::Retry { reason, .. } | Verdict::Reject { reason } => {
                to.dead += 1;
                state.dead.insert(message.number, reason.into());
            }
            Verdict::Release => {
                to.again += 1;
                state.waiting.push_front(message);
            }
        }
    }
}

impl Source for Memory {
    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Lease>, BrokerError> {
        self.look(|state| state.receives.push(max));
        let until = Instant::now() + wait;
        loop {
            self.works(Some(queue))?;
            let leases = self.lease(max);
            if !leases.is_empty() {
                // Even a sleep of no time would let a test see leases before the worker does.
                if !self.answer_takes.is_zero() {
                    tokio::time::sleep(self.answer_takes).await;
                }
                return Ok(leases);
            }
            let changed = async {
                loop {
                    let changed = self.changed.notified();
                    tokio::pin!(changed);
                    changed.as_mut().enable();
                    if self.state.lock().unwrap().stirs() {
                        return;
                    }
                    changed.await;
                }
            };
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    async fn settle(
        &self,
        settlements: Vec<(Receipt, Vec<Settlement>)>,
    ) -> Result<Vec<Settled>, BrokerError> {
        self.works(None)?;
        Ok(self.look(|state| {
            state.settles.push(settlements.iter().map(|(_, s)| s.len()).sum());
            state.sweep(Instant::now());
            let lease = |(receipt, settlements): (Receipt, Vec<Settlement>)| {
                let mut settled = Settled::default();
                for one in settlements {
                    self.settle_one(state, receipt, one, &mut settled);
                }
                settled
            };
            settlements.into_iter().map(lease).collect()
        }))
    }

    async fn extend(&self, receipts: Vec<Receipt>) -> Result<Vec<Option<Duration>>, BrokerError> {
        self.works(None)?;
        Ok(self.look(|state| {
            state.extends.push(receipts.len());
            state.sweep(Instant::now());
            let extend = |receipt| {
                let lease = state.leases.get_mut(&receipt)?;
                lease.0 = Instant::now() + self.deadline;
                Some(self.deadline)
            };
            receipts.into_iter().map(extend).collect()
        }))
    }
}

/// Says that a queue is finished once so many messages have ended.
pub(crate) struct UntilEnded {
    left: Mutex<u64>,
    finished: CancellationToken,
}

impl UntilEnded {
    pub(crate) fn new(messages: u64, finished: &CancellationToken) -> Arc<Self> {
        Arc::new(Self { left: Mutex::new(messages), finished: finished.clone() })
    }
}

impl Observer for UntilEnded {
    fn settled(&self, settled: &Settled) {
        let mut left = self.left.lock().unwrap();
        *left = left.saturating_sub(u64::from(settled.done + settled.dead));
        if *left == 0 {
            self.finished.cancel();
        }
    }
}
