//! The tables of the log as they are at one moment, expanded to the place of every message.
//!
//! The invariant is checked in expanding: a message of a queue that is found in a second place is a
//! [`Violation`], and so is a row that contradicts itself (a segment's `next` beyond its end, a
//! lease whose count of unsettled positions is wrong, outputs that do not fit their span).

use std::collections::HashMap;

use rowmill::store::Store;
use rowmill::store::log::BLOCK;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::violation::{Checked, Violation, check, check_eq};

/// How much later what comes again of a paused upload is due.
const AWAY: i64 = 1 << 52;

/// Where a message is in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Fresh {
        held: bool,
        available_at: i64,
        expires_at: Option<i64>,
    },
    Hands {
        receipt: Uuid,
        position: u16,
        attempt: u16,
        expires_at: Option<i64>,
    },
    Waiting {
        held: bool,
        attempts: u16,
        available_at: i64,
        expires_at: Option<i64>,
        error: Option<String>,
    },
    Ended {
        kind: i16,
        attempts: Option<u16>,
        item: Option<String>,
    },
}

/// A message's place, and the upload that the row says it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) upload: Option<i64>,
    pub(crate) place: Place,
}

/// (queue, message) to its place.
pub(crate) type Places = HashMap<(i32, i64), Found>;

type SegmentRow = (i32, i64, i32, i32, Option<String>, Option<i64>, bool, i64, Option<i64>);
type LeaseRow = ((String, i32, Option<i64>, i64, i32), (Arrays, i32));
/// Ids, attempts, settled positions, expiries.
type Arrays = (Option<String>, Option<String>, Option<String>, Option<String>);
type RedeliveryRow = (i32, i64, Option<i64>, i16, i64, Option<i64>, Option<String>);
type OutcomeRow = (
    (i32, i64, i64, Option<i64>, i16, i32),
    (Option<String>, Option<String>, Option<String>, Option<String>),
);

/// The rows, arrays as JSON text whatever the database.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    segments: Vec<SegmentRow>,
    leases: Vec<LeaseRow>,
    redeliveries: Vec<RedeliveryRow>,
    outcomes: Vec<OutcomeRow>,
}

macro_rules! read_tables {
    ($tx:expr, $array:literal) => {{
        let tx = $tx;
        macro_rules! array {
            ($column:literal) => {
                const_format($array, $column)
            };
        }
        let segments = format!(
            "select queue_id, first_id, size, next, {}, upload_id, held, available_at, expires_at \
             from segment",
            array!("taken")
        );
        let leases = format!(
            "select cast(id as text), queue_id, upload_id, first_id, n, {}, {}, settled, {}, \
             unsettled from lease",
            array!("ids"),
            array!("attempts"),
            array!("expiries")
        );
        let outcomes = format!(
            "select queue_id, first_id, last_id, upload_id, kind, n, mask, {}, {}, items \
             from outcome",
            array!("ids"),
            array!("attempts")
        );
        let redeliveries = "select queue_id, message_id, upload_id, attempts, available_at, \
             expires_at, last_error from redelivery";
        let outcomes = sqlx::query(sqlx::AssertSqlSafe(outcomes)).fetch_all(&mut *tx).await?;
        let outcomes = outcomes.iter().map(|row| {
            use sqlx::Row;
            Ok((
                (
                    row.try_get(0)?,
                    row.try_get(1)?,
                    row.try_get(2)?,
                    row.try_get(3)?,
                    row.try_get(4)?,
                    row.try_get(5)?,
                ),
                (row.try_get(6)?, row.try_get(7)?, row.try_get(8)?, row.try_get(9)?),
            ))
        });
        let leases = sqlx::query(sqlx::AssertSqlSafe(leases)).fetch_all(&mut *tx).await?;
        let leases = leases.iter().map(|row| {
            use sqlx::Row;
            let arrays = (row.try_get(5)?, row.try_get(6)?, row.try_get(7)?, row.try_get(8)?);
            let first = (
                row.try_get(0)?,
                row.try_get(1)?,
                row.try_get(2)?,
                row.try_get(3)?,
                row.try_get(4)?,
            );
            Ok((first, (arrays, row.try_get(9)?)))
        });
        Tables {
            outcomes: outcomes.collect::<Result<_, sqlx::Error>>()?,
            segments: sqlx::query_as(sqlx::AssertSqlSafe(segments)).fetch_all(&mut *tx).await?,
            leases: leases.collect::<Result<_, sqlx::Error>>()?,
            redeliveries: sqlx::query_as(redeliveries).fetch_all(&mut *tx).await?,
        }
    }};
}

