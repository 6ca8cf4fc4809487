//! Topics: made, listed, deleted.
//!
//! A deleted topic keeps its row, because uploads refer to it, under the name `NAME/NUMBER` that
//! nobody can give; so its name is free again at once.

use rowmill_entity::{queue, topic};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::{ChangeError, Control, StoreError};
use crate::log::TopicId;
use rowmill_domain::TopicName;

/// A topic as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its number in the log.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// When it was made, in milliseconds since 1970 (UTC).
    pub created_at: i64,
}

impl Control {
    /// The number of a topic, which is made if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ensure_topic(&self, name: &TopicName) -> Result<TopicId, StoreError> {
        topic::Entity::insert(self.new_topic(name))
            .on_conflict(OnConflict::column(topic::Column::Name).do_nothing().to_owned())
            .exec_without_returning(&self.db)
            .await?;
        let kept = topic_named(&self.db, name).await?;
        let kept = kept.ok_or_else(|| StoreError::Damaged(format!("topic {name} is gone")))?;
        Ok(TopicId(kept.id))
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// [`ChangeError::TopicTaken`]; [`ChangeError::Store`].
    pub async fn create_topic(&self, name: &TopicName) -> Result<Topic, ChangeError> {
        let made = self.new_topic(name).insert(&self.db).await;
        made.map(Topic::from).map_err(|error| match ChangeError::from(error) {
            ChangeError::Clash => ChangeError::TopicTaken(name.clone()),
            error => error,
        })
    }

    pub(super) fn new_topic(&self, name: &TopicName) -> topic::ActiveModel {
        topic::ActiveModel {
            name: Set(name.to_string()),
            version: Set(0),
            created_at: Set(self.clock.now_ms()),
            ..Default::default()
        }
    }

    /// The number of a topic.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn topic(&self, name: &TopicName) -> Result<Option<TopicId>, StoreError> {
        Ok(topic_named(&self.db, name).await?.map(|model| TopicId(model.id)))
    }

    /// A topic as it is recorded.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn topic_record(&self, name: &TopicName) -> Result<Option<Topic>, StoreError> {
        Ok(topic_named(&self.db, name).await?.map(Topic::from))
    }

    /// Topics in the order of their names, `limit` of them at most, after the first `offset`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn topic_records(&self, offset: u64, limit: u64) -> Result<Vec<Topic>, StoreError> {
        let found = topic::Entity::find()
            .filter(topic::Column::DeletedAt.is_null())
            .order_by_asc(super::by_name(&self.db))
            .offset(offset)
            .limit(limit)
            .all(&self.db)
            .await?;
        Ok(found.into_iter().map(Topic::from).collect())
    }

    /// The name of a topic, also of one that was deleted; `None` when it is gone.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn topic_name(&self, id: TopicId) -> Result<Option<String>, StoreError> {
        let found = topic::Entity::find_by_id(id.0).one(&self.db).await?;
        Ok(found.map(|model| match model.name.split_once('/') {
            Some((name, _)) => name.to_owned(),
            None => model.name,
        }))
    }

    /// Deletes a topic: its name is free, its queues stay without a topic, and nothing is routed
    /// from it any more, whoever still publishes. `false` when there is none of that name.
    ///
    /// # Errors
    /// [`ChangeError::Clash`]; [`ChangeError::Store`]; nothing has changed then.
    pub async fn delete_topic(&self, name: &TopicName) -> Result<bool, ChangeError> {
        let tx = self.begin_change().await?;
        let Some(present) = topic_named(&tx, name).await? else { return Ok(false) };
        self.change_routes(&tx, [present.id]).await?;
        let (now, none) = (self.clock.now_ms(), None::<i32>);
        queue::Entity::update_many()
            .col_expr(queue::Column::TopicId, Expr::value(none))
            .col_expr(queue::Column::UpdatedAt, Expr::value(now))
            .filter(queue::Column::TopicId.eq(present.id))
            .exec(&tx)
            .await?;
        topic::Entity::update_many()
            .col_expr(topic::Column::Name, Expr::value(super::tombstone(name, present.id)))
            .col_expr(topic::Column::DeletedAt, Expr::value(now))
            .filter(topic::Column::Id.eq(present.id))
            .exec(&tx)
            .await?;
        super::rules::forget(&tx, present.id).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// A topic that was not deleted.
pub(super) async fn topic_named(
    db: &impl ConnectionTrait,
    name: &TopicName,
) -> Result<Option<topic::Model>, sea_orm::DbErr> {
    topic::Entity::find()
        .filter(topic::Column::Name.eq(name.as_str()))
        .filter(topic::Column::DeletedAt.is_null())
        .one(db)
        .await
}

impl From<topic::Model> for Topic {
    fn from(model: topic::Model) -> Self {
        Self { id: TopicId(model.id), name: model.name, created_at: model.created_at }
    }
}
