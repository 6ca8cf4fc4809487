//! Queues as RabbitMQ has them: made, removed, counted.
//!
//! Each is a durable quorum queue. What a parcel dies of is told by where it is: the dead queue has
//! those that were delivered too often, and nothing else. RabbitMQ would put what outlived a
//! retention there, too, so a queue with a retention has no dead-letter exchange, and this driver
//! alone watches how often its parcels were delivered.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use lapin::Channel;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::time::Instant;

use super::Shared;
use super::agenda::Place;
use super::delays::Step;
use super::link::within;
use super::trouble::{Pauses, Trouble};
use crate::broker::carrier::{CarrierDepth, CarrierError, CarrierQueue};
use crate::domain::QueueName;

/// No limit of deliveries: RabbitMQ from 4.0 on has one of its own unless it is told another.
const ANY_NUMBER: i64 = i32::MAX as i64;

impl Shared {
    /// See [`Carrier::ensure`](crate::broker::carrier::Carrier::ensure).
    pub(super) async fn ensure(&self, queue: &CarrierQueue) -> Result<(), CarrierError> {
        let name = queue.name.as_str();
        self.patiently(&queue.name, || self.make(name.into(), arguments(queue))).await?;
        self.known.put(queue);
        // Others may have made parcels of it wait, and be gone.
        self.agenda.visit(Place::queue(&queue.name), Instant::now());
        Ok(())
    }

    /// See [`Carrier::could_ensure`](crate::broker::carrier::Carrier::could_ensure): the server says
    /// what a queue was made with only by refusing to make it in another way.
    pub(super) async fn could_ensure(&self, queue: &CarrierQueue) -> Result<(), CarrierError> {
        let name = || ShortString::from(queue.name.as_str());
        let compare = || async {
            match self.declare(name(), FieldTable::default(), true).await {
                Ok(_) => self.declare(name(), arguments(queue), false).await.map(drop),
                Err(Trouble::Missing) => Ok(()),
                Err(trouble) => Err(trouble),
            }
        };
        self.patiently(&queue.name, compare).await
    }

    /// See [`Carrier::remove`](crate::broker::carrier::Carrier::remove).
    pub(super) async fn remove(&self, queue: &QueueName) -> Result<(), CarrierError> {
        // First the queue, so that nothing makes a delay queue of it again.
        let delete = || async {
            let channel = self.channel().await?;
            self.delete(&channel, queue.as_str().into()).await?;
            self.delete_delays(&channel, queue).await
        };
        self.patiently(queue, delete).await?;
        self.known.forget(queue);
        self.agenda.forget(queue);
        self.lanes.forget(queue);
        Ok(())
    }

    /// See [`Carrier::depth`](crate::broker::carrier::Carrier::depth).
    pub(super) async fn depth(&self, queue: &QueueName) -> Result<CarrierDepth, CarrierError> {
        let waiting = self.patiently(queue, || self.waiting(queue)).await?;
        Ok(CarrierDepth { waiting, delayed: None, in_hands: None })
    }

    /// How many parcels may be taken now.
    pub(super) async fn waiting(&self, queue: &QueueName) -> Result<u64, Trouble> {
        Ok(self.declare(queue.as_str().into(), FieldTable::default(), true).await?.into())
    }

    /// See [`Carrier::purge`](crate::broker::carrier::Carrier::purge): what is delayed goes, too.
    pub(super) async fn purge(&self, queue: &QueueName) -> Result<u64, CarrierError> {
        let purge = || async {
            let channel = self.channel().await?;
            let options = QueuePurgeOptions::default();
            let purge = channel.queue_purge(ShortString::from(queue.as_str()), options);
            let ready = within(self.limits.answer_wait, purge).await?;
            Ok(u64::from(ready) + self.delete_delays(&channel, queue).await?)
        };
        let purged = self.patiently(queue, purge).await?;
        self.known.forget_delays(queue);
        Ok(purged)
    }

    /// Makes the delay queue of a step.
    pub(super) async fn make_delay(&self, queue: &QueueName, step: Step) -> Result<(), Trouble> {
        // For a queue that is not there, nothing is to wait.
        self.waiting(queue).await?;
        let mut arguments = quorum();
        arguments.insert("x-delivery-limit", AMQPValue::LongLongInt(ANY_NUMBER));
        self.make(step.queue(queue), table(arguments)).await?;
        self.known.put_delay(queue, step);
        Ok(())
    }

