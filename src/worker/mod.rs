//! The worker: receives messages, runs a handler on each of them concurrently, and settles what
//! became of them.
//!
//! ```text
//! source ─receive─▶ [run] ─pace─▶ a task a message: handler ─verdict─▶ bounded channel ─▶ [settler] ─settle─▶ source
//!                     └──────────── lease book ◀── positions ended ──────────────────────────┘
//!                                      └─▶ [keeper] ─extend─▶ source
//! ```
//!
//! [`run`] holds a permit for every message that it has asked for until the message's verdict has
//! been passed on, so no more than `concurrency` messages are ever in hand without one. The settler
//! joins the verdicts of a few milliseconds into one durable call. The keeper extends the leases
//! whose messages have not ended. Trouble with the source delays all three and ends none of them.
//!
//! `run` knows only the [`Source`](crate::broker::Source) contract: whether the queue is in this
//! process's database or behind HTTP makes no difference to it.

pub mod handler;
mod leases;
mod limits;
mod observer;
mod outage;
mod rate;
mod run;
mod settler;
mod verdict;

pub use handler::{
    AnyHandler, Exec, ExecLimits, Handler, HandlerError, Http, HttpCallLimits, Sleep,
};
pub use limits::{Stop, WorkerLimits};
pub use observer::{NoObserver, Observer};
pub use rate::{BadRate, Rate};
pub use run::{Summary, WorkerError, run};
