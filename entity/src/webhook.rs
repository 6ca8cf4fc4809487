//! Whom the end of an upload is told, and how far that is.

use sea_orm::entity::prelude::*;

/// One upload's.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook")]
pub struct Model {
    /// The upload's number in the log.
    #[sea_orm(primary_key, auto_increment = false)]
    pub upload_id: i64,
    /// Where it is told.
    pub url: String,
    /// How often that was tried, for the upload's last end.
    pub attempts: i32,
    /// When it may be tried next; none once it was told, or given up.
    pub due_at: Option<i64>,
    /// When it was last tried.
    pub tried_at: Option<i64>,
    /// What the other side answered then.
    pub status: Option<i32>,
    /// What went wrong then; none when it was told.
    pub error: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
