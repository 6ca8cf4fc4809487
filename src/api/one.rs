//! One message by its id: looking at it, and ending the delivery that it is in.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

/// How a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Waits for a delivery, now or from its time on.
    Waiting,
    /// Published with a file that is still being read: held back until it is read to its end.
    Held,
    /// In a consumer's hands.
    InFlight,
    /// Acked.
    Done,
    /// Rejected, or out of deliveries.
    Dead,
    /// Waited longer than its queue's retention.
    Expired,
    /// Withdrawn before delivery.
    Cancelled,
}

/// A message of a queue, as looked at without taking it: `GET /messages/{message}`, and
/// `GET /queues/{queue}/messages/peek`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The queue's name.
    pub queue_id: String,
    /// How it stands.
    pub state: MessageState,
    /// The data.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
    /// Attributes chosen at publishing: an object of strings.
    #[schema(value_type = Object)]
    pub attributes: Box<RawValue>,
    /// Deliveries so far.
    pub delivery_attempts: u16,
    /// When it was published.
    pub created_at: String,
    /// When it can be delivered next; in a consumer's hands, when its deadline passes.
    pub scheduled_at: String,
    /// When it expires if it has not ended by then; null for never.
    pub expired_at: Option<String>,
    /// When it last changed.
    pub updated_at: String,
    /// The upload it is a row of.
    pub upload_id: Option<Uuid>,
    /// The uploaded file's name.
    pub filename: Option<String>,
    /// The sheet; a csv file has none.
    pub sheet: Option<String>,
    /// The row of the sheet.
    pub row: Option<u32>,
    /// Why it failed last.
    pub reason: Option<String>,
}

/// `PUT /messages/{message}/ack`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AckOne {
    /// What came of it: any JSON, kept as it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub output: Option<Box<RawValue>>,
}

/// `PUT /messages/{message}/nack`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NackOne {
    /// Why, for the record.
    pub reason: String,
    /// When it comes again, up to 366 days; the queue's back-off unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 31_622_400)]
    pub delay_seconds: Option<f64>,
}

/// `PUT /messages/{message}/reject`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RejectOne {
    /// Why, for the record.
    pub reason: String,
}

/// `PUT /messages/{message}/extend`: gives the lease that the message is in, with all of its other
/// messages, longer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExtendOne {
    /// From now; the queue's ack deadline unless told.
    #[serde(deserialize_with = "super::whole::maybe", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 43_200)]
    pub seconds: Option<u32>,
}

/// What became of a lease that was extended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExtendedOne {
    /// How long it lasts from now.
    pub deadline_seconds: f64,
}
