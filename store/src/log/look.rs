//! Looking at messages without taking them: those that wait, one wherever it is, and how fast a
//! queue moves.

use std::collections::HashMap;
use std::time::Duration;

use super::page::{Place, PlaceColumns};
use super::types::{LogError, OutcomeKind, QueueId, UploadId};
use super::{Dialect, Log};
use crate::clock::duration;
use rowmill_domain::{Attempt, MessageState, QueueStats, RowNumber};

/// The stretch of time that rates are measured over.
pub const RATE_WINDOW: Duration = Duration::from_secs(60);

/// A message of a queue, as looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub id: i64,
    /// The upload it is a row of.
    pub upload: Option<UploadId>,
    /// The sheet's number and the row, if it is one.
    pub place: Option<(u16, RowNumber)>,
    /// JSON.
    pub data: Box<str>,
    /// JSON.
    pub attributes: Option<Box<str>>,
    /// How it stands.
    pub state: MessageState,
    /// Deliveries so far.
    pub attempts: Attempt,
    /// When it was published, in milliseconds since 1970 (UTC); so are the others.
    pub created_ms: i64,
    /// When it can be delivered next, when its deadline passes, or when it ended.
    pub scheduled_ms: i64,
    /// When it expires, if it may.
    pub expires_ms: Option<i64>,
    /// When it last changed, as far as recorded: published, or ended.
    pub updated_ms: i64,
    /// Why it failed last.
    pub reason: Option<Box<str>>,
}

/// What holds a message, with all that its row says of it.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) place: Place,
    /// Whether it is held back.
    pub(super) held: bool,
    pub(super) attempts: Option<Vec<i16>>,
    /// Available, deadline, or settled at.
    pub(super) at: i64,
    pub(super) expiries: super::types::Expiries,
    pub(super) reason: Option<String>,
}

/// The columns of [`Holding`]: first those of a place (whose fifth says of a segment whether it is
/// held), attempts, time, expiries, reason.
pub(super) type HoldingColumns<I, A, E> =
    (i64, i64, i64, i64, i64, Option<String>, Option<I>, Option<A>, i64, Option<E>, Option<String>);

impl Holding {
    pub(super) fn new(
        (what, first, size, next, kind, mask, ids, attempts, at, expiries, reason): HoldingColumns<
            Vec<i64>,
            Vec<i16>,
            Vec<Option<i64>>,
        >,
    ) -> Self {
        let columns: PlaceColumns = (what, first, size, next, kind, mask, ids);
        Self {
            held: matches!(what, Place::SEGMENT | Place::REDELIVERY) && kind == 1,
            place: Place(columns),
            attempts,
            at,
            expiries: super::types::Expiries(expiries),
            reason,
        }
    }

    fn state(&self) -> Result<MessageState, LogError> {
        Ok(match (self.place.0.0, self.place.state()?) {
            (Place::SEGMENT | Place::REDELIVERY, _) if self.held => MessageState::Held,
            (Place::LEASE, _) => MessageState::InFlight,
            (_, None) => MessageState::Waiting,
            (_, Some(OutcomeKind::Done)) => MessageState::Done,
            (_, Some(OutcomeKind::Dead)) => MessageState::Dead,
            (_, Some(OutcomeKind::Expired)) => MessageState::Expired,
            (_, Some(OutcomeKind::Cancelled)) => MessageState::Cancelled,
        })
    }

    fn seen(&self, position: usize, content: Content) -> Result<Seen, LogError> {
        let state = self.state()?;
        let known = self.attempts.as_ref().and_then(|all| all.get(position).copied());
        let first = match state {
            MessageState::InFlight | MessageState::Done | MessageState::Dead => 1,
            _ => 0,
        };
        let ended = self.place.0.0 == Place::OUTCOME;
        Ok(Seen {
            state,
            attempts: known.map_or(first, i16::cast_unsigned),
            scheduled_ms: self.at,
            expires_ms: self.expiries.at(position),
            updated_ms: if ended { self.at } else { content.created_ms },
            reason: self.reason.as_deref().map(Into::into),
            id: content.id,
            upload: content.upload.map(UploadId),
            place: content
                .sheet
                .zip(content.row)
                .map(|(sheet, row)| (sheet.cast_unsigned(), RowNumber(row.cast_unsigned()))),
            data: content.data.into(),
            attributes: content.attributes.map(Into::into),
            created_ms: content.created_ms,
        })
    }
}

