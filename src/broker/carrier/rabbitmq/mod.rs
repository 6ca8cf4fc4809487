//! RabbitMQ, version 3.10 or later, over AMQP 0.9.1.
//!
//! A queue is a durable quorum queue of the same name, addressed by the default exchange; a parcel is
//! a persistent message with its id as `message_id`, its attributes as headers and its data as body.
//! Programs that know nothing of rowmill consume from and publish to the same queue.
//!
//! - `post` and `send`: letters to the server, confirmed, and tried again.
//! - `take`, `lane`, `lanes`: consumers, one a take, and what they brought until it is settled.
//!   `settle`, `lost`: how that is written, and how what is in hands survives a node of a cluster.
//! - `ends`: how deliveries end. `warden`: how those end that nobody settles.
//! - `places`, `delays`, `known`: queues, delay queues, and what this process was told of them.
//!   `agenda`, `porter`: how what is due comes from the one to the other.
//! - `address`, `link`, `trouble`: where servers are, connections that come back, and what errors mean.
//!
//! What is peculiar here:
//!
//! - *A delivery belongs to its connection.* No other process settles it, and when the connection is
//!   lost it comes again. The ack deadline is kept by this process; the server has one of its own for
//!   everything (`consumer_timeout`, 30 minutes unless it is told otherwise), past which it closes the
//!   channel with all that is held on it.
//! - *Delays are kept by rowmill* (see `delays`): any process that was told of the queue brings what is
//!   due, and while none runs nothing comes. A week at most, and by the clocks of our machines. Released
//!   with a delay, a parcel is a new message, and another one when it is due: one that is sent twice
//!   when the process dies between sending and acking.
//! - *A queue's arguments are fixed when it is made*: its dead queue, deliveries, retention and
//!   capacity. To ask for others is unsupported; the ack deadline is this process's, and changes.
//! - *A retention and a dead-letter exchange do not go together* (see `places`): then the limit of
//!   deliveries is kept by this driver alone, at the next take.
//! - *A capacity is approximate* where several send at once; and once a foreign sender has been turned
//!   down, the server turns all down until a fifth of the queue is empty.
//! - *A queue that is made is waited for* ([`RabbitLimits::new_queue`]): the server writes down that
//!   it exists half a second later. So the first parcel of each delay step takes that long to send.
//! - *An ack is answered when the server has read it.* If the server's power fails before it has
//!   written it, the parcel comes again.
//! - *Delayed parcels and those in hands are not counted*, and nothing is shown without being taken.

mod address;
mod agenda;
mod delays;
mod ends;
mod known;
mod lane;
mod lanes;
mod letter;
mod link;
mod lost;
mod places;
mod porter;
mod post;
mod send;
mod settle;
mod take;
mod trouble;
mod warden;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::{
    Abilities, Carrier, CarrierDepth, CarrierError, CarrierQueue, Each, Handle, Parcel, Taken,
};
use crate::domain::QueueName;

pub use super::limits::RabbitLimits;
use agenda::Agenda;
use delays::Step;
use known::Known;
use lanes::Lanes;
use lost::Lost;
use post::Outward;
use trouble::Pauses;
use warden::Warden;

/// A RabbitMQ server, or a cluster of them.
///
/// It must be told of a queue by [`Carrier::ensure`] in each process, because the server does not
/// tell: the deadline of what is taken and the dead queue are known only from there. Dropped, it
/// closes its connections, and what is in hands comes again.
#[derive(Debug)]
pub struct RabbitCarrier {
    shared: Arc<Shared>,
    warden: AbortHandle,
    porter: AbortHandle,
    lost: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    limits: RabbitLimits,
    outward: Outward,
    lanes: Lanes,
    takes: Arc<Semaphore>,
    known: Known,
    warden: Arc<Warden>,
    agenda: Arc<Agenda>,
}

/// The URL is none of a RabbitMQ server.
#[derive(Debug, thiserror::Error)]
#[error("not a URL of a RabbitMQ server, such as amqp://user:password@host:5672/%2f: {0}")]
struct BadUrl(String);

