//! Uploads: who ingests one, by which epoch, and how far it is.

use std::time::Duration;

use rowmill_entity::upload::{self, State};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    TransactionTrait,
};
use uuid::Uuid;

use super::upload::{NewUpload, Steering, Upload, read};
use super::{Control, StoreError, webhooks};
use crate::clock::millis;
use crate::log::{Fence, LogError, UploadId};

impl Control {
    /// Records an upload as being ingested, by epoch 1.
    ///
    /// # Errors
    /// [`StoreError::Database`], also when another upload has the same run key.
    pub async fn create_upload(&self, new: NewUpload) -> Result<Upload, StoreError> {
        self.create_steered(new, Steering::default()).await
    }

    /// Records an upload as being ingested, by epoch 1, and how it is steered.
    ///
    /// # Errors
    /// As of [`Control::create_upload`].
    pub async fn create_steered(
        &self,
        new: NewUpload,
        steering: Steering,
    ) -> Result<Upload, StoreError> {
        let public_id = new.public_id;
        let model = upload::ActiveModel {
            public_id: Set(public_id.to_string()),
            run_key: Set(new.run_key),
            filename: Set(new.filename),
            content_hash: Set(new.content_hash),
            options: Set(new.options),
            bytes: Set(i64::try_from(new.bytes).unwrap_or(i64::MAX)),
            spool: Set(new.spool),
            stream: Set(new.stream),
            corrects: Set(new.corrects.map(|id| id.to_string())),
            lease_until: Set(new.lease.map(|_| 0)),
            topic_id: Set(new.topic.0),
            state: Set(State::Ingesting),
            epoch: Set(1),
            sheets: Set("[]".into()),
            created_at: Set(self.clock.now_ms()),
            stop_after: Set(steering.stop_after.map(|limit| limit.to_string())),
            ..Default::default()
        };
        let tx = self.db.begin().await?;
        let id = upload::Entity::insert(model).exec(&tx).await?.last_insert_id;
        if let Some(lease) = new.lease {
            // By the database's clock, which every server shares; an insert cannot say that.
            upload::Entity::update_many()
                .col_expr(upload::Column::LeaseUntil, self.now().add(millis(lease)))
                .filter(upload::Column::Id.eq(id))
                .exec(&tx)
                .await?;
        }
        if let Some(url) = steering.webhook {
            webhooks::record(&tx, id, url).await?;
        }
        tx.commit().await?;
        self.upload(UploadId(id)).await
    }

