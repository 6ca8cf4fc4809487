//! What topics demand of what is published to them.

use sea_orm::entity::prelude::*;

/// The rules of a topic that has some.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "topic_rules")]
pub struct Model {
    /// The topic's number.
    #[sea_orm(primary_key, auto_increment = false)]
    pub topic_id: i32,
    /// They, as JSON.
    pub rules: String,
}

impl ActiveModelBehavior for ActiveModel {}
