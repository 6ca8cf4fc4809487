//! Keys of rows on PostgreSQL. Those that are new are inserted, which waits for whoever inserts the same
//! just now; the others are locked, in their order, and looked up with what became of their holders.

use std::collections::{HashMap, HashSet};

use super::PostgresLog;
use crate::log::keys::{Claim, Held, Holder, RowKey, Taken};
use crate::log::types::{LogError, UploadId};
use rowmill_domain::RowNumber;

/// A key, and whose it is: upload, sheet, row, the upload's public id, whether it is given up.
type HeldColumns = (Vec<u8>, i64, i16, i32, Option<String>, bool);

const FENCE: &str = "select 1 from upload where id=$1 and epoch=$2 and state='ingesting' for share";

/// The rows and messages said here hold unless there are duplicates.
const INSERT: &str = "
insert into row_key(hash,upload_id,sheet,\"row\",message_id)
select x.hash, $1, $2, x.at, x.id from unnest($3::bytea[],$4::int[],$5::int8[]) x(hash,at,id)
order by x.hash on conflict do nothing returning hash";

const HELD: &str = "
select k.hash, k.upload_id, k.sheet, k.\"row\", u.public_id,
  u.id is null or exists (select 1 from queue q join outcome o on o.queue_id=q.id
    and o.first_id<=k.message_id and o.first_id>k.message_id-1000
    where not q.keeps_dead and o.kind in (2,3,4) and o.mask is null and o.last_id>=k.message_id
      and (o.ids is null or k.message_id=any(o.ids)))
from row_key k left join upload u on u.id=k.upload_id
where k.hash=any($1) order by k.hash for update of k";

const TAKE: &str = "
update row_key k set upload_id=$1, sheet=$2, \"row\"=x.at, message_id=x.id
from unnest($3::bytea[],$4::int[],$5::int8[]) x(hash,at,id) where k.hash=x.hash";

impl PostgresLog {
    pub(in crate::log) async fn claim(
        &self,
        claim: &Claim,
    ) -> Result<Vec<Option<Holder>>, LogError> {
        let mut tx = self.pool.begin().await?;
        let ours: Option<i32> = sqlx::query_scalar(FENCE)
            .bind(claim.fence.upload.0)
            .bind(claim.fence.epoch)
            .fetch_optional(&mut *tx)
            .await?;
        if ours.is_none() {
            return Err(LogError::LeaseLost);
        }
        let hoped = claim.first_of_each()?;
        let mut inserted: HashSet<RowKey> = HashSet::new();
        let mut held: HashMap<RowKey, Held> = HashMap::new();
        let mut left = claim.keys();
        // Another round is for keys that were given back between the two statements.
        while !left.is_empty() {
            let some: Vec<Taken> =
                hoped.iter().filter(|taken| left.contains(&taken.key)).copied().collect();
            let new: Vec<Vec<u8>> =
                bound(sqlx::query_scalar(INSERT), claim, &some).fetch_all(&mut *tx).await?;
            for hash in new {
                inserted.insert(key(&hash)?);
            }
            left.retain(|key| !inserted.contains(key));
            if left.is_empty() {
                break;
            }
            let rows: Vec<HeldColumns> =
                sqlx::query_as(HELD).bind(bytes(&left)).fetch_all(&mut *tx).await?;
            for (hash, upload, sheet, row, public_id, given_up) in rows {
                let holder = Holder {
                    upload: UploadId(upload),
                    public_id: public_id.unwrap_or_default(),
                    sheet: sheet.cast_unsigned(),
                    row: RowNumber(row.cast_unsigned()),
                };
                held.insert(key(&hash)?, Held { holder, given_up });
            }
            left.retain(|key| !held.contains_key(key));
        }
        let decision = claim.decide(&held)?;
        let changed: Vec<Taken> = decision
            .taken
            .iter()
            .filter(|taken| !inserted.contains(&taken.key) || !hoped.contains(taken))
            .copied()
            .collect();
        if !changed.is_empty() {
            let take = sqlx::query(TAKE)
                .bind(claim.fence.upload.0)
                .bind(claim.sheet.cast_signed())
                .bind(bytes(&changed.iter().map(|taken| taken.key).collect::<Vec<_>>()))
                .bind(changed.iter().map(|taken| taken.row.0.cast_signed()).collect::<Vec<_>>())
                .bind(changed.iter().map(|taken| taken.message).collect::<Vec<_>>());
            take.execute(&mut *tx).await?;
        }
        let mut unused = decision.unused(&claim.keys());
        unused.retain(|key| inserted.contains(key));
        if !unused.is_empty() {
            sqlx::query("delete from row_key where hash=any($1)")
                .bind(bytes(&unused))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(decision.duplicates)
    }
}

type Scalar<'q, T> = sqlx::query::QueryScalar<'q, sqlx::Postgres, T, sqlx::postgres::PgArguments>;

fn bound<'q, T>(query: Scalar<'q, T>, claim: &Claim, taken: &[Taken]) -> Scalar<'q, T> {
    query
        .bind(claim.fence.upload.0)
        .bind(claim.sheet.cast_signed())
        .bind(bytes(&taken.iter().map(|taken| taken.key).collect::<Vec<_>>()))
        .bind(taken.iter().map(|taken| taken.row.0.cast_signed()).collect::<Vec<_>>())
        .bind(taken.iter().map(|taken| taken.message).collect::<Vec<_>>())
}

fn bytes(keys: &[RowKey]) -> Vec<Vec<u8>> {
    keys.iter().map(|key| key.to_vec()).collect()
}

fn key(hash: &[u8]) -> Result<RowKey, LogError> {
    hash.try_into().map_err(|_| LogError::Damaged("a key of another length"))
}
