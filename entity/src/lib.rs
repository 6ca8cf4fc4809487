//! SeaORM entities of rowmill's control tables, one file a table. Times are milliseconds since 1970
//! (UTC). The log of messages has no entities: it is read and written in ranges, by `store::log`.

pub mod api_key;
pub mod queue;
pub mod setting;
pub mod topic;
pub mod topic_rules;
pub mod upload;
pub mod webhook;
