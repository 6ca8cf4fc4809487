//! The line to one client: frames out, each within a time, and frames in.
//!
//! Whoever does not take what is written within [`WsLimits::write`](super::WsLimits::write) is taken
//! to be gone.

use std::future::Future;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use futures::{SinkExt, StreamExt};
use tokio::time::timeout;

use crate::api::Pushed;

/// How long a client may take to answer a close frame.
const GOODBYE: Duration = Duration::from_secs(1);
/// Bytes of the reason in a close frame (RFC 6455, 5.5.1).
const REASON_BYTES: usize = 123;

/// Why it is over.
#[derive(Debug)]
pub(super) enum End {
    /// The client closed, or is gone.
    Gone,
    /// We close: a code of RFC 6455, and words for a person.
    Close(u16, String),
}

impl End {
    pub(super) fn close(code: u16, reason: impl Into<String>) -> Self {
        Self::Close(code, reason.into())
    }
}

/// A socket, and how long a write to it may take.
pub(super) struct Line {
    socket: WebSocket,
    write: Duration,
}

impl Line {
    pub(super) fn new(socket: WebSocket, write: Duration) -> Self {
        Self { socket, write }
    }

    /// The next frame; `None` when the client has closed. Nothing is lost when it is dropped.
    pub(super) async fn next(&mut self) -> Option<Result<Message, axum::Error>> {
        self.socket.next().await
    }

    /// Writes frames, if there are any, and sees them off.
    pub(super) async fn send(&mut self, frames: Vec<Pushed>) -> Result<(), End> {
        if frames.is_empty() {
            return Ok(());
        }
        for frame in &frames {
            self.feed(frame).await?;
        }
        self.flush().await
    }

    /// Writes a frame, which leaves with the next [`Self::flush`] at the latest.
    pub(super) async fn feed(&mut self, frame: &Pushed) -> Result<(), End> {
        let text = serde_json::to_string(frame)
            .map_err(|error| End::close(close_code::ERROR, error.to_string()))?;
        self.write(Message::Text(text.into())).await
    }

    pub(super) async fn flush(&mut self) -> Result<(), End> {
        in_time(self.write, self.socket.flush()).await
    }

    pub(super) async fn ping(&mut self) -> Result<(), End> {
        self.write(Message::Ping(bytes::Bytes::new())).await?;
        self.flush().await
    }

    /// Says that it is over, and why.
    pub(super) async fn close(&mut self, code: u16, reason: &str) {
        let reason = Utf8Bytes::from(&reason[..reason.floor_char_boundary(REASON_BYTES)]);
        let frame = Message::Close(Some(CloseFrame { code, reason }));
        if self.write(frame).await.is_ok() && self.flush().await.is_ok() {
            // Its answer, so that what was sent last is not lost in a reset.
            let answer = async { while let Some(Ok(_)) = self.socket.next().await {} };
            let _ = timeout(GOODBYE, answer).await;
        }
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        in_time(self.write, self.socket.feed(message)).await
    }
}

/// A write that fails, or takes too long, is to a client that is gone.
async fn in_time<E>(most: Duration, write: impl Future<Output = Result<(), E>>) -> Result<(), End> {
    match timeout(most, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Gone),
    }
}
