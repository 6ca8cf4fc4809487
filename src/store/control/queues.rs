//! Topics and queues, and the routes between them.
//!
//! A publisher routes by a [`Routes`] it has read and commits only if its version still stands.
//! Whoever makes, changes or deletes a queue of a topic raises the version under the topic's
//! exclusive lock; publishers hold the shared one. So every batch is published by routes that were
//! true at one moment, and no batch is half old, half new.

use std::collections::HashMap;
use std::time::Duration;

use rowmill_entity::{queue, topic};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseBackend, DatabaseTransaction,
    EntityTrait, QueryFilter, QueryOrder, TransactionTrait,
};

use super::{Control, StoreError};
use crate::domain::{Filters, QueueName, RetryPolicy, TopicName};
use crate::store::clock::{duration, millis};
use crate::store::log::{QueueId, TopicId};

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

/// One queue's part in a topic's routes.
#[derive(Debug, Clone)]
pub struct Route {
    /// The queue.
    pub queue: QueueId,
    /// Its name, for waking those who wait there.
    pub name: QueueName,
    /// Which messages it takes.
    pub filters: Filters,
    /// How long a message waits before its first delivery.
    pub delay: Duration,
    /// How long a message may wait.
    pub retention: Option<Duration>,
}

/// The queues of a topic at one moment.
#[derive(Debug, Clone)]
pub struct Routes {
    /// The topic.
    pub topic: TopicId,
    /// Grows with every change.
    pub version: i32,
    /// Its queues.
    pub queues: Vec<Route>,
}

impl Control {
    /// The number of a topic, which is made if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ensure_topic(&self, name: &TopicName) -> Result<TopicId, StoreError> {
        let new = topic::ActiveModel {
            name: Set(name.to_string()),
            version: Set(0),
            created_at: Set(self.clock.now_ms()),
            ..Default::default()
        };
        topic::Entity::insert(new)
            .on_conflict(OnConflict::column(topic::Column::Name).do_nothing().to_owned())
            .exec_without_returning(&self.db)
            .await?;
        let kept = topic::Entity::find()
            .filter(topic::Column::Name.eq(name.as_str()))
            .one(&self.db)
            .await?
            .ok_or_else(|| StoreError::Damaged(format!("topic {name} is gone")))?;
        Ok(TopicId(kept.id))
    }

    /// The number of a topic.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn topic(&self, name: &TopicName) -> Result<Option<TopicId>, StoreError> {
        let found = topic::Entity::find()
            .filter(topic::Column::Name.eq(name.as_str()))
            .one(&self.db)
            .await?;
        Ok(found.map(|model| TopicId(model.id)))
    }

    /// The name of a topic; `None` when it is gone.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn topic_name(&self, id: TopicId) -> Result<Option<String>, StoreError> {
        Ok(topic::Entity::find_by_id(id.0).one(&self.db).await?.map(|model| model.name))
    }

    /// The names of all queues, by their numbers.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn queue_names(&self) -> Result<HashMap<QueueId, String>, StoreError> {
        let all = queue::Entity::find().all(&self.db).await?;
        Ok(all.into_iter().map(|model| (QueueId(model.id), model.name)).collect())
    }

    /// A queue by its name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn queue(&self, name: &QueueName) -> Result<Option<Queue>, StoreError> {
        let found = queue::Entity::find()
            .filter(queue::Column::Name.eq(name.as_str()))
            .one(&self.db)
            .await?;
        Ok(found.map(|model| Queue {
            id: QueueId(model.id),
            dead_queue: model.dead_queue_id.map(QueueId),
        }))
    }

    /// The number of a queue, which is made if it is not there, or brought to these terms if it is.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ensure_queue(&self, new: &NewQueue) -> Result<QueueId, StoreError> {
        let tx = self.db.begin().await?;
        if let Some(topic) = new.topic {
            self.change_routes(&tx, topic).await?;
        }
        let filters = (!new.filters.is_empty())
            .then(|| serde_json::to_string(&new.filters.0))
            .transpose()
            .map_err(|error| StoreError::Damaged(error.to_string()))?;
        let model = queue::ActiveModel {
            name: Set(new.name.to_string()),
            topic_id: Set(new.topic.map(|topic| topic.0)),
            dead_queue_id: Set(new.dead_queue.map(|queue| queue.0)),
            filters: Set(filters),
            deadline_ms: Set(millis(new.deadline)),
            max_deliveries: Set(i32::from(new.max_deliveries)),
            backoff_first_ms: Set(millis(new.retry.first)),
            backoff_factor: Set(new.retry.factor),
            backoff_most_ms: Set(millis(new.retry.most)),
            delay_ms: Set(millis(new.delay)),
            retention_ms: Set(new.retention.map(millis)),
            created_at: Set(self.clock.now_ms()),
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
            ])
            .to_owned();
        queue::Entity::insert(model).on_conflict(on_conflict).exec_without_returning(&tx).await?;
        queue::Entity::update_many()
            .col_expr(queue::Column::KeepsDead, Expr::value(true))
            .filter(queue::Column::Id.is_in(new.dead_queue.map(|queue| queue.0)))
            .exec(&tx)
            .await?;
        let kept = queue::Entity::find()
            .filter(queue::Column::Name.eq(new.name.as_str()))
            .one(&tx)
            .await?
            .ok_or_else(|| StoreError::Damaged(format!("queue {} is gone", new.name)))?;
        tx.commit().await?;
        Ok(QueueId(kept.id))
    }

    /// Waits until nobody publishes to the topic, keeps it so until the transaction ends, and
    /// raises the routes' version.
    async fn change_routes(
        &self,
        tx: &DatabaseTransaction,
        topic: TopicId,
    ) -> Result<(), StoreError> {
        if tx.get_database_backend() == DatabaseBackend::Postgres {
            // The class is the one that publishing shares: see `log::postgres::sql`.
            let lock = format!("select pg_advisory_xact_lock(1920102772, {})", topic.0);
            tx.execute_unprepared(&lock).await?;
        }
        topic::Entity::update_many()
            .col_expr(topic::Column::Version, Expr::col(topic::Column::Version).add(1))
            .filter(topic::Column::Id.eq(topic.0))
            .exec(tx)
            .await?;
        Ok(())
    }

    /// The queues of a topic, with the version under which they may be published to.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`] when there is no such topic.
    pub async fn routes(&self, topic: TopicId) -> Result<Routes, StoreError> {
        // The version is read first: a change between the two reads is then noticed at publishing.
        let model = topic::Entity::find_by_id(topic.0)
            .one(&self.db)
            .await?
            .ok_or_else(|| StoreError::Damaged("the topic is gone".into()))?;
        let queues = queue::Entity::find()
            .filter(queue::Column::TopicId.eq(topic.0))
            .order_by_asc(queue::Column::Id)
            .all(&self.db)
            .await?;
        Ok(Routes {
            topic,
            version: model.version,
            queues: queues.into_iter().map(route).collect::<Result<_, _>>()?,
        })
    }
}

fn route(model: queue::Model) -> Result<Route, StoreError> {
    let damaged = |what: &dyn std::fmt::Display| StoreError::Damaged(what.to_string());
    Ok(Route {
        queue: QueueId(model.id),
        name: model.name.parse().map_err(|error| damaged(&error))?,
        filters: match model.filters {
            Some(json) => Filters(serde_json::from_str(&json).map_err(|error| damaged(&error))?),
            None => Filters::default(),
        },
        delay: duration(model.delay_ms),
        retention: model.retention_ms.map(duration),
    })
}
