//! Bringing the tables up to this version.
//!
//! A change and the memory of it are one transaction, on both databases: a process that was killed in
//! the middle would leave half of a change otherwise, which no process after it could make whole. The
//! table that remembers has the name and the columns that SeaORM's migrator gave it when it still did
//! this. It does not any more: all it brought was compiled for nine texts.

use std::collections::HashSet;

use rowmill_migration::{CHANGES, Change};
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, Statement, TransactionTrait,
};

use super::{Store, StoreError};

const REMEMBER: &str = "
create table if not exists seaql_migrations(
  version varchar not null primary key,
  applied_at bigint not null)";

impl Store {
    /// Brings the tables up to this version, and answers how many changes that took. Several
    /// processes may call it at once: on PostgreSQL an advisory lock lets one at a time through.
    ///
    /// # Errors
    /// [`StoreError::Later`], [`StoreError::Database`]; changes made before the one that failed stay.
    pub async fn migrate(&self) -> Result<usize, StoreError> {
        let connection = self.control.connection();
        let lock = self.lock("migrate").await?;
        connection.execute_unprepared(REMEMBER).await?;
        let pending = missing(connection).await?;
        for change in &pending {
            self.make(connection, change).await?;
        }
        lock.release().await;
        Ok(pending.len())
    }

    /// How many changes the tables lack of this version. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Later`], [`StoreError::Database`].
    pub async fn pending(&self) -> Result<usize, StoreError> {
        let connection = self.control.connection();
        let there = match connection.get_database_backend() {
            DatabaseBackend::Postgres => {
                "select 1 where to_regclass('seaql_migrations') is not null"
            }
            _ => "select 1 from sqlite_schema where name='seaql_migrations'",
        };
        let backend = connection.get_database_backend();
        let there = connection.query_one_raw(Statement::from_string(backend, there)).await?;
        Ok(if there.is_some() { missing(connection).await?.len() } else { CHANGES.len() })
    }

    async fn make(&self, connection: &DatabaseConnection, change: &Change) -> Result<(), DbErr> {
        let backend = connection.get_database_backend();
        let statements = match backend {
            DatabaseBackend::Postgres => change.postgres,
            _ => change.sqlite,
        };
        let tx = connection.begin().await?;
        tx.execute_unprepared(statements).await?;
        tx.execute_raw(Statement::from_sql_and_values(
            backend,
            "insert into seaql_migrations(version, applied_at) values($1, $2)",
            [change.name.into(), (self.clock.now_ms() / 1_000).into()],
        ))
        .await?;
        tx.commit().await
    }
}

/// The changes that were not made yet, oldest first.
async fn missing(connection: &DatabaseConnection) -> Result<Vec<&'static Change>, StoreError> {
    let made = "select version from seaql_migrations";
    let made = Statement::from_string(connection.get_database_backend(), made);
    let made: HashSet<String> = connection
        .query_all_raw(made)
        .await?
        .iter()
        .map(|row| row.try_get_by_index(0))
        .collect::<Result<_, _>>()?;
    let known = |name: &&String| CHANGES.iter().any(|change| change.name == name.as_str());
    if let Some(later) = made.iter().find(|name| !known(name)) {
        return Err(StoreError::Later(later.clone()));
    }
    Ok(CHANGES.iter().filter(|change| !made.contains(change.name)).collect())
}
