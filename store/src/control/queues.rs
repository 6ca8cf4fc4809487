//! Queues as those who work with them need them: found by name, and provided on given terms. What
//! their users ask for is in [`super::terms`].

use std::collections::HashMap;
use std::time::Duration;

use rowmill_entity::queue;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
};

use super::{Control, StoreError};
use crate::clock::millis;
use crate::log::{QueueId, TopicId};
use rowmill_domain::{Filters, QueueName, RetryPolicy};

/// A queue to be made.
#[derive(Debug, Clone)]
pub struct NewQueue {
    /// Its name.
    pub name: QueueName,
    /// The topic it takes from; none for a dead queue.
    pub topic: Option<TopicId>,
    /// Where its dead messages go.
    pub dead_queue: Option<QueueId>,
    /// Which messages it takes.
    pub filters: Filters,
    /// How long a lease lasts.
    pub deadline: Duration,
    /// Deliveries after which a failing message is dead.
    pub max_deliveries: u16,
    /// When a failed message comes again.
    pub retry: RetryPolicy,
    /// How long a published message waits before its first delivery.
    pub delay: Duration,
    /// How long a message may wait; `None` for ever.
    pub retention: Option<Duration>,
    /// Whether the ends of its messages are recorded; those of uploads' rows always are.
    pub record_outcomes: bool,
}

impl NewQueue {
    /// A queue with the defaults: 60 s ack deadline, 5 deliveries, no delay, kept for ever.
    pub fn new(name: QueueName) -> Self {
        Self {
            name,
            topic: None,
            dead_queue: None,
            filters: Filters::default(),
            deadline: Duration::from_secs(60),
            max_deliveries: 5,
            retry: RetryPolicy::default(),
            delay: Duration::ZERO,
            retention: None,
            record_outcomes: true,
        }
    }
}

/// A queue, as far as those who use it need to know.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Its number in the log.
    pub id: QueueId,
    /// Where its dead messages go.
    pub dead_queue: Option<QueueId>,
}

impl Control {
    /// The names of all queues, by their numbers.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn queue_names(&self) -> Result<HashMap<QueueId, String>, StoreError> {
        let all =
            queue::Entity::find().filter(queue::Column::DeletedAt.is_null()).all(&self.db).await?;
        Ok(all.into_iter().map(|model| (QueueId(model.id), model.name)).collect())
    }

    /// A queue by its name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn queue(&self, name: &QueueName) -> Result<Option<Queue>, StoreError> {
        Ok(queue_named(&self.db, name).await?.map(|model| Queue {
            id: QueueId(model.id),
            dead_queue: model.dead_queue_id.map(QueueId),
        }))
    }

    /// The number of a queue, which is made if it is not there, or brought to these terms if it is.
    /// For those who own the queues they name: nothing is checked.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ensure_queue(&self, new: &NewQueue) -> Result<QueueId, StoreError> {
        let tx = self.begin_change().await?;
        let present = queue_named(&tx, &new.name).await?.and_then(|model| model.topic_id);
        let topics = present.into_iter().chain(new.topic.map(|topic| topic.0));
        self.change_routes(&tx, topics).await?;
        let now = self.clock.now_ms();
        let model = queue::ActiveModel {
            name: Set(new.name.to_string()),
            topic_id: Set(new.topic.map(|topic| topic.0)),
            dead_queue_id: Set(new.dead_queue.map(|queue| queue.0)),
            filters: Set(super::filters_json(&new.filters)?),
            deadline_ms: Set(millis(new.deadline)),
            max_deliveries: Set(i32::from(new.max_deliveries)),
            backoff_first_ms: Set(millis(new.retry.first)),
            backoff_factor: Set(new.retry.factor),
            backoff_most_ms: Set(millis(new.retry.most)),
            delay_ms: Set(millis(new.delay)),
            retention_ms: Set(new.retention.map(millis)),
            record_outcomes: Set(new.record_outcomes),
            created_at: Set(now),
            updated_at: Set(now),
            ..Default::default()
        };
        let on_conflict = OnConflict::column(queue::Column::Name)
            .update_columns([
                queue::Column::TopicId,
                queue::Column::DeadQueueId,
                queue::Column::Filters,
                queue::Column::DeadlineMs,
                queue::Column::MaxDeliveries,
                queue::Column::BackoffFirstMs,
                queue::Column::BackoffFactor,
                queue::Column::BackoffMostMs,
                queue::Column::DelayMs,
                queue::Column::RetentionMs,
                queue::Column::RecordOutcomes,
                queue::Column::UpdatedAt,
            ])
            .to_owned();
        queue::Entity::insert(model).on_conflict(on_conflict).exec_without_returning(&tx).await?;
        if let Some(dead) = new.dead_queue {
            keeps_dead(&tx, dead.0).await?;
        }
        let kept = queue_named(&tx, &new.name)
            .await?
            .ok_or_else(|| StoreError::Damaged(format!("queue {} is gone", new.name)))?;
        tx.commit().await?;
        Ok(QueueId(kept.id))
    }
}

/// A queue that was not deleted.
pub(super) async fn queue_named(
    db: &impl ConnectionTrait,
    name: &QueueName,
) -> Result<Option<queue::Model>, sea_orm::DbErr> {
    queue::Entity::find()
        .filter(queue::Column::Name.eq(name.as_str()))
        .filter(queue::Column::DeletedAt.is_null())
        .one(db)
        .await
}

/// Records that a queue is the dead queue of another; that stays so.
pub(super) async fn keeps_dead(tx: &DatabaseTransaction, queue: i32) -> Result<(), sea_orm::DbErr> {
    queue::Entity::update_many()
        .col_expr(queue::Column::KeepsDead, Expr::value(true))
        .filter(queue::Column::Id.eq(queue))
        .exec(tx)
        .await
        .map(drop)
}
