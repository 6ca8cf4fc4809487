//! What topics demand of rows and messages. A table of its own: topics are looked up with every
//! publish, their rules are large and rare.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run(manager, POSTGRES, SQLITE).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let undo = "drop table topic_rules;";
        super::run(manager, undo, undo).await
    }
}

const POSTGRES: &str = "
create table topic_rules(topic_id int primary key references topic(id), rules text not null);
";

const SQLITE: &str = "
create table topic_rules(topic_id integer primary key references topic(id), rules text not null);
";
