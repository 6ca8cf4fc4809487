//! Where to begin to look in a queue.
//!
//! What was delivered leaves dead entries at the front of the indexes by which a queue is served.
//! They are cleaned up in passing, unless somebody's old snapshot might still see them: then every
//! look would step over everything that was delivered since. So each process remembers, for a
//! moment, where the first living entry of a queue stood, and begins there.
//!
//! A floor is a hint. It is looked for anew after [`FRESH`], from the last one on, and every
//! [`WHOLE`] from the very beginning. What comes in below it (a segment whose turn is earlier, a
//! redelivery whose transaction was slow to commit) is found when a look from the floor finds
//! nothing, and by the next whole look at the latest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::PostgresLog;
use crate::log::types::{LogError, QueueId};

/// How long a floor is trusted.
const FRESH: Duration = Duration::from_millis(200);
/// How long floors are looked for from the last one on.
const WHOLE: Duration = Duration::from_secs(3);

/// The first living entries of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floor {
    /// The turn and the first id of the first segment; `None` when there was none.
    pub(super) segment: Option<(i32, i64)>,
    /// No redelivery was due before.
    pub(super) due: i64,
}

/// Below which there is nothing, whatever the queue.
const LOWEST: Floor = Floor { segment: None, due: i64::MIN };

impl Floor {
    /// The turn and the first id from which on to look.
    pub(super) fn from(self) -> (i32, i64) {
        self.segment.unwrap_or((i32::MIN, i64::MIN))
    }
}

/// What is known of a queue's floor.
#[derive(Debug, Clone, Copy)]
struct Known {
    floor: Floor,
    found: Instant,
    /// When it was last looked for from the beginning.
    whole: Instant,
}

/// The floors that this process knows. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Floors(Arc<Mutex<HashMap<QueueId, Known>>>);

impl Floors {
    fn get(&self, queue: QueueId) -> Option<Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&queue).copied()
    }

    fn put(&self, queue: QueueId, floor: Floor, whole: Option<Instant>) {
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, known| known.whole.elapsed() < WHOLE);
        all.insert(queue, Known { floor, found: now, whole: whole.unwrap_or(now) });
    }
}

impl PostgresLog {
    /// The floor of a queue, at most [`FRESH`] old.
    pub(super) async fn floor(&self, queue: QueueId) -> Result<Floor, LogError> {
        match self.floors.get(queue) {
            Some(known) if known.found.elapsed() < FRESH => Ok(known.floor),
            Some(known) if known.whole.elapsed() < WHOLE => {
                let mut floor = self.first_living(queue, known.floor).await?;
                // Where there is nothing from the last one on, that one is where to go on.
                floor.segment = floor.segment.or(known.floor.segment);
                self.floors.put(queue, floor, Some(known.whole));
                Ok(floor)
            }
            _ => self.look_for_floor(queue).await,
        }
    }

    /// The floor of a queue as it is now, looked for from the beginning.
    pub(super) async fn look_for_floor(&self, queue: QueueId) -> Result<Floor, LogError> {
        let floor = self.first_living(queue, LOWEST).await?;
        self.floors.put(queue, floor, None);
        Ok(floor)
    }

    async fn first_living(&self, queue: QueueId, from: Floor) -> Result<Floor, LogError> {
        let (from_turn, from_id) = from.from();
        let (turn, first_id, due): (Option<i32>, Option<i64>, i64) =
            sqlx::query_as(self.sql.floor.clone())
                .bind(queue.0)
                .bind(self.clock.offset_ms())
                .bind(from_turn)
                .bind(from_id)
                .bind(from.due)
                .fetch_one(&self.pool)
                .await?;
        Ok(Floor { segment: turn.zip(first_id), due })
    }
}
