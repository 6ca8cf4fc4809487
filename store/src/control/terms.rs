//! Queues as their users make, read, change and delete them.
//!
//! All that is looked at and what is written are one transaction, among changes that come one at a
//! time (see [`super::routes`]).

use std::collections::HashMap;
use std::time::Duration;

use rowmill_entity::{queue, topic};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::ends::{Ends, ends};
use super::queues::{keeps_dead, queue_named};
use super::{ChangeError, Control, StoreError};
use crate::clock::{duration, millis};
use crate::log::QueueId;
use rowmill_domain::{Filters, QueueName, RetryPolicy, TopicName};

/// What may be said of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueTerms {
    /// The topic it takes from.
    pub topic: Option<TopicName>,
    /// Where its dead messages go.
    pub dead_queue: Option<QueueName>,
    /// Which messages it takes.
    pub filters: Filters,
    /// How long a lease lasts.
    pub deadline: Duration,
    /// Deliveries after which a failing message is dead; `None` tries it until it expires.
    pub max_deliveries: Option<u16>,
    /// When a failed message comes again.
    pub retry: RetryPolicy,
    /// How long a published message waits before its first delivery.
    pub delay: Duration,
    /// How long a message may wait; `None` for ever.
    pub retention: Option<Duration>,
    /// Whether the ends of its messages are recorded; those of uploads' rows always are.
    pub record_outcomes: bool,
}

impl Default for QueueTerms {
    /// 60 s ack deadline, tried and kept for ever, no delay, outcomes recorded.
    fn default() -> Self {
        Self {
            topic: None,
            dead_queue: None,
            filters: Filters::default(),
            deadline: Duration::from_secs(60),
            max_deliveries: None,
            retry: RetryPolicy::default(),
            delay: Duration::ZERO,
            retention: None,
            record_outcomes: true,
        }
    }
}

/// A queue as it is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueRecord {
    /// Its number in the log.
    pub id: QueueId,
    /// Its name.
    pub name: QueueName,
    /// Its terms.
    pub terms: QueueTerms,
    /// When it was made, in milliseconds since 1970 (UTC).
    pub created_at: i64,
    /// When its terms were last changed.
    pub updated_at: i64,
}

/// What takes the place of a number of deliveries where there is no end of them.
const UNLIMITED: i32 = i32::MAX;

