//! Pausing an upload, and going on with it.
//!
//! Nothing of a paused upload is handed out. What waits for its first delivery is held, as before a
//! file was read to its end: held segments are in none of the indexes that a receive looks through.
//! What comes again on its own is due in [`AWAY`] milliseconds more, behind everything in the one
//! index that has it. So a receive neither knows of pauses nor steps over what is paused. Whoever
//! brings something back meanwhile (a nack, a sweep, a redrive, a batch of a streamed file) sees under
//! a lock that the upload is paused, and puts it there. Dead queues are no part of it: nobody is
//! handed from them what is to be worked off.
//!
//! Time stands still for what is paused: what may expire does so later by as long as it lasted.

use super::types::{LogError, UploadId};
use super::{Dialect, Log};

/// How much later a redelivery of a paused upload is due: longer than there is time, and small enough
/// to be added to it. Statements have it in digits: 4503599627370496.
pub(super) const AWAY: i64 = 1 << 52;

/// Who pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PausedBy<'a> {
    /// Somebody who asked for it.
    Hand,
    /// The upload's own limit of failures: why, and how often it had been steered when that was found.
    Failures {
        /// In words.
        why: &'a str,
        /// [`Watched::steered`].
        steered: i32,
    },
}

impl<'a> PausedBy<'a> {
    /// Why, and how often it must have been steered, if that matters.
    pub(super) fn parts(self) -> (Option<&'a str>, Option<i32>) {
        match self {
            Self::Hand => (None, None),
            Self::Failures { why, steered } => (Some(why), Some(steered)),
        }
    }
}

/// What [`Log::watched_uploads`] asks either database.
pub(super) const WATCHED: &str = "select id, stop_after, steered, stop_from_ended, stop_from_dead from upload \
     where stop_after is not null and paused_at is null \
       and (state='published' or (state='ingesting' and stream)) order by id";

/// An upload that is to stop by itself past a number of failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Which.
    pub upload: UploadId,
    /// Its [`FailureLimit`](rowmill_domain::FailureLimit), as text.
    pub limit: String,
    /// How often it was paused and resumed.
    pub steered: i32,
    /// What of it had ended when it was last resumed.
    pub from_ended: u64,
    /// And was dead.
    pub from_dead: u64,
}

pub(super) type WatchedColumns = (i64, String, i32, i64, i64);

pub(super) fn watched((upload, limit, steered, ended, dead): WatchedColumns) -> Watched {
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Watched {
        upload: UploadId(upload),
        limit,
        steered,
        from_ended: count(ended),
        from_dead: count(dead),
    }
}

#[allow(clippy::missing_errors_doc)] // as for all of the log
impl Log {
    /// Nothing of an upload is handed out until [`Log::resume`]; what is in consumers' hands stays
    /// there. Its file is read on. `false` when it is over, or when whoever watches it saw an earlier
    /// state; `true` also when it was paused before.
    pub async fn pause(&self, upload: UploadId, by: PausedBy<'_>) -> Result<bool, LogError> {
        both!(self, log => log.pause(upload, by).await)
    }

    /// Goes on with a paused upload, in whatever state it is by now. `false` when it was not paused.
    pub async fn resume(&self, upload: UploadId) -> Result<bool, LogError> {
        let ended = self.standing(upload).await?.ended;
        let from = (count(ended.done + ended.dead), count(ended.dead));
        both!(self, log => log.resume(upload, from).await)
    }

    /// Uploads at work that are to stop by themselves, and are not paused.
    pub async fn watched_uploads(&self) -> Result<Vec<Watched>, LogError> {
        both!(self, log => log.watched_uploads().await)
    }
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
