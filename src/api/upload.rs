//! Uploads.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Problem;
use super::result::State;

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UploadStatus {
    /// Being read and published.
    Ingesting,
    /// Published whole; its messages are being worked off.
    Published,
    /// Every message has its outcome.
    Ended,
    /// A fault of the file ended its ingestion; nothing of it was published.
    Failed,
    /// Withdrawn.
    Cancelled,
}

impl UploadStatus {
    /// Whether it can change no more by itself.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Failed | Self::Cancelled)
    }
}

/// An upload: `GET /uploads/{id}`, and what `POST /file/upload` answers for each file it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Upload {
    /// Its id.
    pub id: Uuid,
    /// The file's name as sent.
    pub filename: String,
    /// How far it is.
    pub status: UploadStatus,
    /// The upload that it corrects: its rows are rows of that, under the numbers that they have there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<Uuid>,
    /// The uploads that correct it, oldest first, ten at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrected_by: Vec<Uuid>,
    /// The topic its rows go to.
    pub topic: String,
    /// The file's size in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in hex.
    pub content_hash: String,
    /// The numbers.
    pub counts: Counts,
    /// How fast it goes; of one that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// Said of one of which nothing is handed out, until it is resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Past how many failures it pauses by itself: `5%` of what has ended, or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after_failures: Option<String>,
    /// Whether its end was told, if it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookState>,
    /// The times.
    pub timings: Timings,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Said of a file sent with `dedupe=true` that was taken before: this is its first upload.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_before: bool,
    /// Where more is.
    pub links: Links,
}

/// The numbers of an upload. `read = published + unrouted + rejected + duplicates` once all is read; each
/// published row is one copy a queue that takes it, and `copies = waiting + in_flight + done + dead
/// + expired + cancelled`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Counts {
    /// Rows read.
    pub read: u64,
    /// Rows that some queue takes.
    pub published: u64,
    /// Rows that became no message.
    pub rejected: u64,
    /// Rows that are duplicates of others, by their key, and so no messages; of a correction, also rows
    /// that need none any more.
    #[serde(default)]
    pub duplicates: u64,
    /// Rows that no queue takes.
    pub unrouted: u64,
    /// Blank rows passed over; known at the end of the file.
    pub blank: u64,
    /// Warnings; known at the end of the file.
    pub warnings: u64,
    /// Messages, one a published row and queue.
    pub copies: u64,
    /// Waiting for a delivery.
    pub waiting: u64,
    /// In consumers' hands.
    pub in_flight: u64,
    /// Acked.
    pub done: u64,
    /// Rejected, or out of attempts.
    pub dead: u64,
    /// Not delivered in time.
    pub expired: u64,
    /// Withdrawn before delivery.
    pub cancelled: u64,
}

/// How fast an upload goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Pace {
    /// Messages done or dead in the last minute, or since it was received, per second.
    pub per_second: f64,
    /// How long the rest takes at that pace; nothing while it is paused, or nothing moves.
    pub seconds_left: Option<u64>,
    /// Whether all rows are counted. Until then there may be more, and the time left is an estimate
    /// of the least.
    pub exact: bool,
}

// Numbers that are computed here are never NaN.
impl Eq for Pace {}

/// That nothing of an upload is handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Paused {
    /// Since when, RFC 3339 in UTC.
    pub at: String,
    /// Why it paused by itself; nothing when somebody paused it.
    pub reason: Option<String>,
}

/// How far a webhook is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookStatus {
    /// It waits for the upload's end, or for its next try.
    Waiting,
    /// It was taken with a 2xx.
    Delivered,
    /// It was not taken, and is tried no more.
    GivenUp,
}

/// Whom the end of an upload is told, and how far that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WebhookState {
    /// Where to: without path and query, which may be a secret.
    pub host: String,
    /// How far it is.
    pub status: WebhookStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was last tried, RFC 3339 in UTC.
    pub last_attempt_at: Option<String>,
    /// The status of the last answer.
    pub last_status: Option<u16>,
    /// What went wrong at the last try.
    pub last_error: Option<String>,
}

/// The times of an upload, RFC 3339 in UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Timings {
    /// When the file had been received and accepted.
    pub received_at: String,
    /// When the last row was published and all were let go.
    pub published_at: Option<String>,
    /// When the last message ended.
    pub ended_at: Option<String>,
}

/// Where more of an upload is, as paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Links {
    /// The upload.
    #[serde(rename = "self")]
    pub this: String,
    /// Its progress as events.
    pub events: String,
    /// Its rows.
    pub rows: String,
    /// Rejected rows and warnings.
    pub rejects: String,
    /// The file once more, with what became of its rows; `.csv` and `.ndjson` are there too.
    #[serde(default)]
    pub results: String,
    /// The rows that were rejected or are dead, to be corrected.
    #[serde(default)]
    pub failures: String,
}

/// A file of results that is being written: `GET /uploads/{id}/results.xlsx` and its like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Building {
    /// How far it is.
    pub state: BuildState,
    /// Rows that have been passed.
    pub rows_done: u64,
    /// Rows that there are, as far as is known.
    pub rows_total: u64,
}

/// How far the writing of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// Under way, or waiting for others that are.
    Building,
}

impl Links {
    /// The links of an upload.
    pub fn of(id: Uuid) -> Self {
        let this = format!("/uploads/{id}");
        Self {
            events: format!("{this}/events"),
            rows: format!("{this}/rows"),
            rejects: format!("{this}/rejects"),
            results: format!("{this}/results.xlsx"),
            failures: format!("{this}/failures.xlsx"),
            this,
        }
    }
}

/// What became of one file of `POST /file/upload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum UploadAnswer {
    /// Taken (with `?wait=true`: published whole).
    Taken(Box<Upload>),
    /// Refused.
    Refused(Box<Problem>),
}

/// A row of an upload: `GET /uploads/{id}/rows`.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Row {
    /// The sheet's name; a csv file has none.
    pub sheet: Option<String>,
    /// The row in it.
    pub row: u32,
    /// The message in each queue that takes it.
    pub messages: Vec<RowCopy>,
    /// The row.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
}

/// A row's message in one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RowCopy {
    /// The message's id.
    pub id: String,
    /// The queue's name.
    pub queue: String,
    /// Where it is: an end, or [`State::Waiting`] for all that has not ended.
    pub state: State,
}

/// A rejected row or a warning: `GET /uploads/{id}/rejects`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    /// Whether the row was rejected; else it is a warning.
    pub rejected: bool,
    /// Where, such as `Orders!C17`.
    pub address: String,
    /// The sheet.
    pub sheet: Option<String>,
    /// The row.
    pub row: Option<u32>,
    /// The column, such as `C`.
    pub column: Option<String>,
    /// What.
    pub detail: String,
}
