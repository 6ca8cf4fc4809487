//! rowmill's database changes, in order. Each change says its statements in both dialects, because
//! the log of messages uses what each database does best (arrays and covering indexes on
//! PostgreSQL, tables without row ids on SQLite).

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm;

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
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let changes: Vec<Box<dyn MigrationTrait>> = vec![
            Box::new(m0001_control::Migration),
            Box::new(m0002_log::Migration),
            Box::new(m0003_service::Migration),
            Box::new(m0004_queues::Migration),
            Box::new(m0005_messages::Migration),
            Box::new(m0006_carried::Migration),
            Box::new(m0007_rules::Migration),
            Box::new(m0008_steering::Migration),
            Box::new(m0009_keys::Migration),
        ];
        changes.into_iter().map(|change| Box::new(Whole(change)) as _).collect()
    }
}

/// A change that is made whole or not at all, also on SQLite, which could always do it but is not asked
/// to unless told: a process that was killed in the middle would leave half of a change, and no process
/// after it could make the other half.
struct Whole(Box<dyn MigrationTrait>);

impl MigrationName for Whole {
    fn name(&self) -> &str {
        self.0.name()
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Whole {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        self.0.up(manager).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// Runs the statements of the dialect that `manager` speaks.
async fn run(manager: &SchemaManager<'_>, postgres: &str, sqlite: &str) -> Result<(), DbErr> {
    let statements = match manager.get_database_backend() {
        sea_orm::DatabaseBackend::Postgres => postgres,
        _ => sqlite,
    };
    manager.get_connection().execute_unprepared(statements).await.map(drop)
}
