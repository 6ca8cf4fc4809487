//! A carrier in memory, with the faults that real ones have when a test wants them. It shows what the
//! relay makes of a carrier's answers; that the drivers answer so is for their own suite.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rowmill::broker::carrier::{
    Abilities, Carrier, CarrierDepth, CarrierError, CarrierQueue, Each, Failed, Handle, Parcel,
    REASON, Taken,
};
use rowmill::domain::QueueName;

/// Clones are the same engine.
#[derive(Clone, Default)]
pub(crate) struct Engine(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    queues: HashMap<QueueName, Queue>,
    handles: u64,
    /// Parcels that a queue has room for.
    pub(crate) room: Option<usize>,
    /// So many of the next parcels are not taken.
    pub(crate) not_taken: usize,
    /// Parcels whose data have this text are refused.
    pub(crate) refused: Option<String>,
    /// So many of the next acks are not heard.
    pub(crate) deaf: usize,
    pub(crate) delay_most: Option<Duration>,
    pub(crate) retention_most: Option<Duration>,
}

struct Queue {
    terms: CarrierQueue,
    waiting: VecDeque<Item>,
    in_hands: HashMap<Handle, (Item, Instant)>,
}

#[derive(Clone)]
struct Item {
    parcel: Parcel,
    attempts: u32,
    due: Instant,
}

impl Engine {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The ids of what is in a queue, waiting or in hands.
    pub(crate) fn ids(&self, queue: &str) -> Vec<String> {
        let state = self.state();
        let Some(queue) = state.queues.get(&queue.parse().unwrap()) else { return vec![] };
        let hands = queue.in_hands.values().map(|(item, _)| item);
        queue.waiting.iter().chain(hands).map(|item| item.parcel.id.clone()).collect()
    }

    /// How long a queue was told to keep what is in it.
    pub(crate) fn retention(&self, queue: &str) -> Option<Duration> {
        self.state().queues[&queue.parse().unwrap()].terms.retention
    }

    /// Puts every parcel of a queue there once more.
    pub(crate) fn double(&self, queue: &str) {
        let mut state = self.state();
        let queue = state.queues.get_mut(&queue.parse().unwrap()).unwrap();
        let copies: Vec<Item> = queue.waiting.iter().cloned().collect();
        queue.waiting.extend(copies);
    }

    /// The deadline of all that is in hands is over.
    pub(crate) fn lapse(&self, queue: &str) {
        let mut state = self.state();
        let queue = state.queues.get_mut(&queue.parse().unwrap()).unwrap();
        queue.in_hands.values_mut().for_each(|(_, until)| *until = Instant::now());
    }

    /// Gives what is in hands up, as an engine does by itself.
    pub(crate) fn give_up(&self, queue: &str, dead: &str) {
        let mut state = self.state();
        let hands = &mut state.queues.get_mut(&queue.parse().unwrap()).unwrap().in_hands;
        let items: Vec<Item> = hands.drain().map(|(_, (item, _))| item).collect();
        state.queues.get_mut(&dead.parse().unwrap()).unwrap().waiting.extend(items);
    }

    /// What a foreign program sends.
    pub(crate) fn put(&self, queue: &str, id: &str, data: &'static str) {
        let parcel = Parcel {
            id: id.to_owned(),
            data: bytes::Bytes::from_static(data.as_bytes()),
            attributes: [("color".to_owned(), "red".to_owned())].into(),
            delay: Duration::ZERO,
        };
        let item = Item { parcel, attempts: 0, due: Instant::now() };
        self.state().queues.get_mut(&queue.parse().unwrap()).unwrap().waiting.push_back(item);
    }
}

impl State {
    fn queue(&mut self, name: &QueueName) -> Result<&mut Queue, CarrierError> {
        self.queues.get_mut(name).ok_or_else(|| CarrierError::NoQueue(name.clone()))
    }

    /// What the engine does by itself: late deliveries come again, or go to the dead queue.
    fn tend(&mut self, name: &QueueName) {
        let now = Instant::now();
        let Some(queue) = self.queues.get_mut(name) else { return };
        let late: Vec<Handle> = queue
            .in_hands
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(handle, _)| handle.clone())
            .collect();
        let mut dead = vec![];
        for handle in late {
            let (item, _) = queue.in_hands.remove(&handle).unwrap();
            match queue.terms.deliveries {
                Some(most) if item.attempts >= most => dead.push(item),
                _ => queue.waiting.push_front(item),
            }
        }
        let Some(to) = queue.terms.dead.clone() else { return };
        for item in dead {
            let item = Item { attempts: 0, due: now, ..item };
            self.queues.get_mut(&to).unwrap().waiting.push_back(item);
        }
    }

    fn end(
        &mut self,
        name: &QueueName,
        handles: Vec<Handle>,
        mut then: impl FnMut(&mut Self, Item, usize),
    ) -> Result<Vec<Each>, CarrierError> {
        self.tend(name);
        let mut each = vec![];
        for (at, handle) in handles.into_iter().enumerate() {
            let held = self.queue(name)?.in_hands.remove(&handle);
            each.push(match held {
                Some((item, _)) => {
                    then(self, item, at);
                    Ok(())
                }
                None => Err(Failed::Over),
            });
        }
        Ok(each)
    }
}

impl Carrier for Engine {
    fn abilities(&self) -> Abilities {
        let state = self.state();
        Abilities {
            delay_most: state.delay_most,
            retention_most: state.retention_most,
            parcel_bytes: 1 << 20,
            receipts_travel: false,
            extend: true,
            peek: true,
        }
    }

