//! Names by their numbers.

use rowmill_entity::queue;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::{Control, StoreError};
use crate::log::QueueId;
use rowmill_domain::QueueName;

impl Control {
    /// The name of a queue; `None` when there is none of that number, or it was deleted.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn queue_name(&self, id: QueueId) -> Result<Option<QueueName>, StoreError> {
        let found = queue::Entity::find_by_id(id.0)
            .filter(queue::Column::DeletedAt.is_null())
            .one(&self.db)
            .await?;
        let name = found.map(|model| model.name.parse()).transpose();
        name.map_err(|_| StoreError::Damaged(format!("queue {} has no name", id.0)))
    }
}