    /// Makes a queue, and waits until one that was not there is there for good.
    async fn make(&self, name: ShortString, arguments: FieldTable) -> Result<(), Trouble> {
        let there = match self.declare(name.clone(), FieldTable::default(), true).await {
            Err(Trouble::Missing) => false,
            other => other.map(|_| true)?,
        };
        self.declare(name, arguments, false).await?;
        if !there {
            tokio::time::sleep(self.limits.new_queue).await;
        }
        Ok(())
    }

    /// How many messages are ready in a queue, which is made if this is not only to look. A refusal
    /// closes the channel: it is used for nothing else.
    async fn declare(
        &self,
        name: ShortString,
        arguments: FieldTable,
        passive: bool,
    ) -> Result<u32, Trouble> {
        let channel = self.channel().await?;
        let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
        let declare = channel.queue_declare(name, options, arguments);
        Ok(within(self.limits.answer_wait, declare).await?.message_count())
    }

    async fn delete(&self, channel: &Channel, name: ShortString) -> Result<u64, Trouble> {
        let delete = channel.queue_delete(name, QueueDeleteOptions::default());
        Ok(within(self.limits.answer_wait, delete).await?.into())
    }

    /// To remove a queue that is not there is no error to RabbitMQ.
    async fn delete_delays(&self, channel: &Channel, queue: &QueueName) -> Result<u64, Trouble> {
        let deletes = Step::all().map(|step| self.delete(channel, step.queue(queue)));
        join_all(deletes).await.into_iter().sum()
    }

    async fn channel(&self) -> Result<Channel, Trouble> {
        Ok(self.outward.link.channel().await?.0)
    }

    /// Does it again for as long as the server is away and the patience lasts.
    async fn patiently<T, F>(
        &self,
        queue: &QueueName,
        step: impl Fn() -> F,
    ) -> Result<T, CarrierError>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let mut pauses = Pauses::new(&self.limits, self.limits.patience);
        loop {
            match step().await {
                Err(trouble) if trouble.passes() && pauses.pause().await => {}
                other => return other.map_err(|trouble| trouble.about(queue)),
            }
        }
    }
}

/// What RabbitMQ is told of a queue when it is made, and for good.
fn arguments(queue: &CarrierQueue) -> FieldTable {
    let mut arguments = quorum();
    let mut limit = ANY_NUMBER;
    match (&queue.dead, queue.retention) {
        (_, Some(retention)) => {
            arguments.insert("x-message-ttl", AMQPValue::LongLongInt(whole_millis(retention)));
        }
        (Some(dead), None) => {
            dead_letters(&mut arguments, dead);
            // It gives up what comes back more often than this; the first delivery is not counted.
            limit = queue.deliveries.map_or(limit, |most| i64::from(most.max(1)) - 1);
        }
        (None, None) => {}
    }
    arguments.insert("x-delivery-limit", AMQPValue::LongLongInt(limit));
    if let Some(capacity) = queue.capacity {
        arguments.insert("x-max-length", AMQPValue::LongLongInt(millis(capacity)));
    }
    table(arguments)
}

type Arguments = BTreeMap<&'static str, AMQPValue>;

fn quorum() -> Arguments {
    BTreeMap::from([
        ("x-queue-type", AMQPValue::LongString("quorum".into())),
        // Nothing is dropped from the front of a full queue; and what is dead-lettered is kept until
        // the other queue has confirmed it.
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ])
}

fn dead_letters(arguments: &mut Arguments, to: &QueueName) {
    arguments.insert("x-dead-letter-exchange", AMQPValue::LongString("".into()));
    arguments.insert("x-dead-letter-routing-key", AMQPValue::LongString(to.as_str().into()));
    arguments.insert("x-dead-letter-strategy", AMQPValue::LongString("at-least-once".into()));
}

fn table(arguments: Arguments) -> FieldTable {
    let owned = arguments.into_iter().map(|(name, value)| (ShortString::from(name), value));
    FieldTable::from(owned.collect::<BTreeMap<_, _>>())
}

/// RabbitMQ takes no more than 49 days.
fn whole_millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).clamp(1, i64::from(u32::MAX))
}

fn millis(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