impl RabbitCarrier {
    /// Connects to the server at `url`, as `amqp://user:password@host:5672/vhost` or, with TLS,
    /// `amqps://`. Of a cluster it may name several hosts, `host1:5672,host2:5672`: when one is lost
    /// the next is tried. Belongs to the Tokio runtime it is called on.
    ///
    /// # Errors
    /// [`CarrierError::Failed`] when the URL is wrong or the server refuses, as it does strangers;
    /// [`CarrierError::Outage`] when there is none for as long as `limits.patience`.
    pub async fn connect(url: &str, limits: RabbitLimits) -> Result<Self, CarrierError> {
        let addresses =
            address::addresses(url).map_err(|why| CarrierError::Failed(Box::new(BadUrl(why))))?;
        let lost: Arc<Lost> = Arc::default();
        let shared = Arc::new(Shared {
            outward: Outward::new(&addresses, &limits),
            lanes: Lanes::new(&addresses, &limits, Arc::clone(&lost)),
            takes: Arc::new(Semaphore::new(limits.takes.max(1))),
            known: Known::default(),
            warden: Arc::default(),
            agenda: Arc::default(),
            limits,
        });
        let mut pauses = Pauses::new(&shared.limits, shared.limits.patience);
        for link in [&shared.outward.link, &shared.lanes.link] {
            while let Err(trouble) = link.channel().await {
                if !trouble.passes() || !pauses.pause().await {
                    return Err(trouble.into());
                }
            }
        }
        let watch = warden::watch(Arc::downgrade(&shared), Arc::clone(&shared.warden));
        let warden = tokio::spawn(watch).abort_handle();
        let walk = agenda::walk(Arc::downgrade(&shared), Arc::clone(&shared.agenda));
        let porter = tokio::spawn(walk).abort_handle();
        let lost = tokio::spawn(lost::resend(Arc::downgrade(&shared), lost)).abort_handle();
        Ok(Self { shared, warden, porter, lost })
    }

    /// Takes leave of the server; what is in hands comes again. Dropping does it without waiting.
    pub async fn close(self) {
        self.shared.outward.link.close().await;
        self.shared.lanes.link.close().await;
    }
}

impl Drop for RabbitCarrier {
    fn drop(&mut self) {
        self.warden.abort();
        self.porter.abort();
        self.lost.abort();
    }
}

impl Carrier for RabbitCarrier {
    fn abilities(&self) -> Abilities {
        Abilities {
            retention_most: None,
            delay_most: Some(Step::longest()),
            parcel_bytes: self.shared.limits.parcel_bytes,
            receipts_travel: false,
            extend: true,
            peek: false,
        }
    }

    async fn ensure(&self, queue: &CarrierQueue) -> Result<(), CarrierError> {
        self.shared.ensure(queue).await
    }

    async fn could_ensure(&self, queue: &CarrierQueue) -> Result<(), CarrierError> {
        self.shared.could_ensure(queue).await
    }

    async fn remove(&self, queue: &QueueName) -> Result<(), CarrierError> {
        self.shared.remove(queue).await
    }

    async fn send(
        &self,
        queue: &QueueName,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.shared.send(queue, parcels).await
    }

    async fn take(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, CarrierError> {
        self.shared.take(queue, max, wait).await
    }

    async fn ack(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.shared.ack(queue, &handles).await
    }

    async fn release(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, Duration)>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.shared.release(queue, handles).await
    }

    async fn dead(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, String)>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.shared.dead(queue, handles).await
    }

    async fn extend(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
        lasting: Duration,
    ) -> Result<Vec<Each>, CarrierError> {
        self.shared.extend(queue, &handles, lasting)
    }

    async fn depth(&self, queue: &QueueName) -> Result<CarrierDepth, CarrierError> {
        self.shared.depth(queue).await
    }

    async fn peek(&self, _: &QueueName, _: usize) -> Result<Vec<Parcel>, CarrierError> {
        Err(CarrierError::Unsupported {
            what: "looking at what waits",
            why: "RabbitMQ shows a message only by delivering it, which it counts",
        })
    }

    async fn purge(&self, queue: &QueueName) -> Result<Option<u64>, CarrierError> {
        self.shared.purge(queue).await.map(Some)
    }

    async fn redrive(
        &self,
        from: &QueueName,
        to: &QueueName,
        most: usize,
    ) -> Result<u64, CarrierError> {
        self.shared.redrive(from, to, most).await
    }
}
