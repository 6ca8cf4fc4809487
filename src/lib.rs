//! rowmill: a spreadsheet goes in, every row becomes a durable message, workers process the
//! messages concurrently, and the spreadsheet comes back with results.

pub mod cli;
pub mod domain;
pub mod ingest;
pub mod workbook;
