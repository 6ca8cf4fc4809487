//! Queues: named subscriptions to a topic.

use sea_orm::entity::prelude::*;

/// A queue.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "queue")]
pub struct Model {
    /// Number, for the log.
    #[sea_orm(primary_key)]
    pub id: i32,
    /// Name.
    #[sea_orm(unique)]
    pub name: String,
    /// The topic it takes from; none for a dead queue, or when the topic is gone.
    pub topic_id: Option<i32>,
    /// Where its dead messages go. A dead queue belongs to one queue.
    #[sea_orm(unique)]
    pub dead_queue_id: Option<i32>,
    /// Filters on attributes, as JSON (attribute -> values); none take everything.
    pub filters: Option<String>,
    /// How long a lease lasts.
    pub deadline_ms: i64,
    /// Deliveries after which a failing message is dead.
    pub max_deliveries: i32,
    /// Back-off after the first failure.
    pub backoff_first_ms: i64,
    /// What each further failure multiplies it by.
    pub backoff_factor: f64,
    /// The longest back-off.
    pub backoff_most_ms: i64,
    /// How long a published message waits before its first delivery.
    pub delay_ms: i64,
    /// How long a message waits at most before it expires; none waits for ever.
    pub retention_ms: Option<i64>,
    /// Whether the ends of its messages are recorded; those of uploads' rows always are.
    pub record_outcomes: bool,
    /// Whether it is, or was, the dead queue of another: such a queue takes from no topic.
    pub keeps_dead: bool,
    /// When it was made.
    pub created_at: i64,
    /// When its terms were last changed.
    pub updated_at: i64,
    /// When it was deleted; its name is `NAME/NUMBER` from then on, and what it held is removed.
    pub deleted_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