fn const_format(pattern: &str, column: &str) -> String {
    pattern.replace('$', column)
}

impl Tables {
    /// Reads all four in one snapshot.
    pub(crate) async fn read(store: &Store) -> Checked<Self> {
        if let Some(pool) = store.postgres_pool() {
            let mut tx = pool.begin().await?;
            sqlx::query("set transaction isolation level repeatable read read only")
                .execute(&mut *tx)
                .await?;
            let tables = read_tables!(&mut *tx, "to_json($)::text");
            tx.commit().await?;
            Ok(tables)
        } else {
            // The pool's one connection is the only one that writes; while it reads, nothing does.
            let mut tx = store.sqlite_pool().unwrap().begin().await?;
            let tables = read_tables!(&mut *tx, "$");
            tx.commit().await?;
            Ok(tables)
        }
    }

    /// The place of every message of every queue.
    pub(crate) fn places(&self) -> Checked<Places> {
        let mut places = Expansion::default();
        self.segments.iter().try_for_each(|row| places.segment(row))?;
        self.leases.iter().try_for_each(|row| places.lease(row))?;
        for (queue, id, upload, attempts, available_at, expires_at, error) in &self.redeliveries {
            let attempts = attempts.cast_unsigned();
            let error = error.clone();
            let held = *available_at >= AWAY;
            if let Some(expires_at) = expires_at {
                check_eq!(*expires_at >= AWAY, held, "times of redelivery {id}");
            }
            let (available_at, expires_at) = (available_at % AWAY, expires_at.map(|at| at % AWAY));
            let place = Place::Waiting { held, attempts, available_at, expires_at, error };
            places.put(*queue, *id, *upload, place)?;
        }
        self.outcomes.iter().try_for_each(|row| places.outcome(row))?;
        Ok(places.0)
    }
}

#[derive(Default)]
struct Expansion(Places);

impl Expansion {
    fn put(&mut self, queue: i32, id: i64, upload: Option<i64>, place: Place) -> Checked {
        let found = Found { upload, place };
        match self.0.insert((queue, id), found.clone()) {
            None => Ok(()),
            Some(other) => Err(Violation(format!(
                "message {id} of queue {queue} is in two places: {other:?} and {found:?}"
            ))),
        }
    }

    fn segment(&mut self, row: &SegmentRow) -> Checked {
        let (queue, first_id, size, next, taken, upload, held, available_at, expires_at) = row;
        check!((0..*size).contains(next), "a segment with nothing left: {row:?}");
        let offsets: Vec<i64> = match taken {
            Some(taken) => serde_json::from_str(taken)?,
            None => (0..i64::from(*size)).collect(),
        };
        check_eq!(offsets.len(), usize::try_from(*size).unwrap(), "offsets of segment {row:?}");
        check_span(*first_id, offsets.iter().map(|offset| first_id + offset), row)?;
        for offset in offsets.iter().skip(usize::try_from(*next).unwrap()) {
            let place =
                Place::Fresh { held: *held, available_at: *available_at, expires_at: *expires_at };
            self.put(*queue, first_id + offset, *upload, place)?;
        }
        Ok(())
    }

