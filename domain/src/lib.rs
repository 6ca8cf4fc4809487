//! Plain types and rules that every layer shares: names, places in a sheet, messages, outcomes,
//! back-off. No I/O, no clock, no database: what needs the time or a limit is given it.

pub mod api_key;
pub mod failures;
pub mod filter;
pub mod message;
pub mod name;
pub mod number;
pub mod place;
pub mod problem;
pub mod retry;
mod row;
pub mod scope;
pub mod units;

pub use api_key::{ApiKey, KeyHash, KeySecret};
pub use failures::FailureLimit;
pub use filter::Filters;
pub use message::{
    Attempt, Delivery, Depth, Lease, Message, MessageId, MessageKey, MessageState, Origin,
    QueueStats, Receipt, Settled, Settlement, Verdict,
};
pub use name::{QueueName, TopicName};
pub use number::{FIRST_ROW_NUMBER, NoNumber, RowOfUpload};
pub use place::{Address, ColumnNumber, Finding, FindingKind, RowNumber};
pub use problem::{Problem, ProblemKind};
pub use retry::RetryPolicy;
pub use row::Row;
pub use scope::{Scope, Scopes};
