//! What carries messages: the contract that workers and ingestion know, and the brokers that keep
//! it.
//!
//! [`Source`] is a worker's view: receive, settle, extend. [`Broker`] is ingestion's: publish,
//! release, discard. [`SqlBroker`] keeps rows and their bookkeeping in one transaction of the
//! database; carriers will stand beside it, a file each. Which queues a message goes to is decided
//! once for all of them, in [`fanout`].

mod attributes;
mod cache;
pub mod carrier;
mod contract;
pub mod fanout;
mod join;
mod joined;
pub mod keeper;
mod limits;
mod lookups;
mod names;
mod origins;
mod publishes;
mod routing;
mod sql;
mod wake;

pub use contract::{
    Broker, BrokerError, CopyOf, MessageBody, Once, Published, Publishing, RowBatch, Source, Ticket,
};
pub use join::JoinLimits;
pub use limits::SqlBrokerLimits;
pub use sql::SqlBroker;
