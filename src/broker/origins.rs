//! What deliveries say of the uploads that they are rows of, read once an upload and process.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use uuid::Uuid;

use super::cache::{read, write};
use super::error::BrokerError;
use crate::domain::{Origin, RowNumber};
use crate::store::control::sheet_names;
use crate::store::log::UploadId;
use crate::store::{Store, StoreError};

/// What a delivery says of its upload; it never changes once the header was read.
#[derive(Debug)]
pub(super) struct UploadOrigin {
    upload_id: Uuid,
    filename: Arc<str>,
    sheets: Vec<Option<Arc<str>>>,
}

impl UploadOrigin {
    /// Where a row of it came from.
    pub(super) fn origin(&self, (sheet, row): (u16, RowNumber)) -> Origin {
        Origin {
            upload_id: self.upload_id,
            filename: Arc::clone(&self.filename),
            sheet: self.sheets.get(usize::from(sheet)).cloned().flatten(),
            row,
        }
    }
}

/// The uploads that one process has met.
#[derive(Debug)]
pub(super) struct Uploads {
    store: Store,
    known: RwLock<HashMap<UploadId, Arc<UploadOrigin>>>,
}

impl Uploads {
    pub(super) fn new(store: Store) -> Self {
        Self { store, known: RwLock::default() }
    }

    pub(super) async fn get(&self, id: UploadId) -> Result<Arc<UploadOrigin>, BrokerError> {
        let known = read(&self.known).get(&id).cloned();
        if let Some(upload) = known {
            return Ok(upload);
        }
        let upload = self.store.control.upload(id).await?;
        let sheets =
            sheet_names(&upload.sheets).map_err(|error| StoreError::Damaged(error.to_string()))?;
        let origin = Arc::new(UploadOrigin {
            upload_id: upload.public_id,
            filename: upload.filename.into(),
            sheets: sheets.into_iter().map(|name| name.map(Arc::from)).collect(),
        });
        write(&self.known).insert(id, Arc::clone(&origin));
        Ok(origin)
    }

    /// Forgets one: what is said of it has changed.
    pub(super) fn forget(&self, id: UploadId) {
        write(&self.known).remove(&id);
    }
}
