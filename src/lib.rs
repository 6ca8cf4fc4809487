//! rowmill: a spreadsheet goes in, every row becomes a durable message, workers process the
//! messages concurrently, and the spreadsheet comes back with results.

pub mod api;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub use rowmill_domain as domain;
pub mod export;
pub mod http;
pub mod ingest;
pub use rowmill_store as store;
pub mod telemetry;
pub use rowmill_workbook as workbook;
pub mod worker;
