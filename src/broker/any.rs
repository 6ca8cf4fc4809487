//! The one broker type at the top: the database, or a relay over one of the carriers that this build
//! has, by the scheme of a URL.
//!
//! The API is generic over its broker and long to compile, so it is compiled for this type alone. A
//! carrier is one line of `registered`: its feature, its name here, its type, its schemes, and how it
//! is opened.

use std::time::Duration;

use super::carrier::CarrierError;
use super::carrier::limits::DriverLimits;
#[cfg(feature = "rabbitmq")]
use super::carrier::rabbitmq::RabbitCarrier;
#[cfg(feature = "redis")]
use super::carrier::redis::RedisCarrier;
#[cfg(feature = "sqs")]
use super::carrier::sqs::SqsCarrier;
use super::contract::{Broker, Source};
use super::error::BrokerError;
use super::keeper::Chore;
use super::published::{CopyOf, MessageBody, Once, Published, Publishing, RowBatch, Ticket};
use super::relay::RelayLimits;
use super::sql::SqlBroker;
use crate::domain::{
    Lease, Message, MessageId, QueueName, QueueStats, Receipt, Settled, Settlement, TopicName,
};
use crate::store::control::QueueTerms;
use crate::store::log::{Fence, QueueId, UploadId};
use crate::store::{Store, StoreError};

/// Hands the list of carriers to another macro, with what is said beside it.
macro_rules! registered {
    ($then:ident!($($said:tt)*)) => {
        $then! { [
            "rabbitmq" RabbitMq crate::broker::carrier::rabbitmq::RabbitCarrier, ["amqp", "amqps"], open_rabbitmq;
            "redis" Redis crate::broker::carrier::redis::RedisCarrier, ["redis", "rediss"], open_redis;
            "sqs" Sqs crate::broker::carrier::sqs::SqsCarrier, ["sqs"], open_sqs;
        ] $($said)* }
    };
}

macro_rules! declare {
    ([$($feature:literal $Name:ident $Carrier:ty, $schemes:expr, $open:expr;)*]) => {
        /// A broker. Cheap to clone; clones share everything.
        #[derive(Debug, Clone)]
        pub enum AnyBroker {
            /// The database.
            Sql(SqlBroker),
            $(
                /// A carrier, with the ledger in the database.
                #[cfg(feature = $feature)]
                $Name(super::relay::Relay<$Carrier>),
            )*
        }

        /// The carriers there are: their features, their schemes, and whether this build has them.
        const CARRIERS: &[(&str, &[&str], bool)] =
            &[$(($feature, &$schemes, cfg!(feature = $feature)),)*];

        impl AnyBroker {
            #[allow(unused_variables, reason = "a build without carriers opens none")]
            async fn connect(
                scheme: &str,
                url: &str,
                store: &Store,
                carrying: &Carrying,
            ) -> Result<Option<Self>, CannotCarry> {
                $(
                    #[cfg(feature = $feature)]
                    if $schemes.contains(&scheme) {
                        let carrier = ($open)(url.to_owned(), &carrying.drivers).await?;
                        let limits = carrying.limits.clone();
                        let relay = super::relay::Relay::new(carrier, store.clone(), limits);
                        return Ok(Some(Self::$Name(relay.await?)));
                    }
                )*
                Ok(None)
            }

            /// What a keeper has to do for it besides.
            pub fn chore(&self) -> Option<Box<dyn Chore>> {
                match self {
                    Self::Sql(_) => None,
                    $(
                        #[cfg(feature = $feature)]
                        Self::$Name(relay) => Some(relay.chore()),
                    )*
                }
            }
        }
    };
}

registered!(declare!());

#[cfg(feature = "rabbitmq")]
async fn open_rabbitmq(url: String, limits: &DriverLimits) -> Result<RabbitCarrier, CarrierError> {
    RabbitCarrier::connect(&url, limits.rabbitmq.clone()).await
}

#[cfg(feature = "sqs")]
async fn open_sqs(url: String, limits: &DriverLimits) -> Result<SqsCarrier, CarrierError> {
    SqsCarrier::connect(&url, limits.sqs.clone()).await
}

#[cfg(feature = "redis")]
async fn open_redis(url: String, limits: &DriverLimits) -> Result<RedisCarrier, CarrierError> {
    RedisCarrier::connect(&url, limits.redis.clone()).await
}

macro_rules! each {
    (
        [$($feature:literal $Name:ident $Carrier:ty, $schemes:expr, $open:expr;)*]
        $any:ident, $broker:ident => $call:expr
    ) => {
        match $any {
            AnyBroker::Sql($broker) => $call,
            $(
                #[cfg(feature = $feature)]
                AnyBroker::$Name($broker) => $call,
            )*
        }
    };
}

/// Why a broker was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CannotCarry {
    /// The address names no broker that there is.
    #[error("`{scheme}:` names no broker; there are: {known}")]
    Unknown {
        /// Its scheme.
        scheme: String,
        /// Those that there are, with what this build lacks.
        known: String,
    },
    /// This build was made without it.
    #[error("this program was built without `{feature}`: build it with --features {feature}")]
    NotBuilt {
        /// The feature of the build.
        feature: &'static str,
    },
    /// The carrier failed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CarrierError> for CannotCarry {
    fn from(error: CarrierError) -> Self {
        Self::Broker(error.into())
    }
}

/// How a broker other than the database is opened.
#[derive(Debug, Clone, Default)]
pub struct Carrying {
    /// Its address; the database carries the messages without one.
    pub url: Option<String>,
    /// Waits and sizes of the relay.
    pub limits: RelayLimits,
    /// Waits and sizes of the drivers.
    pub drivers: DriverLimits,
}

