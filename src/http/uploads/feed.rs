//! A request's body as the parser of its parts gets it.
//!
//! That parser takes all that is there whenever it looks, and gathers it until it finds what it looks
//! for. So it is given one piece at a look, and not without end when it finds nothing: a header of
//! gigabytes would otherwise be held whole.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::BodyDataStream;
use bytes::Bytes;
use futures::Stream;

/// Bytes that may come without a header or a piece of a file coming of them.
const HEAD_BYTES: u64 = 64 << 10;

/// Counts what comes.
#[derive(Debug, Default)]
pub(super) struct Meter {
    total: AtomicU64,
    /// Since the parser found something.
    idle: AtomicU64,
}

impl Meter {
    /// Bytes that have come.
    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The parser has found what it looked for, and looks for the next.
    pub(super) fn found(&self) {
        self.idle.store(0, Ordering::Relaxed);
    }
}

/// Why the body cannot be read further.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// The connection broke, or what came is no HTTP.
    #[error("{0}")]
    Body(#[source] axum::Error),
    /// There is more of it than there may be.
    #[error("more than {0} bytes")]
    TooLarge(u64),
    /// A header goes on for too long.
    #[error("no end of a header")]
    NoEnd,
}

/// A body, for the parser.
pub(super) struct Feed<'a> {
    body: &'a mut BodyDataStream,
    meter: Arc<Meter>,
    most: u64,
    /// Whether a piece was given at the last look.
    rest: bool,
}

impl<'a> Feed<'a> {
    /// Of up to `most` bytes.
    pub(super) fn new(body: &'a mut BodyDataStream, meter: Arc<Meter>, most: u64) -> Self {
        Self { body, meter, most, rest: false }
    }
}

impl Stream for Feed<'_> {
    type Item = Result<Bytes, FeedError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rest) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.meter.idle.load(Ordering::Relaxed) > HEAD_BYTES {
            return Poll::Ready(Some(Err(FeedError::NoEnd)));
        }
        let piece = match ready!(Pin::new(&mut *self.body).poll_next(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(FeedError::Body(error)))),
            Some(Ok(piece)) => piece,
        };
        let size = piece.len() as u64;
        self.meter.idle.fetch_add(size, Ordering::Relaxed);
        if self.meter.total.fetch_add(size, Ordering::Relaxed) + size > self.most {
            return Poll::Ready(Some(Err(FeedError::TooLarge(self.most))));
        }
        self.rest = true;
        Poll::Ready(Some(Ok(piece)))
    }
}
