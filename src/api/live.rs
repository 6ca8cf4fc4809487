//! What is sent to those who listen: frames of a WebSocket consumer, events of a dashboard.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::message::Delivery;
use super::upload::{Counts, UploadStatus};

/// A frame that the server sends over `GET /queues/{queue}/ws`: JSON, told apart by `type`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Pushed {
    /// A message, in the client's hands from now on.
    Message(Box<Delivery>),
    /// The answer to an ack, a nack or a reject; `stale` also answers an extend that came too late.
    Settled {
        /// The message.
        id: String,
        /// What became of it.
        status: SettledAs,
    },
    /// The answer to an extend.
    Extended {
        /// The message.
        id: String,
        /// How long it may be kept from now on, in seconds.
        deadline_seconds: f64,
    },
    /// What the client sent cannot be understood or done. The connection goes on.
    Error {
        /// What is wrong.
        detail: String,
        /// The message that it was about.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
}

/// What a verdict did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettledAs {
    /// Acked.
    Done,
    /// Will come again.
    Again,
    /// Rejected, or failed at its last attempt.
    Dead,
    /// Nothing: it was settled before, or its deadline passed and it comes again.
    Stale,
}

/// A queue as `GET /events` tells of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueNow {
    /// Its name.
    pub id: String,
    /// Waiting for a delivery now.
    pub ready: u64,
    /// Waiting for a time to come.
    pub delayed: u64,
    /// Held back until their whole file is published.
    pub held: u64,
    /// In consumers' hands.
    pub in_flight: u64,
    /// In its dead queue; 0 without one.
    pub dead: u64,
    /// How long ago the oldest message was published that has not ended, in whole seconds.
    pub oldest_seconds: Option<u64>,
    /// Messages published to it in a second, over the last minute.
    pub published_per_second: f64,
    /// Messages that ended in a second, over the last minute.
    pub ended_per_second: f64,
}

/// An upload as `GET /events` tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadNow {
    /// Its id.
    pub id: Uuid,
    /// The file's name as sent.
    pub filename: String,
    /// How far it is.
    pub status: UploadStatus,
    /// Whether nothing of it is handed out.
    #[serde(default)]
    pub paused: bool,
    /// The numbers.
    pub counts: Counts,
}