impl Control {
    /// Makes a queue.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn create_queue(
        &self,
        name: &QueueName,
        terms: &QueueTerms,
    ) -> Result<QueueRecord, ChangeError> {
        let tx = self.begin_change().await?;
        if queue_named(&tx, name).await?.is_some() {
            return Err(ChangeError::QueueTaken(name.clone()));
        }
        let ends = ends(&tx, name, None, terms).await?;
        self.change_routes(&tx, ends.topic).await?;
        let mut model = columns(terms, &ends)?;
        let now = self.clock.now_ms();
        model.name = Set(name.to_string());
        (model.created_at, model.updated_at) = (Set(now), Set(now));
        let made = model.insert(&tx).await?;
        if let Some(dead) = ends.dead_queue {
            keeps_dead(&tx, dead).await?;
        }
        tx.commit().await?;
        Ok(record(made, terms.topic.clone(), terms.dead_queue.clone())?)
    }

    /// Gives a queue other terms. They hold as soon as this answers: filters, delay and retention
    /// for what is published from then on, the others for what is delivered from then on.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn replace_queue(
        &self,
        name: &QueueName,
        terms: &QueueTerms,
    ) -> Result<QueueRecord, ChangeError> {
        let tx = self.begin_change().await?;
        let present = queue_named(&tx, name).await?;
        let present = present.ok_or_else(|| ChangeError::NoQueue(name.clone()))?;
        let ends = ends(&tx, name, Some(&present), terms).await?;
        self.change_routes(&tx, present.topic_id.into_iter().chain(ends.topic)).await?;
        let mut model = columns(terms, &ends)?;
        model.id = Set(present.id);
        model.updated_at = Set(self.clock.now_ms());
        let changed = model.update(&tx).await?;
        if let Some(dead) = ends.dead_queue {
            keeps_dead(&tx, dead).await?;
        }
        tx.commit().await?;
        Ok(record(changed, terms.topic.clone(), terms.dead_queue.clone())?)
    }

    /// Deletes a queue: nothing comes to it any more, and its name is free. What it held is removed
    /// later. A queue whose dead queue it was has none from then on, and tries without end. `false`
    /// when there is none of that name.
    ///
    /// # Errors
    /// [`ChangeError::Clash`]; [`ChangeError::Store`]; nothing has changed then.
    pub async fn delete_queue(&self, name: &QueueName) -> Result<bool, ChangeError> {
        let tx = self.begin_change().await?;
        let Some(present) = queue_named(&tx, name).await? else { return Ok(false) };
        self.change_routes(&tx, present.topic_id).await?;
        let (now, none) = (self.clock.now_ms(), None::<i32>);
        queue::Entity::update_many()
            .col_expr(queue::Column::DeadQueueId, Expr::value(none))
            .col_expr(queue::Column::MaxDeliveries, Expr::value(UNLIMITED))
            .col_expr(queue::Column::UpdatedAt, Expr::value(now))
            .filter(queue::Column::DeadQueueId.eq(present.id))
            .exec(&tx)
            .await?;
        queue::Entity::update_many()
            .col_expr(queue::Column::Name, Expr::value(super::tombstone(name, present.id)))
            .col_expr(queue::Column::TopicId, Expr::value(none))
            .col_expr(queue::Column::DeadQueueId, Expr::value(none))
            .col_expr(queue::Column::DeletedAt, Expr::value(now))
            .filter(queue::Column::Id.eq(present.id))
            .exec(&tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A queue as it is recorded.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn queue_record(&self, name: &QueueName) -> Result<Option<QueueRecord>, StoreError> {
        let found = queue_named(&self.db, name).await?.into_iter().collect();
        Ok(self.records(found).await?.pop())
    }

    /// Queues in the order of their names, `limit` of them at most, after the first `offset`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn queue_records(
        &self,
        offset: u64,
        limit: u64,
    ) -> Result<Vec<QueueRecord>, StoreError> {
        let found = queue::Entity::find()
            .filter(queue::Column::DeletedAt.is_null())
            .order_by_asc(super::by_name(&self.db))
            .offset(offset)
            .limit(limit)
            .all(&self.db)
            .await?;
        self.records(found).await
    }

    /// With the names of what they refer to. One that was deleted since they were read is none.
    async fn records(&self, found: Vec<queue::Model>) -> Result<Vec<QueueRecord>, StoreError> {
        let ids = |of: fn(&queue::Model) -> Option<i32>| -> Vec<i32> {
            found.iter().filter_map(of).collect()
        };
        let topics = topic::Entity::find()
            .filter(topic::Column::Id.is_in(ids(|model| model.topic_id)))
            .filter(topic::Column::DeletedAt.is_null())
            .all(&self.db)
            .await?;
        let topics: HashMap<i32, String> =
            topics.into_iter().map(|model| (model.id, model.name)).collect();
        let queues = queue::Entity::find()
            .filter(queue::Column::Id.is_in(ids(|model| model.dead_queue_id)))
            .filter(queue::Column::DeletedAt.is_null())
            .all(&self.db)
            .await?;
        let queues: HashMap<i32, String> =
            queues.into_iter().map(|model| (model.id, model.name)).collect();
        let named = |model: queue::Model| {
            let topic = model.topic_id.and_then(|id| topics.get(&id));
            let dead = model.dead_queue_id.and_then(|id| queues.get(&id));
            let topic = topic.map(|name| super::kept_name(name)).transpose()?;
            let dead = dead.map(|name| super::kept_name(name)).transpose()?;
            record(model, topic, dead)
        };
        found.into_iter().map(named).collect()
    }
}

fn columns(terms: &QueueTerms, ends: &Ends) -> Result<queue::ActiveModel, StoreError> {
    Ok(queue::ActiveModel {
        topic_id: Set(ends.topic),
        dead_queue_id: Set(ends.dead_queue),
        filters: Set(super::filters_json(&terms.filters)?),
        deadline_ms: Set(millis(terms.deadline)),
        max_deliveries: Set(terms.max_deliveries.map_or(UNLIMITED, i32::from)),
        backoff_first_ms: Set(millis(terms.retry.first)),
        backoff_factor: Set(terms.retry.factor),
        backoff_most_ms: Set(millis(terms.retry.most)),
        delay_ms: Set(millis(terms.delay)),
        retention_ms: Set(terms.retention.map(millis)),
        record_outcomes: Set(terms.record_outcomes),
        ..Default::default()
    })
}

fn record(
    model: queue::Model,
    topic: Option<TopicName>,
    dead_queue: Option<QueueName>,
) -> Result<QueueRecord, StoreError> {
    Ok(QueueRecord {
        id: QueueId(model.id),
        name: super::kept_name(&model.name)?,
        terms: QueueTerms {
            topic,
            dead_queue,
            filters: super::kept_filters(model.filters.as_deref())?,
            deadline: duration(model.deadline_ms),
            max_deliveries: u16::try_from(model.max_deliveries).ok(),
            retry: RetryPolicy {
                first: duration(model.backoff_first_ms),
                factor: model.backoff_factor,
                most: duration(model.backoff_most_ms),
            },
            delay: duration(model.delay_ms),
            retention: model.retention_ms.map(duration),
            record_outcomes: model.record_outcomes,
        },
        created_at: model.created_at,
        updated_at: model.updated_at,
    })
}
