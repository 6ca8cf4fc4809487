//! `--sleep 5s`: does nothing for a while. It stands in for work when trying things out, and shows
//! that concurrency, rate and restarts do what they say.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Handler;
use crate::domain::{Delivery, Verdict};

/// Sleeps, then is done with `{"slept_ms": …}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sleep {
    duration: Duration,
}

impl Sleep {
    /// Sleeps this long on each message.
    pub fn new(duration: Duration) -> Self {
        Self { duration }
    }
}

impl Handler for Sleep {
    async fn handle(&self, _: &Delivery, cancel: CancellationToken) -> Verdict {
        let slept = cancel.run_until_cancelled(tokio::time::sleep(self.duration)).await;
        match slept {
            Some(()) => {
                let output = format!(r#"{{"slept_ms":{}}}"#, self.duration.as_millis());
                Verdict::Done { output: Some(output.into()) }
            }
            None => Verdict::Release,
        }
    }
}
