//! rowmill's database changes, in order. Each change says its statements in both dialects, because
//! the log of messages uses what each database does best (arrays and covering indexes on
//! PostgreSQL, tables without row ids on SQLite). They are data; the store makes them.
//!
//! A change that was released is never edited: a mistake in it is mended by another.

mod m0001_control;
mod m0002_log;
mod m0003_service;
mod m0004_queues;
mod m0005_messages;
mod m0006_carried;
mod m0007_rules;
mod m0008_steering;
mod m0009_keys;

/// Every change, oldest first.
pub const CHANGES: &[Change] = &[
    m0001_control::CHANGE,
    m0002_log::CHANGE,
    m0003_service::CHANGE,
    m0004_queues::CHANGE,
    m0005_messages::CHANGE,
    m0006_carried::CHANGE,
    m0007_rules::CHANGE,
    m0008_steering::CHANGE,
    m0009_keys::CHANGE,
];

/// A change of the tables.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// What a database remembers it by: the name of its file.
    pub name: &'static str,
    /// Its statements for PostgreSQL.
    pub postgres: &'static str,
    /// Its statements for SQLite.
    pub sqlite: &'static str,
}
