//! The lanes of this process, and handles, which name a delivery on one of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use lapin::types::DeliveryTag;
use lapin::uri::AMQPUri;

use super::RabbitLimits;
use super::lane::Lane;
use super::link::Link;
use super::lost::Lost;
use super::trouble::Trouble;
use crate::broker::carrier::{CarrierError, Handle};
use crate::domain::QueueName;

/// Every lane, by its number, and those that no take has just now, by their queue.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) link: Link,
    /// Handles of other processes name other processes.
    process: u64,
    kept: usize,
    age: Duration,
    wait: Duration,
    /// Told of what goes with a node, if there are several.
    lost: Option<Arc<Lost>>,
    next: AtomicU64,
    all: RwLock<HashMap<u64, Arc<Lane>>>,
    idle: Mutex<HashMap<QueueName, Vec<Arc<Lane>>>>,
}

macro_rules! locked {
    ($lock:expr) => {
        $lock.unwrap_or_else(PoisonError::into_inner)
    };
}

impl Lanes {
    pub(super) fn new(addresses: &[AMQPUri], limits: &RabbitLimits, lost: Arc<Lost>) -> Self {
        Self {
            link: Link::new(addresses, "rowmill in", limits),
            process: fastrand::u64(..),
            kept: limits.channels_kept,
            age: limits.channel_age,
            wait: limits.answer_wait,
            lost: (addresses.len() > 1).then_some(lost),
            next: AtomicU64::new(0),
            all: RwLock::default(),
            idle: Mutex::default(),
        }
    }

    /// A lane for one take: an idle one if there is one with nothing in hands, or if the queue has
    /// its number of them; otherwise a new one.
    pub(super) async fn get(&self, queue: &QueueName) -> Result<Arc<Lane>, Trouble> {
        if let Some(lane) = self.idle_lane(queue) {
            return Ok(lane);
        }
        let (channel, generation) = self.link.channel().await?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (queue, lost) = (queue.clone(), self.lost.clone());
        let lane = Arc::new(Lane::new(id, generation, queue, channel, self.wait, lost));
        let mut all = locked!(self.all.write());
        all.retain(|_, lane| lane.sound());
        all.insert(id, Arc::clone(&lane));
        Ok(lane)
    }

    fn idle_lane(&self, queue: &QueueName) -> Option<Arc<Lane>> {
        let mut idle = locked!(self.idle.lock());
        let lanes = idle.get_mut(queue)?;
        let spent: Vec<_> = lanes.extract_if(.., |lane| self.is_spent(lane)).collect();
        let loads = lanes.iter().enumerate().filter(|(_, lane)| !lane.is_spoilt());
        let least = loads.map(|(at, lane)| (lane.load(), at)).min();
        let lane = least
            .filter(|(load, _)| *load == 0 || lanes.len() >= self.kept)
            .map(|(_, at)| lanes.swap_remove(at));
        drop(idle);
        let mut all = locked!(self.all.write());
        for lane in spent {
            all.remove(&lane.id);
        }
        lane
    }

    /// Whether nobody needs it any more.
    fn is_spent(&self, lane: &Lane) -> bool {
        !lane.sound() || (lane.is_worn(self.age) && lane.load() == 0)
    }

    /// The take is over. A lane with something in hands is kept in any case.
    pub(super) fn put(&self, lane: Arc<Lane>) {
        {
            let mut idle = locked!(self.idle.lock());
            let lanes = idle.entry(lane.queue.clone()).or_default();
            if !self.is_spent(&lane) && (lanes.len() < self.kept || lane.load() > 0) {
                lanes.push(lane);
                return;
            }
        }
        self.discard(&lane);
    }

    /// Closes a lane that is worn, if no take has it and nothing is in hands of it.
    pub(super) fn tidy(&self, lane: &Lane) {
        let spent = {
            let mut idle = locked!(self.idle.lock());
            let Some(lanes) = idle.get_mut(&lane.queue) else { return };
            let at = lanes.iter().position(|idle| idle.id == lane.id);
            at.filter(|_| self.is_spent(lane)).map(|at| lanes.swap_remove(at))
        };
        if let Some(lane) = spent {
            locked!(self.all.write()).remove(&lane.id);
        }
    }

    /// Closes a lane, as soon as nobody uses it: what is in hands of it comes again.
    pub(super) fn discard(&self, lane: &Lane) {
        locked!(self.all.write()).remove(&lane.id);
        if let Some(lanes) = locked!(self.idle.lock()).get_mut(&lane.queue) {
            lanes.retain(|idle| idle.id != lane.id);
        }
    }

    /// A queue is gone.
    pub(super) fn forget(&self, queue: &QueueName) {
        locked!(self.idle.lock()).remove(queue);
        locked!(self.all.write()).retain(|_, lane| lane.queue != *queue);
    }

    pub(super) fn all(&self) -> Vec<Arc<Lane>> {
        locked!(self.all.read()).values().cloned().collect()
    }

    pub(super) fn handle(&self, lane: &Lane, tag: DeliveryTag) -> Handle {
        Handle(format!("{:x}-{}-{}-{tag}", self.process, lane.generation, lane.id))
    }

    /// The delivery that a handle names, if it is of this queue and may still be in hands.
    ///
    /// # Errors
    /// [`Elsewhere`].
    pub(super) fn find(
        &self,
        queue: &QueueName,
        handle: &Handle,
    ) -> Result<Option<(Arc<Lane>, DeliveryTag)>, Elsewhere> {
        let Some((process, generation, id, tag)) = parts(handle) else { return Ok(None) };
        if process != self.process {
            return Err(Elsewhere);
        }
        let lane = locked!(self.all.read()).get(&id).cloned();
        let right = |lane: &Arc<Lane>| {
            lane.generation == generation && lane.queue == *queue && lane.sound()
        };
        Ok(lane.filter(right).map(|lane| (lane, tag)))
    }
}

/// The handle is another process's.
#[derive(Debug)]
pub(super) struct Elsewhere;

impl From<Elsewhere> for CarrierError {
    fn from(_: Elsewhere) -> Self {
        Self::Unsupported {
            what: "settling what another process took",
            why: "RabbitMQ knows a delivery by the connection that it went over",
        }
    }
}

fn parts(handle: &Handle) -> Option<(u64, u64, u64, DeliveryTag)> {
    let mut parts = handle.0.split('-');
    let process = u64::from_str_radix(parts.next()?, 16).ok()?;
    let mut number = || parts.next()?.parse::<u64>().ok();
    let all = (process, number()?, number()?, number()?);
    parts.next().is_none().then_some(all)
}
