//! What became of messages.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// Where a message is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a delivery: fresh, delayed, held, or to be tried again.
    Waiting,
    /// In a consumer's hands.
    InFlight,
    /// Acked.
    Done,
    /// Rejected, or out of attempts.
    Dead,
    /// Not delivered in time.
    Expired,
    /// Withdrawn before delivery.
    Cancelled,
}

/// A message in a queue, and what became of it: `GET /results`, `GET /results/{message}`.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Outcome {
    /// The message.
    pub id: String,
    /// The queue's name.
    pub queue: String,
    /// How it stands.
    pub status: State,
    /// The upload it is a row of.
    pub upload_id: Option<Uuid>,
    /// The row.
    pub row: Option<u32>,
    /// Deliveries it took, once it has ended.
    pub attempts: Option<u16>,
    /// The output of a done one.
    #[schema(value_type = Option<serde_json::Value>)]
    pub output: Option<Box<RawValue>>,
    /// The error of a dead one.
    pub error: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
}
