//! Topics: what messages are published to.

use sea_orm::entity::prelude::*;

/// A topic.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "topic")]
pub struct Model {
    /// Number, for the log.
    #[sea_orm(primary_key)]
    pub id: i32,
    /// Name.
    #[sea_orm(unique)]
    pub name: String,
    /// Grows whenever a queue of the topic is made, changed or deleted: publishers compare it.
    pub version: i32,
    /// When it was made.
    pub created_at: i64,
    /// When it was deleted; its name is `NAME/NUMBER` from then on.
    pub deleted_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
