//! The broker that is the database, asked as a carrier is.
//!
//! One view is what a process has: a store, its broker, and a keeper at its rounds. A queue is a queue
//! with a topic of its name, made as the API makes them; every call is the broker's own. What a parcel
//! has and a message has not is said in the broker's words:
//!
//! - its id: the broker gives ids of its own, so the sender's goes along as an attribute;
//! - its delay: a queue has one, and it binds at publish, so the queue has it while the parcel is
//!   published;
//! - why it died: that stands with the end that it had in the queue where it died.

use std::collections::BTreeMap;
use std::time::Duration;

use rowmill::broker::carrier::{
    Abilities, Carrier, CarrierDepth, CarrierError, CarrierQueue, Each, Failed, Handle, Parcel,
    REASON, Taken,
};
use rowmill::broker::keeper::Keeper;
use rowmill::broker::{Broker, BrokerError, MessageBody, Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{MessageId, QueueName, Receipt, Settlement, TopicName, Verdict};
use rowmill::store::control::{ChangeError, QueueTerms};
use rowmill::store::log::QueueId;
use rowmill::store::{Store, StoreError, StoreOptions};
use tokio_util::task::AbortOnDropHandle;

/// The attribute that is a parcel's id.
const ID: &str = "parcel-id";
/// More queues than a case makes.
const QUEUES: u64 = 1_000;

/// What a process has.
pub(crate) struct SqlCarrier {
    store: Store,
    broker: SqlBroker,
    _keeper: AbortOnDropHandle<()>,
}

fn of_store(error: StoreError) -> CarrierError {
    if error.is_outage() {
        CarrierError::Outage(Box::new(error))
    } else {
        CarrierError::Failed(Box::new(error))
    }
}

fn of_broker(queue: &QueueName, error: BrokerError) -> CarrierError {
    match error {
        BrokerError::NoQueue(_) | BrokerError::NoTopic(_) => CarrierError::NoQueue(queue.clone()),
        BrokerError::Outage(error) => CarrierError::Outage(error),
        error => CarrierError::Failed(Box::new(error)),
    }
}

fn of_change(error: ChangeError) -> CarrierError {
    match error {
        ChangeError::NoQueue(queue) => CarrierError::NoQueue(queue),
        ChangeError::Store(error) => of_store(error),
        error => CarrierError::Failed(Box::new(error)),
    }
}

fn topic_of(queue: &QueueName) -> TopicName {
    queue.as_str().parse().unwrap()
}

/// The parcel's id, and its own attributes.
fn labels(attributes: Option<&str>) -> (Option<String>, BTreeMap<String, String>) {
    let all = attributes.map(|text| serde_json::from_str(text).unwrap());
    let mut all: BTreeMap<String, String> = all.unwrap_or_default();
    (all.remove(ID), all)
}

impl SqlCarrier {
    /// A view of a database whose tables are there. `wait` is its patience.
    pub(crate) async fn open(url: &str, wait: Duration) -> Result<Self, CarrierError> {
        let options = StoreOptions { connections: 4, wait };
        let store = Store::open(url, &options).await.map_err(of_store)?;
        let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await;
        let broker = broker.map_err(of_store)?;
        let keeper = tokio::spawn(Keeper::new(broker.clone()).run());
        Ok(Self { store, broker, _keeper: AbortOnDropHandle::new(keeper) })
    }

    /// The terms of a queue.
    async fn terms(&self, queue: &QueueName) -> Result<Option<QueueTerms>, CarrierError> {
        let found = self.store.control.queue_record(queue).await.map_err(of_store)?;
        Ok(found.map(|record| record.terms))
    }

    async fn replace(&self, queue: &QueueName, terms: &QueueTerms) -> Result<(), CarrierError> {
        let replaced = self.store.control.replace_queue(queue, terms).await;
        self.broker.names_changed();
        replaced.map(drop).map_err(of_change)
    }

    /// Makes a queue, or gives one other terms. `Clash` when another did either just then.
    async fn make(&self, queue: &CarrierQueue) -> Result<(), ChangeError> {
        let control = &self.store.control;
        let present = control.queue_record(&queue.name).await?;
        let topic = match &present {
            // A dead queue takes from none.
            Some(present) => present.terms.topic.clone(),
            None => Some(topic_of(&queue.name)),
        };
        let terms = QueueTerms {
            topic,
            dead_queue: queue.dead.clone(),
            deadline: queue.ack_deadline,
            max_deliveries: queue.deliveries.map(|most| u16::try_from(most).unwrap()),
            retention: queue.retention,
            ..QueueTerms::default()
        };
        match present {
            None => control.create_queue(&queue.name, &terms).await.map(drop),
            Some(_) => control.replace_queue(&queue.name, &terms).await.map(drop),
        }
    }

    async fn publish(
        &self,
        queue: &QueueName,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<Each>, CarrierError> {
        let message = |parcel: Parcel| {
            let Parcel { id, data, mut attributes, .. } = parcel;
            attributes.insert(ID.to_owned(), id);
            MessageBody { data, attributes }
        };
        let messages = parcels.into_iter().map(message).collect();
        let copies = self.broker.publish_messages(&topic_of(queue), messages, None).await;
        let copies = copies.map_err(|error| of_broker(queue, error))?;
        let each = |copies: Vec<_>| match copies.len() {
            1 => Ok(()),
            n => Err(Failed::Refused(format!("{n} queues took it"))),
        };
        Ok(copies.into_iter().map(each).collect())
    }

    async fn settle(
        &self,
        queue: &QueueName,
        ends: Vec<(Handle, Verdict)>,
    ) -> Result<Vec<Each>, CarrierError> {
        let mut places: Vec<(Receipt, u16)> = vec![];
        let mut leases: BTreeMap<Receipt, Vec<Settlement>> = BTreeMap::new();
        for (handle, verdict) in ends {
            let (receipt, position) = opened(&handle);
            places.push((receipt, position));
            leases.entry(receipt).or_default().push(Settlement { position, verdict });
        }
        if leases.is_empty() {
            return Ok(vec![]);
        }
        let receipts: Vec<Receipt> = leases.keys().copied().collect();
        let settled = self.broker.settle(leases.into_iter().collect()).await;
        let settled = settled.map_err(|error| of_broker(queue, error))?;
        assert_eq!(settled.len(), receipts.len(), "an answer for each lease");
        let stale: BTreeMap<Receipt, Vec<u16>> =
            receipts.into_iter().zip(settled.into_iter().map(|settled| settled.stale)).collect();
        let each = |(receipt, position)| match stale[&receipt].contains(&position) {
            true => Err(Failed::Over),
            false => Ok(()),
        };
        Ok(places.into_iter().map(each).collect())
    }

    /// The queue whose dead queue this is.
    async fn died_in(&self, dead: &QueueName) -> Result<Option<QueueId>, CarrierError> {
        let queues = self.store.control.queue_records(0, QUEUES).await.map_err(of_store)?;
        let of_it = |terms: &QueueTerms| terms.dead_queue.as_ref() == Some(dead);
        Ok(queues.into_iter().find(|queue| of_it(&queue.terms)).map(|queue| queue.id))
    }

    /// Why a message died that is in a dead queue now.
    async fn reason(&self, died_in: QueueId, id: MessageId) -> Result<Option<String>, BrokerError> {
        let Some((_, number)) = self.broker.open_id(id) else { return Ok(None) };
        let ended = self.broker.message(self.broker.id_of(died_in, number)).await?;
        Ok(ended.and_then(|message| message.reason).map(String::from))
    }
}

/// A handle is a receipt and a position.
fn handle(receipt: Receipt, position: u16) -> Handle {
    Handle(format!("{receipt}/{position}"))
}

fn opened(handle: &Handle) -> (Receipt, u16) {
    let (receipt, position) = handle.0.split_once('/').unwrap();
    (Receipt(receipt.parse().unwrap()), position.parse().unwrap())
}

/// What the broker can do: all of it, with texts as long as SQLite keeps them.
pub(crate) const ABILITIES: Abilities = Abilities {
    delay_most: None,
    retention_most: None,
    parcel_bytes: 1_000_000_000,
    receipts_travel: true,
    extend: true,
    peek: true,
};

impl Carrier for SqlCarrier {
    fn abilities(&self) -> Abilities {
        ABILITIES
    }

    async fn ensure(&self, queue: &CarrierQueue) -> Result<(), CarrierError> {
        if queue.capacity.is_some() {
            let (what, why) = ("a capacity", "a queue holds what the disk has room for");
            return Err(CarrierError::Unsupported { what, why });
        }
        if let Some(dead) = &queue.dead
            && let Some(terms) = self.terms(dead).await?
            && terms.topic.is_some()
        {
            self.replace(dead, &QueueTerms { topic: None, ..terms }).await?;
        }
        match self.store.control.create_topic(&topic_of(&queue.name)).await {
            Ok(_) | Err(ChangeError::TopicTaken(_)) => {}
            Err(error) => return Err(of_change(error)),
        }
        let made = loop {
            match self.make(queue).await {
                Err(ChangeError::QueueTaken(_) | ChangeError::NoQueue(_) | ChangeError::Clash) => {}
                made => break made,
            }
        };
        self.broker.names_changed();
        made.map_err(of_change)
    }

    async fn remove(&self, queue: &QueueName) -> Result<(), CarrierError> {
        self.store.control.delete_topic(&topic_of(queue)).await.map_err(of_change)?;
        self.store.control.delete_queue(queue).await.map_err(of_change)?;
        self.broker.names_changed();
        Ok(())
    }

    async fn send(
        &self,
        queue: &QueueName,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<Each>, CarrierError> {
        let mut answers = vec![Ok(()); parcels.len()];
        let mut by_delay: BTreeMap<Duration, (Vec<usize>, Vec<Parcel>)> = BTreeMap::new();
        for (place, parcel) in parcels.into_iter().enumerate() {
            let (places, parcels) = by_delay.entry(parcel.delay).or_default();
            places.push(place);
            parcels.push(parcel);
        }
        for (delay, (places, parcels)) in by_delay {
            let terms = match delay.is_zero() {
                true => None,
                false => self.terms(queue).await?,
            };
            if let Some(terms) = &terms {
                self.replace(queue, &QueueTerms { delay, ..terms.clone() }).await?;
            }
            let each = self.publish(queue, parcels).await;
            if let Some(terms) = &terms {
                self.replace(queue, terms).await?;
            }
            places.into_iter().zip(each?).for_each(|(place, each)| answers[place] = each);
        }
        Ok(answers)
    }

    async fn take(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, CarrierError> {
        let fault = |error| of_broker(queue, error);
        let died_in = self.died_in(queue).await?;
        let leases = self.broker.receive(queue, max, wait).await.map_err(fault)?;
        let mut taken = vec![];
        for delivery in leases.into_iter().flat_map(|lease| lease.deliveries) {
            let (id, mut attributes) = labels(delivery.attributes.as_deref());
            if let Some(died_in) = died_in
                && let Some(reason) = self.reason(died_in, delivery.id).await.map_err(fault)?
            {
                attributes.insert(REASON.to_owned(), reason);
            }
            taken.push(Taken {
                id,
                data: delivery.data.into_string().into(),
                attributes,
                attempt: delivery.attempt.into(),
                handle: handle(delivery.receipt, delivery.position),
            });
        }
        Ok(taken)
    }

    async fn ack(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
    ) -> Result<Vec<Each>, CarrierError> {
        let done = |handle| (handle, Verdict::Done { output: None });
        self.settle(queue, handles.into_iter().map(done).collect()).await
    }

    async fn release(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, Duration)>,
    ) -> Result<Vec<Each>, CarrierError> {
        let retry = |(handle, after)| {
            (handle, Verdict::Retry { reason: "given back".into(), after: Some(after) })
        };
        self.settle(queue, handles.into_iter().map(retry).collect()).await
    }

    async fn dead(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, String)>,
    ) -> Result<Vec<Each>, CarrierError> {
        let reject = |(handle, reason): (Handle, String)| {
            (handle, Verdict::Reject { reason: reason.into() })
        };
        self.settle(queue, handles.into_iter().map(reject).collect()).await
    }

    async fn extend(
        &self,
        queue: &QueueName,
        handles: Vec<Handle>,
        lasting: Duration,
    ) -> Result<Vec<Each>, CarrierError> {
        let receipts = handles.iter().map(|handle| opened(handle).0).collect();
        let extended = self.broker.extend_for(receipts, lasting).await;
        let extended = extended.map_err(|error| of_broker(queue, error))?;
        Ok(extended.into_iter().map(|lasts| lasts.map(drop).ok_or(Failed::Over)).collect())
    }

    async fn depth(&self, queue: &QueueName) -> Result<CarrierDepth, CarrierError> {
        let stats = self.broker.stats(queue).await.map_err(|error| of_broker(queue, error))?;
        Ok(CarrierDepth {
            waiting: stats.depth.ready,
            delayed: Some(stats.depth.delayed),
            in_hands: Some(stats.depth.in_flight),
        })
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<Parcel>, CarrierError> {
        let seen = self.broker.peek(queue, limit).await.map_err(|error| of_broker(queue, error))?;
        let now_ms = self.store.clock.now_ms();
        // The broker shows after them what waits for its time, too.
        let due = seen.into_iter().filter(|message| message.scheduled_ms <= now_ms);
        let parcel = |message: rowmill::domain::Message| {
            let (id, attributes) = labels(message.attributes.as_deref());
            let data = message.data.into_string().into();
            Parcel { id: id.unwrap(), data, attributes, delay: Duration::ZERO }
        };
        Ok(due.map(parcel).collect())
    }

    async fn purge(&self, queue: &QueueName) -> Result<Option<u64>, CarrierError> {
        self.broker.purge(queue).await.map(Some).map_err(|error| of_broker(queue, error))
    }

    async fn redrive(
        &self,
        from: &QueueName,
        to: &QueueName,
        _: usize,
    ) -> Result<u64, CarrierError> {
        self.broker.redrive(from, to).await.map_err(|error| match error {
            BrokerError::NoQueue(queue) => CarrierError::NoQueue(queue),
            error => of_broker(from, error),
        })
    }
}