/// What was published under an id.
#[derive(Debug)]
struct Content {
    id: i64,
    upload: Option<i64>,
    sheet: Option<i16>,
    row: Option<i32>,
    data: String,
    attributes: Option<String>,
    created_ms: i64,
}

/// Columns of what was published: number, upload, sheet, row, data, attributes, when.
pub(super) type ContentColumns =
    (i64, Option<i64>, Option<i16>, Option<i32>, String, Option<String>, Option<i64>);

impl From<ContentColumns> for Content {
    fn from((id, upload, sheet, row, data, attributes, created): ContentColumns) -> Self {
        Self { id, upload, sheet, row, data, attributes, created_ms: created.unwrap_or(0) }
    }
}

/// Which of those that wait are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Those that can be delivered now, retried ones first, then segments in turn.
    Now,
    /// Those that wait for their time, by it.
    Later,
}

/// How a queue moves, as its tables say: when the oldest was published, milliseconds ago, and the
/// rates.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) oldest_ms: Option<i64>,
    pub(super) published: Moved,
    pub(super) ended: Moved,
}

/// What was found of the last [`RATE_WINDOW`]: messages, rows, and the time that these rows span.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Moved {
    pub(super) messages: i64,
    /// Milliseconds that what was looked at covers.
    pub(super) over_ms: i64,
}

impl Moved {
    #[allow(clippy::cast_precision_loss)] // a rate
    fn per_second(self) -> f64 {
        if self.over_ms <= 0 { 0.0 } else { self.messages as f64 * 1000.0 / self.over_ms as f64 }
    }
}

impl Log {
    /// Up to `limit` messages that wait in a queue and are not held, those first that would be
    /// delivered first. What is past its retention is left out.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn peek(&self, queue: QueueId, limit: usize) -> Result<Vec<Seen>, LogError> {
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut at: HashMap<i64, (usize, usize)> = HashMap::new();
        let mut order = vec![];
        let mut holdings = vec![];
        for due in [Due::Now, Due::Later] {
            if order.len() >= limit {
                break;
            }
            for holding in both!(self, log => log.waiting(queue, due, rows).await)? {
                for id in holding.place.ids() {
                    let Some(position) = holding.place.position_of(id) else { continue };
                    // Between the two looks a message may have come due, or gone back.
                    if order.len() < limit && !at.contains_key(&id) {
                        at.insert(id, (holdings.len(), position));
                        order.push(id);
                    }
                }
                holdings.push(holding);
            }
        }
        let mut contents = self.contents(queue, &order).await?;
        let mut seen = vec![];
        for id in order {
            if let Some((holding, position)) = at.get(&id)
                && let Some(content) = contents.remove(&id)
            {
                seen.push(holdings[*holding].seen(*position, content)?);
            }
        }
        Ok(seen)
    }

    /// A message of a queue, wherever it is; `None` when there is none, or when nothing is kept of
    /// it, or of its queue, any more.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn message(&self, queue: QueueId, id: i64) -> Result<Option<Seen>, LogError> {
        let Some(content) = self.contents(queue, &[id]).await?.remove(&id) else {
            return Ok(None);
        };
        for holding in both!(self, log => log.holdings(queue, id).await)? {
            if let Some(position) = holding.place.position_of(id) {
                return holding.seen(position, content).map(Some);
            }
        }
        Ok(None)
    }

    /// How a queue stands, with what its dead queue holds.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn stats(
        &self,
        queue: QueueId,
        dead_queue: Option<QueueId>,
    ) -> Result<QueueStats, LogError> {
        let pace = both!(self, log => log.pace(queue).await)?;
        Ok(QueueStats {
            depth: self.depth(queue).await?,
            dead: match dead_queue {
                Some(dead) => self.depth(dead).await?.total(),
                None => 0,
            },
            oldest: pace.oldest_ms.map(duration),
            published_per_second: pace.published.per_second(),
            ended_per_second: pace.ended.per_second(),
        })
    }

    /// What was published under these ids, if the queue is there.
    async fn contents(
        &self,
        queue: QueueId,
        ids: &[i64],
    ) -> Result<HashMap<i64, Content>, LogError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let contents = both!(self, log => log.contents(queue, ids).await)?;
        Ok(contents.into_iter().map(Content::from).map(|one| (one.id, one)).collect())
    }
}