    /// The upload with this run key.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn upload_of_run(&self, run_key: &str) -> Result<Option<Upload>, StoreError> {
        upload::Entity::find()
            .filter(upload::Column::RunKey.eq(run_key))
            .one(&self.db)
            .await?
            .map(read)
            .transpose()
    }

    /// An upload by its number.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`] when there is none.
    pub async fn upload(&self, id: UploadId) -> Result<Upload, StoreError> {
        let model = upload::Entity::find_by_id(id.0).one(&self.db).await?;
        read(model.ok_or_else(|| StoreError::Damaged(format!("there is no upload {}", id.0)))?)
    }

    /// An upload by the id that users see.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn upload_by_public_id(&self, id: Uuid) -> Result<Option<Upload>, StoreError> {
        upload::Entity::find()
            .filter(upload::Column::PublicId.eq(id.to_string()))
            .one(&self.db)
            .await?
            .map(read)
            .transpose()
    }

    /// The public ids of the uploads that correct an upload, oldest first, `limit` at most.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn corrections_of(&self, id: Uuid, limit: u64) -> Result<Vec<Uuid>, StoreError> {
        let found: Vec<String> = upload::Entity::find()
            .select_only()
            .column(upload::Column::PublicId)
            .filter(upload::Column::Corrects.eq(id.to_string()))
            .order_by_asc(upload::Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(found.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// Uploads, newest first: those older than `before`, `limit` at most.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn uploads(
        &self,
        before: Option<UploadId>,
        limit: u64,
    ) -> Result<Vec<Upload>, StoreError> {
        let mut query = upload::Entity::find();
        if let Some(before) = before {
            query = query.filter(upload::Column::Id.lt(before.0));
        }
        let found = query.order_by_desc(upload::Column::Id).limit(limit).all(&self.db).await?;
        found.into_iter().map(read).collect()
    }

    /// Uploads that are under way, or ended less than `within` ago: newest first, `limit` at most.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn live_uploads(
        &self,
        within: Duration,
        limit: u64,
    ) -> Result<Vec<Upload>, StoreError> {
        let live = upload::Column::State
            .is_in([State::Ingesting, State::Published])
            .or(Expr::col(upload::Column::EndedAt).gt(self.now().sub(millis(within))));
        let query = upload::Entity::find().filter(live).order_by_desc(upload::Column::Id);
        query.limit(limit).all(&self.db).await?.into_iter().map(read).collect()
    }

    /// How many uploads there are in each state; none of a state of which there is none.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn uploads_by_state(&self) -> Result<Vec<(State, u64)>, StoreError> {
        let counted: Vec<(State, i64)> = upload::Entity::find()
            .select_only()
            .column(upload::Column::State)
            .column_as(upload::Column::Id.count(), "uploads")
            .group_by(upload::Column::State)
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(counted.into_iter().map(|(state, n)| (state, u64::try_from(n).unwrap_or(0))).collect())
    }

    /// Makes the caller the one who ingests: whoever did before can commit nothing from now on.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn take_over(&self, id: UploadId) -> Result<Upload, StoreError> {
        upload::Entity::update_many()
            .col_expr(upload::Column::Epoch, Expr::col(upload::Column::Epoch).add(1))
            .filter(upload::Column::Id.eq(id.0))
            .exec(&self.db)
            .await?;
        self.upload(id).await
    }

    /// Keeps an ingestion the caller's for another while. `false` when it is not the caller's any
    /// more, or at its end.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn renew(&self, fence: Fence, lease: Duration) -> Result<bool, StoreError> {
        let done = upload::Entity::update_many()
            .col_expr(upload::Column::LeaseUntil, self.now().add(millis(lease)))
            .filter(upload::Column::Id.eq(fence.upload.0))
            .filter(upload::Column::Epoch.eq(fence.epoch))
            .filter(upload::Column::State.eq(State::Ingesting))
            .exec(&self.db)
            .await?;
        Ok(done.rows_affected == 1)
    }

    /// Lets go of an ingestion that will go on elsewhere, so that nobody need wait for its lease.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn let_go(&self, fence: Fence) -> Result<bool, StoreError> {
        self.renew(fence, Duration::ZERO).await
    }

    /// Takes over an ingestion whose lease has run out, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn claim(&self, lease: Duration) -> Result<Option<Upload>, StoreError> {
        let lapsed = upload::Entity::find()
            .filter(upload::Column::State.eq(State::Ingesting))
            .filter(Expr::col(upload::Column::LeaseUntil).lt(self.now()))
            .order_by_asc(upload::Column::Id)
            .limit(10)
            .all(&self.db)
            .await?;
        for found in lapsed {
            // Of those who found it, the one that raises the epoch has it.
            let done = upload::Entity::update_many()
                .col_expr(upload::Column::Epoch, Expr::col(upload::Column::Epoch).add(1))
                .col_expr(upload::Column::LeaseUntil, self.now().add(millis(lease)))
                .filter(upload::Column::Id.eq(found.id))
                .filter(upload::Column::Epoch.eq(found.epoch))
                .filter(upload::Column::State.eq(State::Ingesting))
                .filter(Expr::col(upload::Column::LeaseUntil).lt(self.now()))
                .exec(&self.db)
                .await?;
            if done.rows_affected == 1 {
                return self.upload(UploadId(found.id)).await.map(Some);
            }
        }
        Ok(None)
    }

    /// Lets go of a run key, so that the same file can be run again as another upload.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn forget_run(&self, id: UploadId) -> Result<(), StoreError> {
        let none: Option<String> = None;
        upload::Entity::update_many()
            .col_expr(upload::Column::RunKey, Expr::value(none))
            .filter(upload::Column::Id.eq(id.0))
            .exec(&self.db)
            .await?;
        Ok(())
    }

    /// Records the sheets that are being read, as JSON.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`LogError::LeaseLost`] when somebody else reads them by now.
    pub async fn set_sheets(&self, fence: Fence, sheets: &str) -> Result<(), StoreError> {
        let done = upload::Entity::update_many()
            .col_expr(upload::Column::Sheets, Expr::value(sheets))
            .filter(upload::Column::Id.eq(fence.upload.0))
            .filter(upload::Column::Epoch.eq(fence.epoch))
            .exec(&self.db)
            .await?;
        if done.rows_affected == 0 { Err(LogError::LeaseLost.into()) } else { Ok(()) }
    }

    /// Records whether every message has its outcome: the end, or, after a redrive, not any more.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_ended(&self, id: UploadId, ended: bool) -> Result<(), StoreError> {
        let state = if ended { State::Ended } else { State::Published };
        let at = ended.then(|| self.clock.now_ms());
        if !ended {
            // Its next end is told anew.
            webhooks::rearm(&self.db, id.0).await?;
        }
        upload::Entity::update_many()
            .col_expr(upload::Column::State, Expr::value(state))
            .col_expr(upload::Column::EndedAt, Expr::value(at))
            .filter(upload::Column::Id.eq(id.0))
            .exec(&self.db)
            .await?;
        Ok(())
    }
}
