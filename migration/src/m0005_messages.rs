//! What the whole queue service needs of the log of messages.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run(manager, POSTGRES, SQLITE).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let undo = "
            alter table lease drop column expiries;
            alter table redelivery drop column expires_at;";
        super::run(manager, undo, undo).await
    }
}

/// `lease.expiries` says when its messages expire, by position: null for never, one number for all
/// of them. `redelivery.expires_at` is the same for a message that comes again.
const POSTGRES: &str = "
alter table lease add column expiries bigint[];
alter table redelivery add column expires_at bigint;
";

const SQLITE: &str = "
alter table lease add column expiries text;
alter table redelivery add column expires_at integer;
";
