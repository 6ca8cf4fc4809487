//! What topics demand of rows and messages, as JSON that is kept for those who understand it.

use rowmill_entity::{topic, topic_rules};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, TransactionTrait,
};

use super::topics::topic_named;
use super::{ChangeError, Control, StoreError, Topic};
use crate::log::TopicId;
use rowmill_domain::TopicName;

impl Control {
    /// Makes a topic that has rules from its beginning.
    ///
    /// # Errors
    /// [`ChangeError::TopicTaken`]; [`ChangeError::Store`].
    pub async fn create_topic_with(
        &self,
        name: &TopicName,
        rules: Option<String>,
    ) -> Result<Topic, ChangeError> {
        let Some(rules) = rules else { return self.create_topic(name).await };
        let tx = self.db.begin().await?;
        let made = self.new_topic(name).insert(&tx).await;
        let made: topic::Model = made.map_err(|error| match ChangeError::from(error) {
            ChangeError::Clash => ChangeError::TopicTaken(name.clone()),
            error => error,
        })?;
        put(&tx, made.id, rules).await?;
        tx.commit().await?;
        Ok(made.into())
    }

    /// Gives a topic other rules, or none; answers the topic, if there is one of that name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_topic_rules(
        &self,
        name: &TopicName,
        rules: Option<String>,
    ) -> Result<Option<Topic>, StoreError> {
        let Some(found) = topic_named(&self.db, name).await? else { return Ok(None) };
        match rules {
            Some(rules) => put(&self.db, found.id, rules).await?,
            None => forget(&self.db, found.id).await?,
        }
        Ok(Some(found.into()))
    }

    /// The rules of a topic, if it has some.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn topic_rules(&self, topic: TopicId) -> Result<Option<String>, StoreError> {
        let found = topic_rules::Entity::find_by_id(topic.0).one(&self.db).await?;
        Ok(found.map(|found| found.rules))
    }
}

async fn put(db: &impl ConnectionTrait, topic: i32, rules: String) -> Result<(), DbErr> {
    let row = topic_rules::ActiveModel { topic_id: Set(topic), rules: Set(rules) };
    let instead = OnConflict::column(topic_rules::Column::TopicId)
        .update_column(topic_rules::Column::Rules)
        .to_owned();
    topic_rules::Entity::insert(row).on_conflict(instead).exec_without_returning(db).await?;
    Ok(())
}

/// Removes the rules of a topic.
pub(super) async fn forget(db: &impl ConnectionTrait, topic: i32) -> Result<(), DbErr> {
    topic_rules::Entity::delete_by_id(topic).exec(db).await?;
    Ok(())
}
