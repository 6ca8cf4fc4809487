//! What carries messages: the contract that workers and ingestion know, and the brokers that keep
//! it.
//!
//! [`Source`] is a worker's view: receive, settle, extend. [`Broker`] adds what ingestion and the
//! service need. `sql` keeps rows and their bookkeeping in one transaction of the database;
//! carriers will stand beside it, a file each.

mod contract;

pub use contract::{BrokerError, Source};
