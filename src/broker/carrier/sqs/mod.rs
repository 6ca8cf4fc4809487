//! SQS as a carrier: AWS's own, and servers that speak its protocol.
//!
//! A queue is a standard queue of SQS (no FIFO), by our own name with a prefix ([`names`]); a parcel is
//! a message whose body is its data and whose message attributes are its own, with the id as
//! `rowmill-id` ([`letter`]). Everything goes in requests of ten, several at once, and each entry that
//! fails within a request that succeeds is told apart ([`batches`]).
//!
//! ```python
//! sqs = boto3.client("sqs")
//! got = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], WaitTimeSeconds=20)
//! for message in got.get("Messages", []):
//!     row = json.loads(message["Body"])
//!     upload = message["MessageAttributes"]["upload_id"]["StringValue"]
//!     sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
//! ```
//!
//! What is different about SQS, and what follows from it here:
//!
//! - A message has up to 1 MiB with its attributes, and so has a batch ([`SqsLimits::message_bytes`]);
//!   1 KiB of it is kept free for the reason of a death.
//! - Times are whole seconds, rounded up. A first delivery may be delayed by 15 minutes, a later one by
//!   12 hours, less the time that it was in hands; a retention is one minute to 14 days.
//! - A queue has no capacity, and nothing can be looked at without being taken.
//! - To settle late is no error to SQS, and does nothing. The driver remembers until when it has what
//!   it took, and says so itself ([`hands`]); of what another process took it knows nothing and
//!   believes the engine.
//! - A parcel's data cannot be read by its receipt. So any process can ack, release and extend what
//!   another took, but only the one that took it can move it to the dead queue.
//! - What was released with a delay is counted as in hands, not as delayed; all counts are
//!   approximate and may be a minute old on AWS.
//! - A queue whose name was removed within the last minute cannot be made on AWS: making it waits
//!   ([`SqsLimits::removed`]), and it is an outage when that was not enough.
//! - When the engine itself gives a parcel up, it has no reason, and its time in the dead queue counts
//!   from when it was first sent: a dead queue should keep longer than what it belongs to.
//!
//! Credentials are found as the AWS tools find them (environment, profile, web identity, container,
//! machine), but for those of a sign-in by browser; or they stand in the URL ([`address`]). What they must be
//! allowed: `sqs:CreateQueue`, `DeleteQueue`, `GetQueueUrl`, `GetQueueAttributes`,
//! `SetQueueAttributes`, `TagQueue`, `ListQueueTags`, `SendMessage`, `ReceiveMessage`, `DeleteMessage`
//! and `ChangeMessageVisibility`.

mod address;
mod batches;
mod client;
mod ensure;
mod faults;
mod hands;
mod letter;
mod moves;
mod names;
mod queues;
mod send;
mod settings;
mod settle;
mod take;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName as Name;

pub use self::address::BadAddress;
use self::hands::Hands;
use self::queues::Queues;
use self::settings::DELAY_MOST;
pub use super::limits::SqsLimits;
use super::{
    Abilities, Carrier, CarrierDepth, CarrierError, CarrierQueue, Each, Handle, Parcel, Taken,
};
use crate::domain::QueueName;

/// A carrier that is SQS.
pub struct SqsCarrier {
    client: Client,
    limits: SqsLimits,
    queues: Queues,
    hands: Hands,
    /// Queues whose last take came back full.
    full: Mutex<HashSet<QueueName>>,
}

impl SqsCarrier {
    /// Reads where the engine is ([`address`]) and how to sign requests to it. Nothing is asked of it
    /// yet: SQS knows no connections, and an engine that is away shows at the first call.
    ///
    /// # Errors
    /// [`CarrierError::Failed`]: a URL that is none, or no region that could be found.
    pub async fn connect(url: &str, limits: SqsLimits) -> Result<Self, CarrierError> {
        let failed = |error| CarrierError::Failed(error);
        let address = address::Address::read(url).map_err(|error| failed(Box::new(error)))?;
        let prefix = address.prefix.clone();
        let client = client::open(address, &limits).await;
        let client = client.map_err(|error| failed(Box::new(error)))?;
        Ok(Self {
            queues: Queues::new(client.clone(), limits.clone(), prefix),
            hands: Hands::new(&limits),
            full: Mutex::default(),
            client,
            limits,
        })
    }

    /// Whether a queue's last take came back full, so that there is probably more.
    fn is_busy(&self, queue: &QueueName) -> bool {
        self.full.lock().unwrap_or_else(PoisonError::into_inner).contains(queue)
    }

    fn busy(&self, queue: &QueueName, full: bool) {
        let mut busy = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        if !full {
            busy.remove(queue);
        } else if busy.len() < self.limits.queues_known && !busy.contains(queue) {
            busy.insert(queue.clone());
        }
    }

    async fn depth_of(&self, queue: &QueueName) -> Result<CarrierDepth, CarrierError> {
        const WAITING: Name = Name::ApproximateNumberOfMessages;
        const DELAYED: Name = Name::ApproximateNumberOfMessagesDelayed;
        const IN_HANDS: Name = Name::ApproximateNumberOfMessagesNotVisible;
        let read = self.queues.read(queue, &[WAITING, DELAYED, IN_HANDS]).await?;
        let number = |name| read.get(&name).and_then(|text| text.parse().ok());
        Ok(CarrierDepth {
            waiting: number(WAITING).unwrap_or_default(),
            delayed: number(DELAYED),
            in_hands: number(IN_HANDS),
        })
    }
}

impl Carrier for SqsCarrier {
    fn abilities(&self) -> Abilities {
        Abilities {
            retention_most: Some(settings::RETENTION_MOST),
            delay_most: Some(DELAY_MOST),
            parcel_bytes: self.parcel_bytes(),
            receipts_travel: true,
            extend: true,
            peek: false,
        }
    }

    async fn ensure(&self, queue: &CarrierQueue) -> Result<(), CarrierError> {
        self.queues.ensure(queue).await
    }

    async fn remove(&self, queue: &QueueName) -> Result<(), CarrierError> {
        self.queues.remove(queue).await
    }

    async fn send(
        &self,
        queue: &QueueName,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.send_parcels(queue, parcels).await
    }

    async fn take(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, CarrierError> {
        self.take_up_to(queue, max, wait).await
    }

    async fn ack(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.delete(queue, &handles).await
    }

    async fn release(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, Duration)>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.give_back(queue, handles).await
    }

    async fn dead(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, String)>,
    ) -> Result<Vec<Each>, CarrierError> {
        self.bury(queue, handles).await
    }

    async fn extend(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
        lasting: Duration,
    ) -> Result<Vec<Each>, CarrierError> {
        self.lengthen(queue, &handles, lasting).await
    }

    async fn depth(&self, queue: &QueueName) -> Result<CarrierDepth, CarrierError> {
        self.depth_of(queue).await
    }

    async fn peek(&self, _queue: &QueueName, _limit: usize) -> Result<Vec<Parcel>, CarrierError> {
        let why = "SQS shows a message only to who takes it";
        Err(CarrierError::Unsupported { what: "to look at what waits", why })
    }

    async fn purge(&self, queue: &QueueName) -> Result<Option<u64>, CarrierError> {
        self.drain(queue).await.map(Some)
    }

    async fn redrive(
        &self,
        from: &QueueName,
        to: &QueueName,
        most: usize,
    ) -> Result<u64, CarrierError> {
        self.move_waiting(from, to, most).await
    }
}
