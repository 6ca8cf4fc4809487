//! What carries messages: the contract that workers and ingestion know, and the brokers that keep
//! it.
//!
//! [`Source`] is a worker's view: receive, settle, extend. [`Broker`] is ingestion's: publish,
//! release, discard. [`SqlBroker`] keeps rows and their bookkeeping in one transaction of the
//! database; a [`Relay`] makes a broker of any [`carrier`], with the database as its ledger. Which of
//! them it is says a URL ([`AnyBroker`]). Which queues a message goes to is decided once for all of
//! them, in [`fanout`].

mod any;
mod attributes;
mod cache;
pub mod carrier;
mod contract;
mod error;
pub mod fanout;
mod join;
mod joined;
pub mod keeper;
mod limits;
mod lookups;
mod names;
mod origins;
mod published;
mod publishes;
mod relay;
mod routing;
mod sql;
mod wake;

pub use any::{AnyBroker, CannotCarry, Carrying};
pub use contract::{Broker, Source};
pub use error::BrokerError;
pub use join::JoinLimits;
pub use limits::SqlBrokerLimits;
pub use published::{CopyOf, MessageBody, Once, Published, Publishing, RowBatch, Ticket};
pub use relay::{Relay, RelayLimits};
pub use sql::SqlBroker;
