//! Uploads: one received file each, and its ingestion.

use sea_orm::entity::prelude::*;

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// Being read and published; its segments are held.
    #[sea_orm(string_value = "ingesting")]
    Ingesting,
    /// Published whole; its messages are being worked off.
    #[sea_orm(string_value = "published")]
    Published,
    /// Every message has its outcome.
    #[sea_orm(string_value = "ended")]
    Ended,
    /// A fault of the file ended its ingestion; nothing of it was published.
    #[sea_orm(string_value = "failed")]
    Failed,
    /// It was withdrawn.
    #[sea_orm(string_value = "cancelled")]
    Cancelled,
}

/// An upload.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "upload")]
pub struct Model {
    /// Number, for the log.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The id that users see: a UUID.
    #[sea_orm(unique)]
    pub public_id: String,
    /// What finds an earlier run of the same file with the same options.
    #[sea_orm(unique)]
    pub run_key: Option<String>,
    /// The file's name as given.
    pub filename: String,
    /// SHA-256 of its bytes, in hex.
    pub content_hash: String,
    /// How it is read: the reading options, as JSON.
    pub options: String,
    /// The topic its rows are published to.
    pub topic_id: i32,
    /// How far it is.
    pub state: State,
    /// Grows whenever somebody takes the ingestion over. A batch commits only under the epoch
    /// that its publisher was given.
    pub epoch: i32,
    /// The sheets read, with their headers, as JSON.
    pub sheets: String,
    /// What the reader counted, as JSON, once it has come to the end.
    pub totals: Option<String>,
    /// The fault, as JSON, of a failed one.
    pub problem: Option<String>,
    /// The file's size in bytes.
    pub bytes: i64,
    /// The name of its file in the spool; none when it was read where it lies.
    pub spool: Option<String>,
    /// Whether its messages are let go while it is read.
    pub stream: bool,
    /// Until when its ingestion is its owner's; none when nobody else would take it over.
    pub lease_until: Option<i64>,
    /// The public id of the upload that it corrects.
    pub corrects: Option<String>,
    /// When it was received.
    pub created_at: i64,
    /// When its last row was published and all were let go.
    pub published_at: Option<i64>,
    /// When the last outcome was recorded.
    pub ended_at: Option<i64>,
    /// Since when nothing of it is handed out.
    pub paused_at: Option<i64>,
    /// Why, if nobody asked for it.
    pub paused_why: Option<String>,
    /// Past how many failures it pauses by itself.
    pub stop_after: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
