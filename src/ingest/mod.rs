//! Upload to messages: the reader's process, and what becomes of its rows.

pub mod reader;
