//! The routes between topics and queues, and the locks under which they change.
//!
//! A publisher routes by a [`Routes`] it has read and commits only if its version still stands.
//! Whoever makes, changes or deletes a queue of a topic raises the version under the topic's
//! exclusive lock; publishers hold the shared one. So every batch is published by routes that were
//! true at one moment, and no batch is half old, half new.
//!
//! Changes come one at a time, whatever they are of: they are rare, and each looks at several rows
//! (who has which dead queue) that must not change before it is written.

use std::time::Duration;

use rowmill_entity::{queue, topic};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseBackend, DatabaseTransaction, EntityTrait, QueryFilter,
    QueryOrder, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};

use super::{Control, StoreError};
use crate::clock::duration;
use crate::log::{QueueId, TopicId};
use rowmill_domain::{Filters, QueueName};

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
    /// Whether the topic was deleted: an upload may go on, and no queue takes its rows.
    pub deleted: bool,
    /// Its queues.
    pub queues: Vec<Route>,
}

impl Control {
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
            deleted: model.deleted_at.is_some(),
            queues: queues.into_iter().map(route).collect::<Result<_, _>>()?,
        })
    }

    /// Begins a change of topics or queues: what it reads stands until it ends.
    pub(super) async fn begin_change(&self) -> Result<DatabaseTransaction, StoreError> {
        if self.db.get_database_backend() == DatabaseBackend::Postgres {
            let tx = self.db.begin().await?;
            tx.execute_unprepared("select pg_advisory_xact_lock(1920102773, 0)").await?;
            return Ok(tx);
        }
        // Begun as a reader it could not become the writer once another process has written.
        let at_once = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(self.db.begin_with_options(at_once).await?)
    }

    /// Waits until nobody publishes to these topics, keeps it so until the transaction ends, and
    /// raises their routes' versions. In the order of their numbers, as everybody who locks several.
    pub(super) async fn change_routes(
        &self,
        tx: &DatabaseTransaction,
        topics: impl IntoIterator<Item = i32>,
    ) -> Result<(), StoreError> {
        let mut topics: Vec<i32> = topics.into_iter().collect();
        topics.sort_unstable();
        topics.dedup();
        for topic in topics {
            if tx.get_database_backend() == DatabaseBackend::Postgres {
                // The class is the one that publishing shares: see `log::postgres::sql`.
                let lock = format!("select pg_advisory_xact_lock(1920102772, {topic})");
                tx.execute_unprepared(&lock).await?;
            }
            topic::Entity::update_many()
                .col_expr(topic::Column::Version, Expr::col(topic::Column::Version).add(1))
                .filter(topic::Column::Id.eq(topic))
                .exec(tx)
                .await?;
        }
        Ok(())
    }
}

fn route(model: queue::Model) -> Result<Route, StoreError> {
    Ok(Route {
        queue: QueueId(model.id),
        name: super::kept_name(&model.name)?,
        filters: super::kept_filters(model.filters.as_deref())?,
        delay: duration(model.delay_ms),
        retention: model.retention_ms.map(duration),
    })
}
