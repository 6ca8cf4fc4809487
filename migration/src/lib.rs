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
mod m0007_keys;

/// Every change, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_control::Migration),
            Box::new(m0002_log::Migration),
            Box::new(m0003_service::Migration),
            Box::new(m0004_queues::Migration),
            Box::new(m0005_messages::Migration),
            Box::new(m0006_carried::Migration),
            Box::new(m0007_keys::Migration),
        ]
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
