//! Requests that are answered before their body was read to its end.
//!
//! A server that answers and closes while the client still sends makes the client's machine throw
//! the answer away: the client sees a reset, not what was wrong. So what is still coming is read and
//! dropped in the background for a while, until the client has seen the answer and stops.

use std::time::Duration;

use axum::body::BodyDataStream;
use axum::http::{HeaderMap, header};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::http::HttpLimits;

/// Whether the client waits for a word before it sends its body. Looking at the body would be that
/// word, so of a request that is refused at once it must not be looked at.
pub(in crate::http) fn waits_for_word(headers: &HeaderMap) -> bool {
    headers
        .get(header::EXPECT)
        .is_some_and(|expects| expects.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// How much of such a body is read, and for how long.
#[derive(Debug, Clone)]
pub(in crate::http) struct Linger {
    bytes: u64,
    time: Duration,
    stop: CancellationToken,
}

impl Linger {
    pub(in crate::http) fn new(limits: &HttpLimits, stop: CancellationToken) -> Self {
        Self { bytes: limits.linger_bytes, time: limits.linger_time, stop }
    }
}

/// Reads what is left of a body in the background, up to the bounds.
pub(in crate::http) fn linger(mut body: BodyDataStream, bounds: Linger) {
    let Linger { bytes: most, time, stop } = bounds;
    tokio::spawn(async move {
        let read = async {
            let mut bytes = 0;
            while let Some(Ok(piece)) = body.next().await {
                bytes += piece.len() as u64;
                if bytes > most {
                    break;
                }
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(time, read) => {}
            () = stop.cancelled() => {}
        }
    });
}
