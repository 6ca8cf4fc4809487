//! Values that belong to one installation, such as the secret behind message ids.

use sea_orm::entity::prelude::*;

/// A named value.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "setting")]
pub struct Model {
    /// The name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The value.
    pub value: String,
}

impl ActiveModelBehavior for ActiveModel {}
