//! Keys of rows on SQLite. There is one writer, so what is seen within the transaction stays so.

use std::collections::HashMap;

use super::SqliteLog;
use crate::log::keys::{Claim, Held, Holder, RowKey};
use crate::log::types::{LogError, UploadId};
use rowmill_domain::RowNumber;

/// Whose a key is: upload, sheet, row, the upload's public id, whether it is given up.
type HeldColumns = (i64, u16, u32, Option<String>, bool);

const HELD: &str = "
select k.upload_id, k.sheet, k.\"row\", u.public_id,
  u.id is null or exists (select 1 from queue q join outcome o on o.queue_id=q.id
    and o.first_id<=k.message_id and o.first_id>k.message_id-1000
    where not q.keeps_dead and o.kind in (2,3,4) and o.mask is null and o.last_id>=k.message_id
      and (o.ids is null or k.message_id in (select value from json_each(o.ids))))
from row_key k left join upload u on u.id=k.upload_id where k.hash=?";

impl SqliteLog {
    pub(in crate::log) async fn claim(
        &self,
        claim: &Claim,
    ) -> Result<Vec<Option<Holder>>, LogError> {
        let mut tx = self.write().await?;
        let ours: bool = sqlx::query_scalar(
            "select exists (select 1 from upload where id=? and epoch=? and state='ingesting')",
        )
        .bind(claim.fence.upload.0)
        .bind(claim.fence.epoch)
        .fetch_one(&mut *tx)
        .await?;
        if !ours {
            return Err(LogError::LeaseLost);
        }
        let mut held: HashMap<RowKey, Held> = HashMap::new();
        for key in claim.keys() {
            let found: Option<HeldColumns> =
                sqlx::query_as(HELD).bind(key.to_vec()).fetch_optional(&mut *tx).await?;
            if let Some((upload, sheet, row, public_id, given_up)) = found {
                let holder = Holder {
                    upload: UploadId(upload),
                    public_id: public_id.unwrap_or_default(),
                    sheet,
                    row: RowNumber(row),
                };
                held.insert(key, Held { holder, given_up });
            }
        }
        let decision = claim.decide(&held)?;
        for taken in &decision.taken {
            sqlx::query(
                "insert or replace into row_key(hash,upload_id,sheet,\"row\",message_id) values (?,?,?,?,?)",
            )
            .bind(taken.key.to_vec())
            .bind(claim.fence.upload.0)
            .bind(claim.sheet)
            .bind(taken.row.0)
            .bind(taken.message)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(decision.duplicates)
    }
}