impl Carrying {
    /// The broker other than the database, if one is named. The store is its ledger.
    ///
    /// # Errors
    /// [`CannotCarry`].
    pub async fn open(&self, store: &Store) -> Result<Option<AnyBroker>, CannotCarry> {
        let Some(url) = self.url.as_deref().filter(|url| !url.is_empty()) else { return Ok(None) };
        let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme).to_ascii_lowercase();
        if let Some(broker) = AnyBroker::connect(&scheme, url, store, self).await? {
            return Ok(Some(broker));
        }
        match CARRIERS.iter().find(|(_, schemes, _)| schemes.contains(&scheme.as_str())) {
            Some((feature, _, _)) => Err(CannotCarry::NotBuilt { feature }),
            None => {
                let known = CARRIERS.iter().map(|(feature, schemes, built)| {
                    let without = if *built { "" } else { ", not in this build" };
                    format!("{} ({feature}{without})", schemes.join(", "))
                });
                let known = known.collect::<Vec<_>>().join("; ");
                Err(CannotCarry::Unknown { scheme, known })
            }
        }
    }
}

impl Source for AnyBroker {
    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Lease>, BrokerError> {
        registered!(each!(self, broker => broker.receive(queue, max, wait).await))
    }

    async fn settle(
        &self,
        settlements: Vec<(Receipt, Vec<Settlement>)>,
    ) -> Result<Vec<Settled>, BrokerError> {
        registered!(each!(self, broker => broker.settle(settlements).await))
    }

    async fn extend(&self, receipts: Vec<Receipt>) -> Result<Vec<Option<Duration>>, BrokerError> {
        registered!(each!(self, broker => broker.extend(receipts).await))
    }
}

impl Broker for AnyBroker {
    fn holds(&self) -> bool {
        registered!(each!(self, broker => broker.holds()))
    }

    async fn reserve(&self, most: usize) -> Result<Ticket, BrokerError> {
        registered!(each!(self, broker => broker.reserve(most).await))
    }

    async fn publish(&self, to: &Publishing, batch: RowBatch) -> Result<Published, BrokerError> {
        registered!(each!(self, broker => broker.publish(to, batch).await))
    }

    async fn publish_messages(
        &self,
        topic: &TopicName,
        messages: Vec<MessageBody>,
        once: Option<Once>,
    ) -> Result<Vec<Vec<CopyOf>>, BrokerError> {
        registered!(each!(self, broker => broker.publish_messages(topic, messages, once).await))
    }

    async fn describe(&self, fence: Fence, sheets: &str) -> Result<(), BrokerError> {
        registered!(each!(self, broker => broker.describe(fence, sheets).await))
    }

    async fn release(&self, fence: Fence, totals: &str) -> Result<(), BrokerError> {
        registered!(each!(self, broker => broker.release(fence, totals).await))
    }

    async fn discard(&self, fence: Fence, problem: &str) -> Result<(), BrokerError> {
        registered!(each!(self, broker => broker.discard(fence, problem).await))
    }

    async fn extend_for(
        &self,
        receipts: Vec<Receipt>,
        lasting: Duration,
    ) -> Result<Vec<Option<Duration>>, BrokerError> {
        registered!(each!(self, broker => broker.extend_for(receipts, lasting).await))
    }

    async fn holder(&self, id: MessageId) -> Result<Option<(Receipt, u16)>, BrokerError> {
        registered!(each!(self, broker => broker.holder(id).await))
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<Message>, BrokerError> {
        registered!(each!(self, broker => broker.peek(queue, limit).await))
    }

    async fn message(&self, id: MessageId) -> Result<Option<Message>, BrokerError> {
        registered!(each!(self, broker => broker.message(id).await))
    }

    async fn stats(&self, queue: &QueueName) -> Result<QueueStats, BrokerError> {
        registered!(each!(self, broker => broker.stats(queue).await))
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64, BrokerError> {
        registered!(each!(self, broker => broker.purge(queue).await))
    }

    async fn redrive(&self, from: &QueueName, to: &QueueName) -> Result<u64, BrokerError> {
        registered!(each!(self, broker => broker.redrive(from, to).await))
    }

    async fn retry_dead(&self, upload: UploadId) -> Result<u64, BrokerError> {
        registered!(each!(self, broker => broker.retry_dead(upload).await))
    }

    async fn pause(&self, upload: UploadId) -> Result<bool, BrokerError> {
        registered!(each!(self, broker => broker.pause(upload).await))
    }

    async fn resume(&self, upload: UploadId) -> Result<bool, BrokerError> {
        registered!(each!(self, broker => broker.resume(upload).await))
    }

    async fn number_of(&self, queue: &QueueName) -> Result<QueueId, BrokerError> {
        registered!(each!(self, broker => broker.number_of(queue).await))
    }

    fn names_changed(&self) {
        registered!(each!(self, broker => broker.names_changed()));
    }

    async fn could_have(&self, queue: &QueueName, terms: &QueueTerms) -> Result<(), BrokerError> {
        registered!(each!(self, broker => broker.could_have(queue, terms).await))
    }

    async fn queue_made(&self, queue: &QueueName) -> Result<(), BrokerError> {
        registered!(each!(self, broker => broker.queue_made(queue).await))
    }

    async fn queue_deleted(&self, queue: &QueueName) -> Result<(), BrokerError> {
        registered!(each!(self, broker => broker.queue_deleted(queue).await))
    }
}
