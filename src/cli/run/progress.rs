//! How far a run is, for a person: bars on a terminal, nothing where there is none.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::domain::Settled;
use crate::ingest::Progress;
use crate::store::log::Counts;
use crate::worker::Observer;

/// How often the bars are drawn.
const TICK: Duration = Duration::from_millis(100);

/// Counts a run's ends, and says when there are as many as messages.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Messages that can end; 0 while there is nothing to count.
    total: AtomicU64,
    done: AtomicU64,
    /// Dead, expired or cancelled.
    dead: AtomicU64,
    /// A receipt came too late, or the answer to a settle was lost: what is recorded must be asked.
    doubt: AtomicBool,
    pub(super) finished: CancellationToken,
}

impl Tally {
    /// A tally of `total` messages, of which some have ended already.
    pub(super) fn new(total: u64, counts: Counts) -> Self {
        let tally = Self { total: total.into(), ..Self::default() };
        tally.correct(counts);
        tally
    }

    /// Takes what is recorded for the truth. A settle that is counted at the same moment may be
    /// missing then, or be there twice, so whoever ends by this tally counts once more.
    pub(super) fn correct(&self, counts: Counts) {
        self.done.store(counts.done, Ordering::SeqCst);
        self.dead.store(counts.ended() - counts.done, Ordering::SeqCst);
        self.check();
    }

    fn check(&self) {
        let (done, dead) = (self.done.load(Ordering::SeqCst), self.dead.load(Ordering::SeqCst));
        if done + dead >= self.total.load(Ordering::SeqCst) {
            self.finished.cancel();
        }
    }

    /// Whether what is counted here may differ from what is recorded; asking ends the doubt.
    pub(super) fn doubts(&self) -> bool {
        self.doubt.swap(false, Ordering::SeqCst)
    }

    /// Counts what a settle, or a sweep, ended.
    pub(super) fn add(&self, settled: &Settled) {
        self.done.fetch_add(u64::from(settled.done), Ordering::SeqCst);
        self.dead.fetch_add(u64::from(settled.dead), Ordering::SeqCst);
        if !settled.stale.is_empty() {
            self.doubt.store(true, Ordering::SeqCst);
        }
        self.check();
    }
}

impl Observer for Tally {
    fn settled(&self, settled: &Settled) {
        self.add(settled);
    }
}

/// The bars; gone when dropped.
#[derive(Debug)]
pub(super) struct Bars {
    bars: Option<MultiProgress>,
    _ticker: Option<AbortOnDropHandle<()>>,
}

impl Bars {
    /// Draws on stderr until dropped, if that is a terminal and `wanted`.
    pub(super) fn draw(
        wanted: bool,
        progress: &Arc<Progress>,
        tally: watch::Receiver<Arc<Tally>>,
    ) -> Self {
        let target = ProgressDrawTarget::stderr();
        if !wanted || target.is_hidden() {
            return Self { bars: None, _ticker: None };
        }
        let bars = MultiProgress::with_draw_target(target);
        let rows = Rows {
            read: line(&bars, "read", COUNT),
            published: line(&bars, "published", COUNT),
            done: line(&bars, "done", SHARE),
            dead: line(&bars, "dead", COUNT),
        };
        let progress = Arc::clone(progress);
        let ticker = tokio::spawn(async move {
            let mut tick = tokio::time::interval(TICK);
            loop {
                tick.tick().await;
                let tally = Arc::clone(&tally.borrow());
                rows.show(&progress, &tally);
            }
        });
        Self { bars: Some(bars), _ticker: Some(AbortOnDropHandle::new(ticker)) }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some(bars) = &self.bars {
            // A terminal that is gone needs no clearing.
            let _ = bars.clear();
        }
    }
}

const COUNT: &str = "{prefix:>9} {human_pos:>12}   {per_sec}";
const SHARE: &str =
    "{prefix:>9} {human_pos:>12}   {per_sec}  {wide_bar} {percent:>3} %  {eta} left";

fn line(bars: &MultiProgress, name: &'static str, template: &str) -> ProgressBar {
    // The templates are constants; one that did not parse would show the plain style instead.
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn Write| {
        // A terminal that takes no more is noticed by whoever draws.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    };
    let style = style.with_key("rate", rate);
    bars.add(ProgressBar::no_length().with_style(style).with_prefix(name))
}

struct Rows {
    read: ProgressBar,
    published: ProgressBar,
    done: ProgressBar,
    dead: ProgressBar,
}

impl Rows {
    fn show(&self, progress: &Progress, tally: &Tally) {
        let (done, dead) = (tally.done.load(Ordering::Relaxed), tally.dead.load(Ordering::Relaxed));
        let total = tally.total.load(Ordering::Relaxed);
        self.read.set_position(progress.read.load(Ordering::Relaxed));
        self.published.set_position(progress.published.load(Ordering::Relaxed));
        if total > 0 && self.done.length() != Some(total.saturating_sub(dead)) {
            // The time so far was spent reading; the rate of the work is counted from here.
            if self.done.length().is_none() {
                self.done.reset();
                self.done.set_position(done);
                self.done.reset_eta();
            }
            self.done.set_length(total.saturating_sub(dead));
        }
        self.done.set_position(done);
        self.dead.set_position(dead);
    }
}
