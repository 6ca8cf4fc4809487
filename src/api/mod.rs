//! The words of the HTTP API: what is sent and answered, shared by the server and the client.
//!
//! Times are RFC 3339 text in UTC, durations are seconds. Requests refuse fields they do not know;
//! answers may grow new ones, which a client passes over.

mod live;
mod message;
pub(crate) mod object;
mod one;
mod preview;
mod problem;
mod queue;
mod receipt;
mod result;
mod rules;
mod session;
mod upload;
mod whole;
mod worker;

pub use live::{Pushed, QueueNow, SettledAs, UploadNow};
pub use message::{
    Accepted, Ack, Copy, Delivery, Extend, Extended, Nack, NewMessage, Publish, Published, Reject,
    STALE_RECEIPTS, Settle, Settled, UNSUPPORTED,
};
pub use one::{AckOne, ExtendOne, ExtendedOne, Message, MessageState, NackOne, RejectOne};
pub use preview::{
    CellKind, ColumnPreview, DateOrder, Disagreeing, Duplicates, Estimate, FirstRow, HeaderBecause,
    ListedSheet, Preview, PreviewAnswer, PreviewCounts, SheetPreview, TextDates, Twin,
};
pub use problem::Problem;
pub use queue::{
    NewQueue, NewRetryBackoff, NewTopic, Queue, QueueStats, QueueTerms, Redrive, RetryBackoff,
    Topic,
};
pub use receipt::{BadReceipt, Receipt};
pub use result::{Outcome, State};
pub use rules::{CellType, ColumnRule, OtherColumns, Rules, TopicTerms};
pub use session::{NewSession, Session};
pub use upload::{
    BuildState, Building, Counts, Finding, Links, Pace, Paused, Row, RowCopy, Timings, Upload,
    UploadAnswer, UploadStatus, WebhookState, WebhookStatus,
};
pub use worker::{WORKER_HEADER, WorkerSeen};

use serde::{Deserialize, Serialize};

/// An answer of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Data<T> {
    /// They.
    pub data: Vec<T>,
}

/// One page of many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// What is on it.
    pub data: Vec<T>,
    /// What to say as `after` for the next page; nothing after the last.
    pub next: Option<String>,
}
