//! The database's own broker under the same cases: PostgreSQL and SQLite.
//!
//! `carrier` makes a [`Carrier`](rowmill::broker::carrier::Carrier) of the broker as it stands; an
//! engine's file says where its database is and how it is cut off, killed and started again.

mod carrier;
mod postgres;
mod sqlite;
