//! API keys: who may ask for what.

use sea_orm::entity::prelude::*;

/// An API key, of which only the hash is kept.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_key")]
pub struct Model {
    /// Number.
    #[sea_orm(primary_key)]
    pub id: i32,
    /// What it is for, in its owner's words.
    pub name: String,
    /// SHA-256 of the key, in hexadecimal digits.
    #[sea_orm(unique)]
    pub hash: String,
    /// What it may do: `read`, `publish`, `consume`, `admin`, separated by commas.
    pub scopes: String,
    /// When it was made.
    pub created_at: i64,
    /// When it was revoked, if it was.
    pub revoked_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