    fn lease(&mut self, row: &LeaseRow) -> Checked {
        let ((receipt, queue, upload, first_id, n), (arrays, unsettled)) = row;
        let (ids, attempts, settled, expiries) = arrays;
        let n = usize::try_from(*n).unwrap();
        let ids = ids_of(*first_id, n, ids.as_deref())?;
        check_eq!(ids.len(), n, "ids of lease {row:?}");
        check_span(*first_id, ids.iter().copied(), row)?;
        let attempts: Vec<u16> = match attempts {
            Some(attempts) => serde_json::from_str(attempts)?,
            None => vec![1; n],
        };
        check_eq!(attempts.len(), n, "attempts of lease {row:?}");
        let bits = settled.clone().unwrap_or_else(|| "0".repeat(n));
        check_eq!(bits.len(), n, "settled positions of lease {row:?}");
        let left = bits.bytes().filter(|bit| *bit == b'0').count();
        check_eq!(usize::try_from(*unsettled).unwrap(), left, "unsettled of lease {row:?}");
        check!(left > 0, "a lease with nothing left: {row:?}");
        let expiries: Vec<Option<i64>> = match expiries {
            Some(expiries) => serde_json::from_str(expiries)?,
            None => vec![None],
        };
        check!([1, n].contains(&expiries.len()), "expiries of lease {row:?}");
        let receipt = Uuid::parse_str(receipt).unwrap();
        for (position, id) in ids.into_iter().enumerate() {
            if bits.as_bytes()[position] == b'0' {
                let attempt = attempts[position];
                let expires_at = expiries[position % expiries.len()];
                let position = u16::try_from(position).unwrap();
                let place = Place::Hands { receipt, position, attempt, expires_at };
                self.put(*queue, id, *upload, place)?;
            }
        }
        Ok(())
    }

    fn outcome(&mut self, row: &OutcomeRow) -> Checked {
        let ((queue, first_id, last_id, upload, kind, n), (mask, ids, attempts, items)) = row;
        let span = usize::try_from(last_id - first_id + 1).unwrap_or(0);
        let ids = ids_of(*first_id, span, ids.as_deref())?;
        check_eq!(ids.last(), Some(last_id), "the last id of outcome {row:?}");
        check_span(*first_id, ids.iter().copied(), row)?;
        let bits = mask.clone().unwrap_or_else(|| "1".repeat(ids.len()));
        check_eq!(bits.len(), ids.len(), "the mask of outcome {row:?}");
        let ended = bits.bytes().filter(|bit| *bit == b'1').count();
        check_eq!(usize::try_from(*n).unwrap(), ended, "the count of outcome {row:?}");
        let attempts: Option<Vec<u16>> =
            attempts.as_deref().map(serde_json::from_str).transpose()?;
        let done = *kind == 1;
        let outputs: Option<Vec<&RawValue>> = match items {
            Some(items) if done => Some(serde_json::from_str(items)?),
            _ => None,
        };
        for (position, id) in ids.iter().enumerate() {
            if bits.as_bytes()[position] != b'1' {
                continue;
            }
            let missing = || Violation(format!("nothing for place {position} of {row:?}"));
            let item = match &outputs {
                Some(outputs) => Some(outputs.get(position).ok_or_else(missing)?.get().to_owned()),
                None => items.clone(),
            };
            let attempts = match &attempts {
                Some(all) => Some(*all.get(position).ok_or_else(missing)?),
                None => None,
            };
            let item = item.filter(|item| !(done && item == "null"));
            self.put(*queue, *id, *upload, Place::Ended { kind: *kind, attempts, item })?;
        }
        Ok(())
    }
}

fn ids_of(first_id: i64, n: usize, ids: Option<&str>) -> Checked<Vec<i64>> {
    Ok(match ids {
        Some(ids) => serde_json::from_str(ids)?,
        None => (first_id..).take(n).collect(),
    })
}

/// Ids ascend, begin where the row says (a segment may begin later), and stay within one block.
fn check_span(
    first_id: i64,
    ids: impl Iterator<Item = i64>,
    row: &impl std::fmt::Debug,
) -> Checked {
    let mut before = first_id - 1;
    for id in ids {
        check!(id > before, "ids that do not ascend: {row:?}");
        check!(id / BLOCK == first_id / BLOCK, "a row that crosses a block: {row:?}");
        before = id;
    }
    Ok(())
}
