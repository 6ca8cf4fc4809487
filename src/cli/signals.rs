//! Ctrl-C and SIGTERM, as the two steps of a graceful stop.

use tokio::signal::unix::{SignalKind, signal};

use crate::telemetry::LogFormat;
use crate::worker::Stop;

/// Waits for signals, for as long as it runs: the first one stops taking work and lets what runs
/// finish within its grace period; the second ends that at once. Ctrl-C and SIGTERM count alike.
pub(super) async fn listen(stop: Stop, voice: LogFormat) {
    let streams = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = streams else {
        tracing::warn!("signals cannot be listened to: a stop will not be graceful");
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.drain.is_cancelled() {
            stop.now.cancel();
        } else {
            voice.say("stopping; what runs may finish (once more: at once)");
            stop.drain.cancel();
        }
    }
}
