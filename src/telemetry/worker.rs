//! A worker's numbers, counted as an [`Observer`] of it.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::exposition::handler_seconds;
use crate::domain::{Settled, Verdict};
use crate::worker::Observer;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handled {
    handler: &'static str,
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct End {
    verdict: &'static str,
}

/// The numbers of one worker.
#[derive(Debug)]
pub struct WorkerMetrics {
    handler: &'static str,
    seconds: Family<Handled, Histogram, fn() -> Histogram>,
    received: Counter,
    settled: Family<End, Counter>,
    in_hand: Gauge,
    running: Gauge,
}

impl WorkerMetrics {
    /// Counts a worker whose handler is of this kind (`exec`, `http`, `sleep`).
    pub fn new(handler: &'static str, registry: &mut Registry) -> Self {
        let metrics = Self {
            handler,
            seconds: Family::new_with_constructor(handler_seconds),
            received: Counter::default(),
            settled: Family::default(),
            in_hand: Gauge::default(),
            running: Gauge::default(),
        };
        registry.register_with_unit(
            "handler_duration",
            "How long handlers took, by what they said of their message",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "worker_received_messages",
            "Messages received",
            metrics.received.clone(),
        );
        registry.register(
            "worker_settled_messages",
            "Messages settled: done, dead, to come again, or too late to count (stale)",
            metrics.settled.clone(),
        );
        registry.register(
            "worker_in_hand_messages",
            "Messages received that have no verdict yet",
            metrics.in_hand.clone(),
        );
        registry.register("worker_running_handlers", "Handlers at work", metrics.running.clone());
        metrics
    }

    fn left_hand(&self) {
        self.in_hand.dec();
    }
}

impl Observer for WorkerMetrics {
    fn received(&self, messages: usize) {
        let messages = messages as u64;
        self.received.inc_by(messages);
        self.in_hand.inc_by(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    fn started(&self) {
        self.running.inc();
    }

    fn handled(&self, verdict: &Verdict, took: Duration) {
        let verdict = match verdict {
            Verdict::Done { .. } => "done",
            Verdict::Retry { .. } => "retry",
            Verdict::Reject { .. } => "reject",
            Verdict::Release => "release",
        };
        let labels = Handled { handler: self.handler, verdict };
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.running.dec();
        self.left_hand();
    }

    fn not_started(&self) {
        self.left_hand();
    }

    fn settled(&self, settled: &Settled) {
        for (verdict, n) in [
            ("done", u64::from(settled.done)),
            ("dead", u64::from(settled.dead)),
            ("again", u64::from(settled.again)),
            ("stale", settled.stale.len() as u64),
        ] {
            if n > 0 {
                self.settled.get_or_create(&End { verdict }).inc_by(n);
            }
        }
    }
}
