//! Everything that is kept, and every SQL statement.
//!
//! [`Control`] is the control plane (settings, topics, queues, uploads) on SeaORM entities; [`Log`]
//! is the log of messages, on sqlx over the same connections, because it needs COPY and its
//! bookkeeping in one transaction. Nothing above this module knows SQL, and only this module knows
//! the entities.

mod clock;
pub mod control;
pub mod log;
pub mod watch;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use rowmill_migration::{Migrator, MigratorTrait};
use sea_orm::{DbErr, RuntimeErr, SqlxPostgresConnector, SqlxSqliteConnector};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use crate::domain::units;

pub use clock::Clock;
pub use control::Control;
pub use log::Log;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The address names no database that we know.
    #[error("`{0}` names no database: begin it with postgres:// or sqlite:")]
    BadUrl(String),
    /// The database cannot be reached or opened.
    #[error("cannot open the database {what}: {source}")]
    Open {
        /// Which, without its password.
        what: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The database keeps texts in an encoding that cannot hold every text.
    #[error("the database {what} is in {encoding}: rowmill needs one created with encoding UTF8")]
    Encoding {
        /// Which, without its password.
        what: String,
        /// Its encoding.
        encoding: String,
    },
    /// A statement of the control plane failed.
    #[error("the database failed: {0}")]
    Database(#[from] DbErr),
    /// A statement failed.
    #[error("the database failed: {0}")]
    Statement(#[from] sqlx::Error),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] log::LogError),
    /// Another process is at work on the same upload.
    #[error("another process is at work on this upload")]
    Busy,
    /// What is kept cannot be understood.
    #[error("the database is damaged: {0}")]
    Damaged(String),
}

impl StoreError {
    /// Whether the database does not answer, so that the same may work later.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Statement(source) => is_outage(source),
            Self::Log(error) => error.is_outage(),
            Self::Database(DbErr::Conn(error) | DbErr::Exec(error) | DbErr::Query(error)) => {
                matches!(error, RuntimeErr::SqlxError(error) if is_outage(error))
            }
            Self::Database(DbErr::ConnectionAcquire(_)) => true,
            _ => false,
        }
    }
}

/// Whether an error says that the server is away, starting, stopping or full for the moment.
fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        // Classes of PostgreSQL: 08 connection, 53 resources, 57P stopping or starting, 40 to be
        // tried again, 25006 a server that only reads for now. Codes of SQLite: 5 busy, 6 locked.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57P", "40"].iter().any(|class| code.starts_with(class))
                || matches!(&*code, "25006" | "5" | "6" | "261" | "517")
        }),
        _ => false,
    }
}

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

/// A connection that lay idle for longer is tested before it is used.
const TEST_IDLE: Duration = Duration::from_secs(1);

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
    /// Opens the database at `url` (`postgres://…`, `sqlite:PATH`); a SQLite file is made if it is
    /// not there. Does not change its tables: see [`Store::migrate`].
    ///
    /// # Errors
    /// [`StoreError::BadUrl`], [`StoreError::Open`].
    pub async fn open(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Self::open_postgres(url, options).await
        } else if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            Self::open_sqlite(Path::new(path), options).await
        } else {
            Err(StoreError::BadUrl(without_password(url)))
        }
    }

    /// The plan settings matter: statements are prepared once, perhaps while their tables are empty,
    /// and a plan that scans an empty table would go on scanning a full one. The log's statements
    /// all go by an index, and these settings hold the planner to that.
    async fn open_postgres(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open { what: without_password(url), source };
        let connect = PgConnectOptions::from_str(url).map_err(open)?;
        let connect = connect.application_name("rowmill").options([
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("enable_material", "off"),
            ("enable_bitmapscan", "off"),
            ("jit", "off"),
        ]);
        // The pool would try a server that refuses it until its wait is over; the first connection
        // is made without it, so that a wrong address is told at once.
        let mut first = tokio::time::timeout(options.wait, connect.connect())
            .await
            .map_err(|_| open(sqlx::Error::PoolTimedOut))?
            .map_err(open)?;
        // A receive brings texts end to end and tells them apart by their lengths in bytes.
        let encoding: String =
            sqlx::query_scalar("show server_encoding").fetch_one(&mut first).await.map_err(open)?;
        first.close().await.map_err(open)?;
        if !matches!(encoding.as_str(), "UTF8" | "SQL_ASCII") {
            return Err(StoreError::Encoding { what: without_password(url), encoding });
        }
        let pool = PgPoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(options.wait)
            // A wait is told when it was too long, and is no news before.
            .acquire_slow_threshold(options.wait)
            // A connection that was in use a moment ago needs no round trip to prove that it lives.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TEST_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(connect);
        let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool.clone());
        let clock = Clock::default();
        Ok(Self {
            control: Control::new(connection, clock.clone()),
            log: Log::postgres(pool.clone(), clock.clone()),
            clock,
            pools: Pools::Postgres(pool),
        })
    }

    /// One writer, some readers; the log is written ahead and flushed at every commit, so that what
    /// was answered survives the machine's end, not only the process's.
    async fn open_sqlite(path: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open { what: path.display().to_string(), source };
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(options.wait)
            .foreign_keys(true)
            .pragma("cache_size", "-16000")
            .pragma("journal_size_limit", "67108864");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(options.wait)
            .acquire_slow_threshold(options.wait)
            .connect_with(connect.clone())
            .await
            .map_err(open)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(options.connections.min(4))
            .acquire_timeout(options.wait)
            .acquire_slow_threshold(options.wait)
            .connect_with(connect.read_only(true).create_if_missing(false))
            .await
            .map_err(open)?;
        let connection = SqlxSqliteConnector::from_sqlx_sqlite_pool(writer.clone());
        let clock = Clock::default();
        Ok(Self {
            control: Control::new(connection, clock.clone()),
            log: Log::sqlite(writer.clone(), readers.clone(), clock.clone()),
            clock,
            pools: Pools::Sqlite { writer, readers },
        })
    }

    /// Brings the tables up to this version, and answers how many changes that took. Several
    /// processes may call it at once: on PostgreSQL an advisory lock lets one at a time through.
    ///
    /// # Errors
    /// [`StoreError::Database`]; changes made before the one that failed stay.
    pub async fn migrate(&self) -> Result<usize, StoreError> {
        let connection = self.control.connection();
        let lock = self.lock("migrate").await?;
        let pending = Migrator::get_pending_migrations(connection).await?.len();
        Migrator::up(connection, None).await?;
        lock.release().await;
        Ok(pending)
    }

    /// How many changes the tables lack of this version. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn pending(&self) -> Result<usize, StoreError> {
        let pending = Migrator::get_pending_migrations_read_only(self.control.connection()).await?;
        Ok(pending.len())
    }

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

/// An address as it may be shown: without the password in it.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let shown = without_password("postgres://mill:s3cr@t@db.example/rows");
        assert_eq!(shown, "postgres://mill@db.example/rows");
        assert_eq!(without_password("sqlite:rows.db"), "sqlite:rows.db");
    }
}
