//! Redis carries messages: streams and a consumer group, Redis 7 or later (Valkey too).
//!
//! **What others see.** A queue is the stream `rowmill:{NAME}`; `rowmill:` is the prefix of the
//! settings. An entry has the fields `id` (the sender's), `data` (a JSON object) and `attr:NAME` for
//! each attribute. Who publishes needs `data` alone:
//!
//! ```text
//! XADD rowmill:{orders} NOMKSTREAM * data '{"number":7}' attr:filename orders.xlsx
//! ```
//!
//! Who consumes reads by the group `rowmill`, under a name of its own (which does not begin with
//! `rowmill-`), and ends what it did with XACK and XDEL, so that the stream holds what is not done. What
//! it holds for longer than the queue's deadline goes to another.
//!
//! ```text
//! XREADGROUP GROUP rowmill me COUNT 10 BLOCK 5000 STREAMS rowmill:{orders} >
//! XACK rowmill:{orders} rowmill 1732270000000-0
//! XDEL rowmill:{orders} 1732270000000-0
//! ```
//!
//! The fields `attempts` and `since` stand in entries that came before: how often they were delivered,
//! and when they came first. A dead queue is a stream like any other, the reason is `attr:rowmill-reason`.
//!
//! **How it works.** What is in hands is what is pending in the group, for as long as its consumer's
//! name says: `rowmill-30000` has 30 s. A handle names an entry and the count of its deliveries; a
//! script settles it only if both are still so. It says as well until when nobody else can have got it,
//! by the server's clock, and what is acked before is not looked at one by one (`lua/done.lua`), which
//! would cost as much again as the ack. Given back, a parcel becomes a new entry, or waits in a
//! sorted set until it is due; either wakes those who wait on the stream. Whoever takes looks now and
//! then (`lua/tend.lua`) at what became due, what was held past its deadline and what waited too long,
//! a bounded piece at a time; any number of processes may. Where two steps must be one, a script does
//! them. Nothing is ever trimmed but what was delivered and acked: below the oldest entry that is
//! pending, or below the oldest that waits.
//!
//! **What it promises.** As much as its server: `appendonly yes` with `appendfsync always` keeps what
//! it answered through a power cut, `everysec` all but the last second. `maxmemory-policy` must be
//! `noeviction`. A send whose answer was lost is made again, so a parcel may be there twice.
//!
//! **On a cluster**, a queue's keys share a slot by its hash tag; to die and to be redriven, a parcel
//! goes from queue to queue, which a cluster does only within a slot: see [`RedisLimits::prefix`].

mod entry;
mod keys;
mod look;
mod queue;
mod scripts;
mod send;
mod settle;
mod take;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use super::limits::RedisLimits;

use self::queue::Queue;
use self::scripts::Scripts;
use self::wire::{Wire, fault};
use super::{
    Abilities, Carrier, CarrierDepth, CarrierError, CarrierQueue, Each, Handle, Parcel, Taken,
};
use crate::domain::QueueName;

/// Redis as a carrier. Calls share a connection; those who wait have others.
pub struct RedisCarrier {
    wire: Wire,
    scripts: Scripts,
    limits: RedisLimits,
    /// What is known of the queues that were asked for here.
    queues: Mutex<HashMap<QueueName, Arc<Queue>>>,
}

impl RedisCarrier {
    /// Connects to `redis://[USER][:PASSWORD@]HOST[:PORT][/DATABASE]`.
    ///
    /// # Errors
    /// [`CarrierError::Outage`] when the server does not answer for as long as the limits say;
    /// [`CarrierError::Failed`] when it refuses, or the URL is none.
    pub async fn connect(url: &str, limits: RedisLimits) -> Result<Self, CarrierError> {
        let wire = Wire::connect(url, &limits).await.map_err(wire::trouble)?;
        Ok(Self { wire, scripts: Scripts::new(), limits, queues: Mutex::default() })
    }

    fn queue(&self, name: &QueueName) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(name) {
            return Arc::clone(queue);
        }
        let queue = Arc::new(Queue::new(&self.limits.prefix, name));
        queues.insert(name.clone(), Arc::clone(&queue));
        queue
    }

    /// What an error means; a queue that is not there is forgotten, so that names that lead to nothing
    /// are not gathered.
    fn fault(&self, error: redis::RedisError, queue: &Queue) -> CarrierError {
        let fault = fault(error, &queue.name);
        if matches!(fault, CarrierError::NoQueue(_)) {
            self.forget(queue);
        }
        fault
    }

    fn forget(&self, queue: &Queue) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).remove(&queue.name);
    }
}

impl Carrier for RedisCarrier {
    fn abilities(&self) -> Abilities {
        Abilities {
            delay_most: None,
            retention_most: None,
            parcel_bytes: self.limits.parcel_bytes,
            receipts_travel: true,
            extend: true,
            peek: true,
        }
    }

    async fn ensure(&self, queue: &CarrierQueue) -> Result<(), CarrierError> {
        self.make(queue).await
    }

    async fn remove(&self, queue: &QueueName) -> Result<(), CarrierError> {
        self.unmake(&self.queue(queue)).await
    }

    async fn send(
        &self,
        queue: &QueueName,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.send_all(&self.queue(queue), &parcels).await
    }

    async fn take(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, CarrierError> {
        self.take_some(&self.queue(queue), max, wait).await
    }

    async fn ack(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.ack_all(&self.queue(queue), &handles).await
    }

    async fn release(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, Duration)>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.release_all(&self.queue(queue), &handles).await
    }

    async fn dead(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, String)>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.bury_all(&self.queue(queue), &handles).await
    }

    async fn extend(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
        lasting: Duration,
    ) -> Result<Vec<Each>, CarrierError> {
        self.extend_all(&self.queue(queue), &handles, lasting).await
    }

    async fn depth(&self, queue: &QueueName) -> Result<CarrierDepth, CarrierError> {
        self.depth_of(&self.queue(queue)).await
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<Parcel>, CarrierError> {
        self.peek_at(&self.queue(queue), limit).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<Option<u64>, CarrierError> {
        self.purge_all(&self.queue(queue)).await.map(Some)
    }

    async fn redrive(
        &self,
        from: &QueueName,
        to: &QueueName,
        most: usize,
    ) -> Result<u64, CarrierError> {
        self.redrive_some(&self.queue(from), &self.queue(to), most).await
    }
}

/// Milliseconds, as Redis counts them; what is longer than it can count is as long as it can.
fn millis(time: Duration) -> i64 {
    // Scores of sorted sets are exact up to 2^53; this leaves room for the clock.
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).min(1 << 52)
}
