//! API keys, of which only hashes are kept. A revoked key keeps its row: that there ever was a key is
//! what makes a server ask for one.

use rowmill_entity::api_key;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
};

use super::{Control, StoreError};
use rowmill_domain::{ApiKey, KeyHash, Scopes};

/// The keys that count at one moment.
#[derive(Debug, Clone, Default)]
pub struct GoodKeys {
    /// Those that are not revoked.
    pub keys: Vec<ApiKey>,
    /// Whether any was ever made.
    pub ever: bool,
}

impl Control {
    /// Keeps a new key, by its hash.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn add_key(
        &self,
        name: &str,
        hash: &KeyHash,
        scopes: Scopes,
    ) -> Result<ApiKey, StoreError> {
        let model = api_key::ActiveModel {
            id: NotSet,
            name: Set(name.to_owned()),
            hash: Set(hash.as_str().to_owned()),
            scopes: Set(scopes.to_string()),
            created_at: Set(self.clock.now_ms()),
            revoked_at: Set(None),
        };
        key(api_key::Entity::insert(model).exec_with_returning(&self.db).await?)
    }

    /// Every key, revoked or not, in the order made.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let all = api_key::Entity::find().order_by_asc(api_key::Column::Id).all(&self.db).await?;
        all.into_iter().map(key).collect()
    }

    /// The keys that are not revoked, and whether there ever was one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn good_keys(&self) -> Result<GoodKeys, StoreError> {
        let good = api_key::Entity::find()
            .filter(api_key::Column::RevokedAt.is_null())
            .all(&self.db)
            .await?;
        let ever = !good.is_empty() || self.any_key().await?;
        Ok(GoodKeys { keys: good.into_iter().map(key).collect::<Result<_, _>>()?, ever })
    }

    /// Whether any key was ever made.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn any_key(&self) -> Result<bool, StoreError> {
        Ok(api_key::Entity::find().one(&self.db).await?.is_some())
    }

    /// How many keys are not revoked.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn count_good_keys(&self) -> Result<u64, StoreError> {
        let good = api_key::Entity::find().filter(api_key::Column::RevokedAt.is_null());
        Ok(good.count(&self.db).await?)
    }

    /// Revokes a key; one that was revoked before stays as it was. `None` when there is none of that
    /// number.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoke_key(&self, number: i32) -> Result<Option<ApiKey>, StoreError> {
        api_key::Entity::update_many()
            .col_expr(api_key::Column::RevokedAt, Expr::value(self.clock.now_ms()))
            .filter(api_key::Column::Id.eq(number))
            .filter(api_key::Column::RevokedAt.is_null())
            .exec(&self.db)
            .await?;
        api_key::Entity::find_by_id(number).one(&self.db).await?.map(key).transpose()
    }
}

fn key(model: api_key::Model) -> Result<ApiKey, StoreError> {
    let damaged = |error| StoreError::Damaged(format!("the key {}: {error}", model.id));
    Ok(ApiKey {
        number: model.id,
        scopes: model.scopes.parse().map_err(damaged)?,
        name: model.name,
        hash: KeyHash::kept(model.hash),
        created_ms: model.created_at,
        revoked_ms: model.revoked_at,
    })
}
