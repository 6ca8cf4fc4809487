//! back-off. No I/O, no clock, no database: what needs the time or a limit is given it.

pub mod name;
pub mod place;
pub mod problem;

pub use name::{QueueName, TopicName};
pub use place::{Address, ColumnNumber, Finding, FindingKind, RowNumber};
pub use problem::{Problem, ProblemKind};
