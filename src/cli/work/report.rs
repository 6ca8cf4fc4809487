//! What a worker does, for a person: a line while it works, a summary at the end.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;
use tokio_util::task::AbortOnDropHandle;

use crate::domain::{QueueName, Settled};
use crate::worker::{Observer, Summary};

/// How often the line is drawn.
const TICK: Duration = Duration::from_secs(1);

/// Counts what was settled.
#[derive(Debug, Default)]
pub(super) struct Tally {
    done: AtomicU64,
    dead: AtomicU64,
    again: AtomicU64,
}

impl Observer for Tally {
    fn settled(&self, settled: &Settled) {
        self.done.fetch_add(u64::from(settled.done), Ordering::Relaxed);
        self.dead.fetch_add(u64::from(settled.dead), Ordering::Relaxed);
        self.again.fetch_add(u64::from(settled.again), Ordering::Relaxed);
    }
}

/// A line of progress, drawn until it is dropped.
#[derive(Debug)]
pub(super) struct Line {
    line: ProgressBar,
    _ticker: AbortOnDropHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}

/// Draws the tally every second on stderr, if that is a terminal.
pub(super) fn draw(tally: &Arc<Tally>) -> Option<Line> {
    let target = ProgressDrawTarget::stderr();
    if target.is_hidden() {
        return None;
    }
    let line = ProgressBar::with_draw_target(None, target).with_style(
        indicatif::ProgressStyle::with_template("{msg}").unwrap_or_else(|_| {
            // The template is a constant; were it not to parse, the plain style would do.
            indicatif::ProgressStyle::default_spinner()
        }),
    );
    let (tally, shown) = (Arc::clone(tally), line.clone());
    let ticker = tokio::spawn(async move {
        let mut tick = tokio::time::interval(TICK);
        let mut before = 0;
        loop {
            tick.tick().await;
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let (done, dead, again) = (count(&tally.done), count(&tally.dead), count(&tally.again));
            // Once a second, so what came since is the rate.
            let rate = done + dead - before;
            before = done + dead;
            shown.set_message(format!("{done} done, {dead} dead, {again} again   {rate}/s"));
        }
    });
    Some(Line { line, _ticker: AbortOnDropHandle::new(ticker) })
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// Nothing more came.
    Ended,
    /// It was told to.
    Stopped,
}

/// What a worker did. Numbers of messages, as in [`Summary`].
#[derive(Debug, Serialize)]
pub(super) struct Report {
    status: Status,
    queue: String,
    received: u64,
    started: u64,
    done: u64,
    dead: u64,
    again: u64,
    released: u64,
    stale: u64,
    skipped: u64,
    unsettled: u64,
    seconds: f64,
    messages_per_second: f64,
}

impl Report {
    pub(super) fn new(
        queue: &QueueName,
        stopped: bool,
        summary: &Summary,
        elapsed: Duration,
    ) -> Self {
        let seconds = elapsed.as_secs_f64();
        // A count of messages is far below what a float holds exactly.
        let ended = (summary.done + summary.dead) as f64;
        Self {
            status: if stopped { Status::Stopped } else { Status::Ended },
            queue: queue.to_string(),
            received: summary.received,
            started: summary.started,
            done: summary.done,
            dead: summary.dead,
            again: summary.again,
            released: summary.released,
            stale: summary.stale,
            skipped: summary.skipped,
            unsettled: summary.unsettled,
            seconds: round(seconds),
            messages_per_second: if seconds > 0.0 { round(ended / seconds) } else { 0.0 },
        }
    }

    pub(super) fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if json {
            serde_json::to_writer(&mut out, self)?;
            return writeln!(out);
        }
        write!(
            out,
            "{}: {} done, {} dead, {} again in {} s ({}/s)",
            self.queue, self.done, self.dead, self.again, self.seconds, self.messages_per_second
        )?;
        for (number, what) in [
            (self.released, "handed back"),
            (self.stale, "too late to be settled"),
            (self.unsettled, "could not be settled and come again"),
        ] {
            if number > 0 {
                write!(out, ", {number} {what}")?;
            }
        }
        writeln!(out)
    }
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
