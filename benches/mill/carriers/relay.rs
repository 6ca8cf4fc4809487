//! Our side: the broker that a server would have, a relay over the engine's carrier.

use std::sync::Arc;

use rowmill::broker::{AnyBroker, Broker, Carrying, MessageBody, Source};
use rowmill::domain::{Delivery, QueueName, Settlement, TopicName, Verdict};
use rowmill::store::Store;
use rowmill::store::control::NewQueue;

use super::{Done, Message, Producer, Side, WAIT};

/// A topic with one queue.
#[derive(Clone)]
pub(super) struct Ours {
    broker: AnyBroker,
    topic: TopicName,
    queue: QueueName,
    outcomes: bool,
}

impl Ours {
    pub(super) async fn open(store: &Store, url: &str, outcomes: bool) -> Self {
        let carrying = Carrying { url: Some(url.to_owned()), ..Carrying::default() };
        let broker = carrying.open(store).await.unwrap().expect("a carrier");
        let name = format!("bench-{}", uuid::Uuid::new_v4().simple());
        let (topic, queue) = (name.parse().unwrap(), name.parse::<QueueName>().unwrap());
        let number = store.control.ensure_topic(&topic).await.unwrap();
        let new = NewQueue {
            topic: Some(number),
            record_outcomes: outcomes,
            ..NewQueue::new(queue.clone())
        };
        store.control.ensure_queue(&new).await.unwrap();
        broker.queue_made(&queue).await.unwrap();
        Self { broker, topic, queue, outcomes }
    }

    pub(super) async fn close(&self) {
        self.broker.queue_deleted(&self.queue).await.unwrap();
    }
}

impl Side for Ours {
    type Producer = Self;

    async fn producer(&self) -> Self {
        self.clone()
    }

    async fn consume(&self, batch: usize, done: Arc<Done>) {
        while done.open() {
            for lease in self.broker.receive(&self.queue, batch, WAIT).await.unwrap() {
                let settlement = |delivery: &Delivery| {
                    let output = || format!(r#"{{"id":"{}"}}"#, delivery.id).into();
                    let verdict = Verdict::Done { output: self.outcomes.then(output) };
                    Settlement { position: delivery.position, verdict }
                };
                let settlements = lease.deliveries.iter().map(settlement).collect();
                let settled = self.broker.settle(vec![(lease.receipt, settlements)]).await.unwrap();
                done.add(settled[0].done as usize);
            }
        }
    }
}

impl Producer for Ours {
    async fn publish(&mut self, messages: Vec<Message>) {
        let body = |Message { data, attributes }| MessageBody { data: data.into(), attributes };
        let messages: Vec<MessageBody> = messages.into_iter().map(body).collect();
        let n = messages.len();
        let copies = self.broker.publish_messages(&self.topic, messages, None).await.unwrap();
        assert!(copies.len() == n && copies.iter().all(|copies| copies.len() == 1));
    }
}
