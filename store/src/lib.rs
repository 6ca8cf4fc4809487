//! Everything that is kept, and every SQL statement.
//!
//! [`Control`] is the control plane (settings, topics, queues, uploads) on SeaORM entities; [`Log`]
//! is the log of messages, on sqlx over the same connections, because it needs COPY and its
//! bookkeeping in one transaction. Nothing above this module knows SQL, and only this module knows
//! the entities.

mod clock;
pub mod control;
mod error;
pub mod log;
mod migrate;
mod open;
pub mod watch;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::Connection;
use sqlx::postgres::{PgListener, PgPool};
use sqlx::sqlite::SqlitePool;

use rowmill_domain::units;

pub use clock::Clock;
pub use control::Control;
pub use error::StoreError;
pub use log::Log;

/// How many connections, and how long to wait for one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreOptions {
    /// Connections to PostgreSQL at most, or readers of SQLite.
    pub connections: u32,
    /// How long to wait for a connection, or for SQLite's lock.
    #[serde(with = "units::time")]
    pub wait: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { connections: 12, wait: Duration::from_secs(30) }
    }
}

/// An opened database.
#[derive(Debug, Clone)]
pub struct Store {
    /// Settings, topics, queues, uploads.
    pub control: Control,
    /// Messages.
    pub log: Log,
    /// The time by which both work.
    pub clock: Clock,
    pools: Pools,
}

#[derive(Debug, Clone)]
enum Pools {
    Postgres(PgPool),
    Sqlite { writer: SqlitePool, readers: SqlitePool },
}

impl Store {
    /// Takes a lock that lives as long as this process holds it: a session's advisory lock on
    /// PostgreSQL. SQLite is one machine's file and its callers lock that file; there it is nothing.
    ///
    /// Waits while another holds it.
    ///
    /// # Errors
    /// [`StoreError::Statement`].
    pub async fn lock(&self, name: &str) -> Result<SessionLock, StoreError> {
        let Pools::Postgres(pool) = &self.pools else { return Ok(SessionLock(None)) };
        let mut connection = pool.acquire().await?.detach();
        sqlx::query("select pg_advisory_lock(hashtextextended('rowmill:'||$1, 0))")
            .bind(name)
            .execute(&mut connection)
            .await?;
        Ok(SessionLock(Some(connection)))
    }

    /// Like [`Store::lock`], but does not wait: `None` when another process holds it.
    ///
    /// # Errors
    /// [`StoreError::Statement`].
    pub async fn try_lock(&self, name: &str) -> Result<Option<SessionLock>, StoreError> {
        let Pools::Postgres(pool) = &self.pools else { return Ok(Some(SessionLock(None))) };
        let mut connection = pool.acquire().await?.detach();
        let taken: bool =
            sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended('rowmill:'||$1, 0))")
                .bind(name)
                .fetch_one(&mut connection)
                .await?;
        Ok(taken.then_some(SessionLock(Some(connection))))
    }

    /// Closes every connection, letting what is under way end.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Postgres(pool) => pool.close().await,
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }

    /// Tells the other processes on this database that something changed, in a word of ours that
    /// [`Store::listen`] hears. On SQLite nobody listens.
    ///
    /// # Errors
    /// [`StoreError::Statement`].
    pub async fn notify(&self, word: &str) -> Result<(), StoreError> {
        if let Pools::Postgres(pool) = &self.pools {
            sqlx::query("select pg_notify('rowmill',$1)").bind(word).execute(pool).await?;
        }
        Ok(())
    }

    /// Hears what processes on this database tell; `None` on SQLite, where nobody does. Takes one
    /// connection for as long as it is held.
    ///
    /// # Errors
    /// [`StoreError::Statement`].
    pub async fn listen(&self) -> Result<Option<Listener>, StoreError> {
        let Pools::Postgres(pool) = &self.pools else { return Ok(None) };
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen("rowmill").await?;
        Ok(Some(Listener(listener)))
    }

    /// The PostgreSQL pool, when that is the database: for tests that look at the tables.
    #[doc(hidden)]
    pub fn postgres_pool(&self) -> Option<&PgPool> {
        match &self.pools {
            Pools::Postgres(pool) => Some(pool),
            Pools::Sqlite { .. } => None,
        }
    }

    /// The SQLite writer, when that is the database: for tests that look at the tables.
    #[doc(hidden)]
    pub fn sqlite_pool(&self) -> Option<&SqlitePool> {
        match &self.pools {
            Pools::Postgres(_) => None,
            Pools::Sqlite { writer, .. } => Some(writer),
        }
    }
}

/// Hears the words of [`Store::notify`].
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    /// The next word; `None` when the connection was lost and words may have been missed. It is made
    /// again by the next call.
    ///
    /// # Errors
    /// [`StoreError::Statement`], also when the store was closed.
    pub async fn heard(&mut self) -> Result<Option<String>, StoreError> {
        Ok(self.0.try_recv().await?.map(|word| word.payload().to_owned()))
    }
}

/// A lock that ends with its connection, and so with this process at the latest.
#[derive(Debug)]
pub struct SessionLock(Option<sqlx::PgConnection>);

impl SessionLock {
    /// Gives the lock back.
    pub async fn release(self) {
        if let Some(connection) = self.0 {
            // Closing ends the session, and the lock with it; if even that fails, the server will
            // notice by itself.
            let _ = connection.close().await;
        }
    }
}
