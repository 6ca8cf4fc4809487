//! RabbitMQ, bare: lapin; a durable quorum queue, persistent messages, publisher confirms awaited a
//! batch at a time, as much prefetched as a batch has, all of it acked at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{join_all, try_join_all};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ChannelFlowOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::time::timeout;

use super::{CREATED, Done, Message, Producer, Side, WAIT, created};

/// How long the rest of a batch is waited for: what is there comes without a pause.
const GATHER: Duration = Duration::from_millis(5);

/// Connections, and a queue.
#[derive(Clone)]
pub(super) struct Bare {
    outward: Arc<Connection>,
    inward: Arc<Connection>,
    queue: ShortString,
}

impl Bare {
    pub(super) async fn open(url: &str) -> Self {
        let connect = async || {
            Arc::new(Connection::connect(url, ConnectionProperties::default()).await.unwrap())
        };
        let (outward, inward) = (connect().await, connect().await);
        let queue = ShortString::from(format!("bare-{}", uuid::Uuid::new_v4().simple()));
        let text = |text: &str| AMQPValue::LongString(text.into());
        let arguments = FieldTable::from(BTreeMap::from([
            ("x-queue-type".into(), text("quorum")),
            ("x-overflow".into(), text("reject-publish")),
        ]));
        let channel = outward.create_channel().await.unwrap();
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.clone(), options, arguments).await.unwrap();
        Self { outward, inward, queue }
    }
}

impl Side for Bare {
    type Producer = Sender;

    async fn producer(&self) -> Sender {
        let channel = self.outward.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Sender { channel, queue: self.queue.clone() }
    }

    async fn consume(&self, batch: usize, done: Arc<Done>) {
        let channel = self.inward.create_channel().await.unwrap();
        let prefetch = u16::try_from(batch).unwrap();
        channel.basic_qos(prefetch, BasicQosOptions::default()).await.unwrap();
        let (queue, tag) = (self.queue.clone(), ShortString::default());
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(queue, tag, options, FieldTable::default());
        let mut consumer = consuming.await.unwrap();
        while done.open() {
            let mut taken = Vec::with_capacity(batch);
            while taken.len() < batch {
                let wait = if taken.is_empty() { WAIT } else { GATHER };
                let Ok(next) = timeout(wait, consumer.next()).await else { break };
                taken.push(next.unwrap().unwrap());
            }
            let Some(last) = taken.last().map(|taken| taken.delivery_tag) else { continue };
            let all = BasicAckOptions { multiple: true };
            channel.basic_ack(last, all).await.unwrap();
            // Acks have no answer; that the server has read the last of them is part of the time.
            if done.last(taken.len()) {
                channel.channel_flow(ChannelFlowOptions { active: true }).await.unwrap();
            }
            done.add(taken.len());
        }
        channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await.unwrap();
    }
}

pub(super) struct Sender {
    channel: Channel,
    queue: ShortString,
}

impl Producer for Sender {
    async fn publish(&mut self, messages: Vec<Message>) {
        let created = created();
        let publish = async |message: Message| {
            let header = |(name, value): (String, String)| {
                (ShortString::from(name), AMQPValue::LongString(value.into()))
            };
            let attributes = message.attributes.into_iter();
            let attributes = attributes.chain([(CREATED.to_owned(), created.clone())]);
            let headers: BTreeMap<_, _> = attributes.map(header).collect();
            let properties = BasicProperties::default()
                .with_content_type("application/json".into())
                .with_delivery_mode(2)
                .with_message_id(uuid::Uuid::new_v4().to_string().into())
                .with_headers(headers.into());
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let (exchange, key) = (ShortString::default(), self.queue.clone());
            let data = message.data.as_bytes();
            self.channel.basic_publish(exchange, key, options, data, properties).await
        };
        let sent = try_join_all(messages.into_iter().map(publish)).await.unwrap();
        for confirmation in join_all(sent).await {
            let confirmation = confirmation.unwrap();
            assert!(confirmation.is_ack() && confirmation.take_message().is_none());
        }
    }
}
