//! Whose end is to be told, to whom, and how far that is.
//!
//! A row is written with its upload. It comes due with the upload's end, whoever records that, so no
//! end can be recorded and its webhook lost. Of several servers that find one due the first to move its
//! time on has it; it moves it on to when another may try, should the first die half-way. So a webhook
//! is told once or more, until the other side has taken it or it is given up.

use std::time::Duration;

use rowmill_entity::{upload, webhook};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait,
};

use super::{Control, StoreError};
use crate::clock::millis;
use crate::log::UploadId;

/// A webhook that the caller shall tell now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Whose end.
    pub upload: UploadId,
    /// To whom.
    pub url: String,
    /// How often it was tried before.
    pub attempts: u32,
}

/// What is known of an upload's webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Where its end is told.
    pub url: String,
    /// How often that was tried.
    pub attempts: u32,
    /// Whether it will be tried, or tried again.
    pub open: bool,
    /// The last try.
    pub last: Option<Attempted>,
}

/// A try to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// When, in milliseconds since 1970 (UTC).
    pub at: i64,
    /// The status of the answer.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
}

/// Records whom the end of an upload is to be told.
pub(super) async fn record(
    tx: &impl ConnectionTrait,
    upload: i64,
    url: String,
) -> Result<(), StoreError> {
    let model = webhook::ActiveModel {
        upload_id: Set(upload),
        url: Set(url),
        due_at: Set(Some(0)),
        ..Default::default()
    };
    webhook::Entity::insert(model).exec_without_returning(tx).await?;
    Ok(())
}

/// The upload will end once more, and that will be told.
pub(super) async fn rearm(db: &impl ConnectionTrait, upload: i64) -> Result<(), StoreError> {
    webhook::Entity::update_many()
        .col_expr(webhook::Column::DueAt, Expr::value(0_i64))
        .col_expr(webhook::Column::Attempts, Expr::value(0))
        .filter(webhook::Column::UploadId.eq(upload))
        .exec(db)
        .await?;
    Ok(())
}

impl Control {
    /// Takes up to `limit` webhooks of uploads that are over, which nobody else gets for `lease`.
    ///
    /// # Errors
    /// [`StoreError::Database`]; what was taken before is free again after `lease`.
    pub async fn due_webhooks(&self, limit: u64, lease: Duration) -> Result<Vec<Due>, StoreError> {
        let over = [upload::State::Ended, upload::State::Failed, upload::State::Cancelled];
        let found: Vec<(i64, String, i32, Option<i64>)> = webhook::Entity::find()
            .select_only()
            .column(webhook::Column::UploadId)
            .column(webhook::Column::Url)
            .column(webhook::Column::Attempts)
            .column(webhook::Column::DueAt)
            .filter(Expr::col(webhook::Column::DueAt).lte(self.now()))
            .filter(
                webhook::Column::UploadId.in_subquery(
                    upload::Entity::find()
                        .select_only()
                        .column(upload::Column::Id)
                        .filter(upload::Column::State.is_in(over))
                        .into_query(),
                ),
            )
            .order_by_asc(webhook::Column::DueAt)
            .limit(limit)
            .into_tuple()
            .all(&self.db)
            .await?;
        let mut due = vec![];
        for (id, url, attempts, due_at) in found {
            let taken = webhook::Entity::update_many()
                .col_expr(webhook::Column::DueAt, self.now().add(millis(lease)))
                .col_expr(webhook::Column::Attempts, Expr::value(attempts + 1))
                .filter(webhook::Column::UploadId.eq(id))
                .filter(webhook::Column::DueAt.eq(due_at))
                .filter(webhook::Column::Attempts.eq(attempts))
                .exec(&self.db)
                .await?;
            if taken.rows_affected == 1 {
                let attempts = u32::try_from(attempts).unwrap_or(0);
                due.push(Due { upload: UploadId(id), url, attempts });
            }
        }
        Ok(due)
    }

    /// Records a try of a webhook, and after how long the next may be made, if there is to be one.
    /// Nothing is recorded when the upload came to life again meanwhile, or was deleted.
    ///
    /// # Errors
    /// [`StoreError::Database`]; it is tried again then.
    pub async fn webhook_tried(
        &self,
        due: &Due,
        status: Option<u16>,
        error: Option<&str>,
        again: Option<Duration>,
    ) -> Result<(), StoreError> {
        let none: Option<i64> = None;
        let next = match again {
            Some(after) => self.now().add(millis(after)),
            None => Expr::value(none),
        };
        webhook::Entity::update_many()
            .col_expr(webhook::Column::DueAt, next)
            .col_expr(webhook::Column::TriedAt, self.now())
            .col_expr(webhook::Column::Status, Expr::value(status.map(i32::from)))
            .col_expr(webhook::Column::Error, Expr::value(error))
            .filter(webhook::Column::UploadId.eq(due.upload.0))
            .filter(webhook::Column::Attempts.eq(i64::from(due.attempts) + 1))
            .exec(&self.db)
            .await?;
        Ok(())
    }

    /// The webhook of an upload, if it has one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn webhook_of(&self, upload: UploadId) -> Result<Option<Told>, StoreError> {
        let found = webhook::Entity::find_by_id(upload.0).one(&self.db).await?;
        Ok(found.map(|model| Told {
            url: model.url,
            attempts: u32::try_from(model.attempts).unwrap_or(0),
            open: model.due_at.is_some(),
            last: model.tried_at.map(|at| Attempted {
                at,
                status: model.status.and_then(|status| u16::try_from(status).ok()),
                error: model.error,
            }),
        }))
    }
}
