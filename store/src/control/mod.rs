//! The control plane: few rows, read by name, changed rarely.

mod change;
mod ends;
mod keys;
mod names;
mod queues;
mod routes;
mod rules;
mod terms;
mod topics;
mod upload;
mod uploads;
mod webhooks;

use std::str::FromStr;

use rowmill_entity::setting;
use sea_orm::sea_query::{Expr, OnConflict, SimpleExpr};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseBackend, DatabaseConnection, EntityTrait, QueryFilter,
};
use uuid::Uuid;

pub use change::ChangeError;
pub use keys::GoodKeys;
pub use queues::{NewQueue, Queue};
pub use routes::{Route, Routes};
pub use rowmill_entity::upload::State as UploadState;
pub use terms::{QueueRecord, QueueTerms};
pub use topics::Topic;
pub use upload::{NewUpload, Pause, Steering, Upload, sheet_names};
pub use webhooks::{Attempted, Due, Told};

use super::{Clock, StoreError};
use rowmill_domain::{Filters, MessageKey};

/// Settings, topics, queues and uploads. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct Control {
    db: DatabaseConnection,
    clock: Clock,
}

impl Control {
    pub(super) fn new(db: DatabaseConnection, clock: Clock) -> Self {
        Self { db, clock }
    }

    pub(super) fn connection(&self) -> &DatabaseConnection {
        &self.db
    }

    /// Now, in milliseconds: by the database's clock where machines share it.
    fn now(&self) -> SimpleExpr {
        match self.db.get_database_backend() {
            DatabaseBackend::Postgres => Expr::cust(format!(
                "(extract(epoch from clock_timestamp())*1000)::int8+{}",
                self.clock.offset_ms()
            )),
            _ => Expr::value(self.clock.now_ms()),
        }
    }

    /// The secret behind this installation's message ids, made the first time it is asked for.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn message_key(&self) -> Result<MessageKey, StoreError> {
        const NAME: &str = "message_key";
        let fresh = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let value = setting::ActiveModel { name: Set(NAME.into()), value: Set(fresh) };
        // Two processes may both make one: the first stays, and both read it.
        setting::Entity::insert(value)
            .on_conflict(OnConflict::column(setting::Column::Name).do_nothing().to_owned())
            .exec_without_returning(&self.db)
            .await?;
        let kept = setting::Entity::find()
            .filter(setting::Column::Name.eq(NAME))
            .one(&self.db)
            .await?
            .ok_or_else(|| StoreError::Damaged("the message key is gone".into()))?;
        Ok(MessageKey::new(kept.value.as_bytes()))
    }
}

/// The name of what was deleted: one that nobody can give.
fn tombstone(name: impl std::fmt::Display, number: i32) -> String {
    format!("{name}/{number}")
}

/// Names in the order of their bytes, whatever the language of the database.
fn by_name(db: &DatabaseConnection) -> SimpleExpr {
    match db.get_database_backend() {
        DatabaseBackend::Postgres => Expr::cust("name collate \"C\""),
        _ => Expr::cust("name"),
    }
}

fn kept_name<T: FromStr<Err: std::fmt::Display>>(name: &str) -> Result<T, StoreError> {
    name.parse().map_err(|error: T::Err| StoreError::Damaged(error.to_string()))
}

fn kept_filters(json: Option<&str>) -> Result<Filters, StoreError> {
    let damaged = |error: serde_json::Error| StoreError::Damaged(error.to_string());
    Ok(Filters(json.map(serde_json::from_str).transpose().map_err(damaged)?.unwrap_or_default()))
}

fn filters_json(filters: &Filters) -> Result<Option<String>, StoreError> {
    let json = (!filters.is_empty()).then(|| serde_json::to_string(&filters.0));
    json.transpose().map_err(|error| StoreError::Damaged(error.to_string()))
}
