//! A line a file: first the bytes sent, then the rows published, then the messages that ended.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::api::{Upload, UploadStatus};

/// How often the bytes are drawn.
const TICK: Duration = Duration::from_millis(100);

const SENDING: &str = "{prefix:24!} {wide_bar} {bytes:>10} of {total_bytes}  {bytes_per_sec} sent";
const READING: &str = "{prefix:24!} {human_pos:>12} rows published   {per_sec}";
const WORKING: &str = "{prefix:24!} {wide_bar} {human_pos:>10} of {human_len} ended  {msg}";

/// All lines; gone when dropped.
#[derive(Debug)]
pub(super) struct Bars(MultiProgress);

/// One file's line.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bars {
    /// Draws on stderr until dropped, if that is a terminal and `wanted`.
    pub(super) fn draw(wanted: bool) -> Self {
        let target =
            if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self(MultiProgress::with_draw_target(target))
    }

    /// A line for a file that is about to be sent.
    pub(super) fn add(&self, name: &str) -> Bar {
        let bar = self.0.add(ProgressBar::no_length());
        bar.set_prefix(name.to_owned());
        Bar(bar)
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // A terminal that is gone needs no clearing.
        let _ = self.0.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; one that did not parse would show the plain style instead.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Bar {
    /// Shows the bytes as they go, until dropped.
    pub(super) async fn sending(&self, sent: &AtomicU64, total: u64) -> Infallible {
        self.0.set_style(style(SENDING));
        self.0.set_length(total);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            self.0.set_position(sent.load(Ordering::Relaxed));
        }
    }

    /// Shows an upload as it stands.
    pub(super) fn show(&self, upload: &Upload) {
        let counts = &upload.counts;
        if upload.status == UploadStatus::Ingesting {
            self.0.set_style(style(READING));
            self.0.set_position(counts.published + counts.unrouted);
            return;
        }
        self.0.set_style(style(WORKING));
        self.0.set_length(counts.copies);
        self.0.set_position(counts.done + counts.dead + counts.expired + counts.cancelled);
        self.0.set_message(format!("{} dead", counts.dead));
    }
}
