//! What those who look after a database want to know of it: its connections, and who holds old rows
//! back.
//!
//! PostgreSQL keeps every version of a row that some transaction might still want to see. One that
//! stays open, on this database and by whomever, makes the log slower by and by: what was leased,
//! settled and deleted long ago is read over again and again. So whoever does that is named: an open
//! transaction, a prepared one that nobody ends, a replication slot that nobody reads.

use std::time::Duration;

use serde::Serialize;

use super::{Pools, Store, StoreError};

/// Connections of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Open ones.
    pub open: u32,
    /// Those of them that nobody uses now.
    pub idle: u32,
    /// How many there may be.
    pub most: u32,
}

/// What it is that holds old rows back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// An open transaction.
    Transaction,
    /// A transaction that was prepared for a two-phase commit and not ended.
    Prepared,
    /// A replication slot.
    Slot,
}

/// Something that keeps PostgreSQL from forgetting old rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hold {
    /// What it is.
    pub kind: HoldKind,
    /// The process of the server that the transaction runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// What its client calls itself; the name of the prepared transaction, or of the slot.
    pub application_name: String,
    /// What it does, such as `idle in transaction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How long it has been open. Nobody knows it of a slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<f64>,
    /// How many transactions of the server began since. Known of a slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_transactions: Option<i64>,
}

/// From which age on something is told of.
#[derive(Debug, Clone, Copy)]
pub struct HoldLimits {
    /// Of transactions.
    pub age: Duration,
    /// Of slots, in transactions.
    pub transactions: u32,
    /// How many are told of, the oldest first.
    pub most: u32,
}

/// A vacuum holds nothing back but itself. Transactions without a snapshot and without a number of
/// their own hold nothing at all. What another role does is shown to those who may see it.
const HOLDS: &str = "
(select 'transaction' as kind, a.pid, left(a.application_name,128) as name, a.state,
   extract(epoch from clock_timestamp()-a.xact_start)::float8 as seconds, null::int8 as transactions
 from pg_stat_activity a
 where a.datname=current_database() and a.pid<>pg_backend_pid()
   and (a.backend_xmin is not null or a.backend_xid is not null)
   and a.xact_start<=clock_timestamp()-make_interval(secs=>$1)
   and not exists (select 1 from pg_stat_progress_vacuum v where v.pid=a.pid)
 order by a.xact_start limit $3)
union all
(select 'prepared', null, left(p.gid,128), null,
   extract(epoch from clock_timestamp()-p.prepared)::float8, null
 from pg_prepared_xacts p
 where p.database=current_database() and p.prepared<=clock_timestamp()-make_interval(secs=>$1)
 order by p.prepared limit $3)
union all
(select 'slot', s.active_pid, s.slot_name::text, null, null, age(s.xmin)::int8
 from pg_replication_slots s where s.xmin is not null and age(s.xmin)>=$2
 order by age(s.xmin) desc limit $3)
limit $3";

/// The oldest transaction that holds anything back, whatever its age.
const OLDEST: &str = "
select coalesce(max(seconds),0)::float8 from (
  select extract(epoch from clock_timestamp()-xact_start) as seconds from pg_stat_activity a
  where datname=current_database() and pid<>pg_backend_pid()
    and (backend_xmin is not null or backend_xid is not null)
    and not exists (select 1 from pg_stat_progress_vacuum v where v.pid=a.pid)
  union all
  select extract(epoch from clock_timestamp()-prepared) from pg_prepared_xacts
  where database=current_database()) t";

type Row = (String, Option<i32>, Option<String>, Option<String>, Option<f64>, Option<i64>);

impl Store {
    /// The connections of this process.
    pub fn connections(&self) -> Connections {
        let count = |size: u32, idle: usize, most: u32| Connections {
            open: size,
            idle: u32::try_from(idle).unwrap_or(u32::MAX),
            most,
        };
        match &self.pools {
            Pools::Postgres(pool) => {
                count(pool.size(), pool.num_idle(), pool.options().get_max_connections())
            }
            Pools::Sqlite { writer, readers } => count(
                writer.size() + readers.size(),
                writer.num_idle() + readers.num_idle(),
                writer.options().get_max_connections() + readers.options().get_max_connections(),
            ),
        }
    }

    /// What holds old rows back for longer than the limits say. Nothing on SQLite.
    ///
    /// # Errors
    /// [`StoreError::Statement`].
    pub async fn holds(&self, limits: HoldLimits) -> Result<Vec<Hold>, StoreError> {
        let Pools::Postgres(pool) = &self.pools else { return Ok(vec![]) };
        let rows: Vec<Row> = sqlx::query_as(HOLDS)
            .bind(limits.age.as_secs_f64())
            .bind(i64::from(limits.transactions))
            .bind(i64::from(limits.most))
            .fetch_all(pool)
            .await?;
        let hold = |(kind, pid, name, state, age_seconds, age_transactions): Row| Hold {
            kind: match kind.as_str() {
                "prepared" => HoldKind::Prepared,
                "slot" => HoldKind::Slot,
                _ => HoldKind::Transaction,
            },
            pid,
            application_name: name.unwrap_or_default(),
            state,
            age_seconds,
            age_transactions,
        };
        Ok(rows.into_iter().map(hold).collect())
    }

    /// How long the oldest transaction has been open that holds old rows back; `None` on SQLite,
    /// where there is no such thing.
    ///
    /// # Errors
    /// [`StoreError::Statement`].
    pub async fn oldest_transaction(&self) -> Result<Option<Duration>, StoreError> {
        let Pools::Postgres(pool) = &self.pools else { return Ok(None) };
        let seconds: f64 = sqlx::query_scalar(OLDEST).fetch_one(pool).await?;
        Ok(Some(Duration::try_from_secs_f64(seconds).unwrap_or_default()))
    }
}
