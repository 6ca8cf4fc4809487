//! Opening a database: how its connections are set up, which differs between the two.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sea_orm::{SqlxPostgresConnector, SqlxSqliteConnector};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::{Clock, Control, Log, Pools, Store, StoreError, StoreOptions};

/// What SQLite keeps in memory of the file for the one connection that writes, in KiB, negated; what it
/// keeps for each that reads, which go over rows once and from one end to the other.
const WRITER_CACHE: &str = "-16000";
const READER_CACHE: &str = "-2000";
/// A connection that lay idle for longer is tested before it is used.
const TEST_IDLE: Duration = Duration::from_secs(1);

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
            .pragma("journal_size_limit", "67108864");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(options.wait)
            .acquire_slow_threshold(options.wait)
            .connect_with(connect.clone().pragma("cache_size", WRITER_CACHE))
            .await
            .map_err(open)?;
        let reader = connect.pragma("cache_size", READER_CACHE).read_only(true);
        let readers = SqlitePoolOptions::new()
            .max_connections(options.connections.min(4))
            .acquire_timeout(options.wait)
            .acquire_slow_threshold(options.wait)
            .connect_with(reader.create_if_missing(false))
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
