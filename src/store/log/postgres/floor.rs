//! Where to begin to look in a queue.
//!
//! What was delivered leaves dead entries at the front of the indexes by which a queue is served.
//! They are cleaned up in passing, unless somebody's old snapshot might still see them: then every
//! look would step over everything that was delivered since. So each process remembers, for a
//! moment, where the first living entry of a queue stood, and begins there.
//!
//! A floor is a hint that is never older than [`FRESH`]. What comes in below it (a segment whose turn
//! is earlier, a redelivery whose transaction was slow to commit) is found when the look from the
//! floor finds nothing, and by the next floor at the latest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::PostgresLog;
use crate::store::log::types::{LogError, QueueId};

/// How long a floor is trusted.
const FRESH: Duration = Duration::from_secs(1);

/// The first living entries of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floor {
    /// The turn and the first id of the first segment; `None` when there was none.
    pub(super) segment: Option<(i32, i64)>,
    /// No redelivery was due before.
    pub(super) due: i64,
}

/// The floors that this process knows. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Floors(Arc<Mutex<HashMap<QueueId, (Floor, Instant)>>>);

impl Floors {
    fn get(&self, queue: QueueId) -> Option<Floor> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (floor, found) = known.get(&queue)?;
        (found.elapsed() < FRESH).then_some(*floor)
    }

    fn put(&self, queue: QueueId, floor: Floor) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, found)| found.elapsed() < FRESH);
        known.insert(queue, (floor, Instant::now()));
    }
}

impl PostgresLog {
    /// The floor of a queue, at most [`FRESH`] old.
    pub(super) async fn floor(&self, queue: QueueId) -> Result<Floor, LogError> {
        match self.floors.get(queue) {
            Some(floor) => Ok(floor),
            None => self.look_for_floor(queue).await,
        }
    }

    /// The floor of a queue as it is now.
    pub(super) async fn look_for_floor(&self, queue: QueueId) -> Result<Floor, LogError> {
        let (turn, first_id, due): (Option<i32>, Option<i64>, i64) =
            sqlx::query_as(self.sql.floor.clone())
                .bind(queue.0)
                .bind(self.clock.offset_ms())
                .fetch_one(&self.pool)
                .await?;
        let floor = Floor { segment: turn.zip(first_id), due };
        self.floors.put(queue, floor);
        Ok(floor)
    }
}