    async fn ensure(&self, queue: &CarrierQueue) -> Result<(), CarrierError> {
        let mut state = self.state();
        let (waiting, in_hands) = state
            .queues
            .remove(&queue.name)
            .map_or_else(Default::default, |queue| (queue.waiting, queue.in_hands));
        let terms = queue.clone();
        state.queues.insert(queue.name.clone(), Queue { terms, waiting, in_hands });
        Ok(())
    }

    async fn remove(&self, queue: &QueueName) -> Result<(), CarrierError> {
        self.state().queues.remove(queue);
        Ok(())
    }

    async fn send(
        &self,
        queue: &QueueName,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<Each>, CarrierError> {
        let mut state = self.state();
        let mut each = vec![];
        for parcel in parcels {
            if state.not_taken > 0 {
                state.not_taken -= 1;
                each.push(Err(Failed::NotTaken("busy".into())));
                continue;
            }
            let text = String::from_utf8_lossy(&parcel.data).into_owned();
            if state.refused.as_ref().is_some_and(|part| text.contains(part)) {
                each.push(Err(Failed::Refused("too large".into())));
                continue;
            }
            let room = state.room.unwrap_or(usize::MAX);
            let there = state.queue(queue)?;
            if there.waiting.len() + there.in_hands.len() >= room {
                each.push(Err(Failed::Full));
                continue;
            }
            let due = Instant::now() + parcel.delay;
            state.queue(queue)?.waiting.push_back(Item { parcel, attempts: 0, due });
            each.push(Ok(()));
        }
        Ok(each)
    }

    async fn take(
        &self,
        name: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, CarrierError> {
        let until = Instant::now() + wait;
        loop {
            {
                let mut state = self.state();
                state.tend(name);
                let mut taken = vec![];
                for _ in 0..state.queue(name)?.waiting.len() {
                    let item = state.queue(name)?.waiting.pop_front().unwrap();
                    if taken.len() >= max || item.due > Instant::now() {
                        state.queue(name)?.waiting.push_back(item);
                        continue;
                    }
                    let attempts = item.attempts + 1;
                    let item = Item { attempts, ..item };
                    state.handles += 1;
                    let handle = Handle(state.handles.to_string());
                    taken.push(Taken {
                        id: Some(item.parcel.id.clone()).filter(|id| !id.is_empty()),
                        data: item.parcel.data.clone(),
                        attributes: item.parcel.attributes.clone(),
                        attempt: attempts,
                        handle: handle.clone(),
                    });
                    let queue = state.queue(name)?;
                    let until = Instant::now() + queue.terms.ack_deadline;
                    queue.in_hands.insert(handle, (item, until));
                }
                if !taken.is_empty() || Instant::now() >= until {
                    return Ok(taken);
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn ack(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
    ) -> Result<Vec<Each>, CarrierError> {
        let mut state = self.state();
        if state.deaf > 0 {
            state.deaf -= 1;
            return Err(CarrierError::Outage("the connection is gone".into()));
        }
        state.end(queue, handles, |_, _, _| {})
    }

    async fn release(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, Duration)>,
    ) -> Result<Vec<Each>, CarrierError> {
        let (handles, delays): (Vec<_>, Vec<_>) = handles.into_iter().unzip();
        self.state().end(queue, handles, |state, item, at| {
            let due = Instant::now() + delays[at];
            state.queues.get_mut(queue).unwrap().waiting.push_back(Item { due, ..item });
        })
    }

    async fn dead(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, String)>,
    ) -> Result<Vec<Each>, CarrierError> {
        let mut state = self.state();
        let to = state.queue(queue)?.terms.dead.clone().expect("a queue without a dead queue");
        let (handles, reasons): (Vec<_>, Vec<_>) = handles.into_iter().unzip();
        state.end(queue, handles, |state, mut item, at| {
            item.parcel.attributes.insert(REASON.to_owned(), reasons[at].clone());
            let item = Item { attempts: 0, due: Instant::now(), ..item };
            state.queues.get_mut(&to).unwrap().waiting.push_back(item);
        })
    }

    async fn extend(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
        lasting: Duration,
    ) -> Result<Vec<Each>, CarrierError> {
        let again = handles.clone();
        self.state().end(queue, handles, |state, item, at| {
            let held = (item, Instant::now() + lasting);
            state.queues.get_mut(queue).unwrap().in_hands.insert(again[at].clone(), held);
        })
    }

    async fn depth(&self, name: &QueueName) -> Result<CarrierDepth, CarrierError> {
        let mut state = self.state();
        state.tend(name);
        let queue = state.queue(name)?;
        let due = queue.waiting.iter().filter(|item| item.due <= Instant::now()).count() as u64;
        Ok(CarrierDepth {
            waiting: due,
            delayed: Some(queue.waiting.len() as u64 - due),
            in_hands: Some(queue.in_hands.len() as u64),
        })
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<Parcel>, CarrierError> {
        let mut state = self.state();
        let waiting = &state.queue(queue)?.waiting;
        Ok(waiting.iter().take(limit).map(|item| item.parcel.clone()).collect())
    }

    async fn purge(&self, queue: &QueueName) -> Result<Option<u64>, CarrierError> {
        let mut state = self.state();
        Ok(Some(state.queue(queue)?.waiting.drain(..).count() as u64))
    }

    async fn redrive(&self, _: &QueueName, _: &QueueName, _: usize) -> Result<u64, CarrierError> {
        panic!("the relay redrives by taking");
    }
}
