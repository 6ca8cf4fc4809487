//! A connection that comes back.
//!
//! The client's own recovery would reopen channels under the same handle, with delivery tags that
//! begin anew: a tag of the lost connection would settle another delivery. So a lost connection stays
//! lost, with its channels and what was taken on them; the next who needs one makes the next
//! *generation*, and all who wait meanwhile wait for the same attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::RabbitLimits;
use super::trouble::Trouble;

/// RabbitMQ's own default.
const FRAME_BYTES: usize = 128 << 10;

/// Where the server is, and the connection to it, if there is one now.
#[derive(Debug)]
pub(super) struct Link {
    uri: AMQPUri,
    name: &'static str,
    limits: RabbitLimits,
    live: Mutex<(u64, Option<Arc<Connection>>)>,
    frame: AtomicUsize,
}

impl Link {
    /// `name` is what the server's operators see.
    pub(super) fn new(uri: &AMQPUri, name: &'static str, limits: &RabbitLimits) -> Self {
        let mut uri = uri.clone();
        if uri.query.heartbeat.is_none() {
            let seconds = limits.heartbeat.as_secs().max(1);
            uri.query.heartbeat = Some(u16::try_from(seconds).unwrap_or(u16::MAX));
        }
        Self {
            uri,
            name,
            limits: limits.clone(),
            live: Mutex::default(),
            frame: AtomicUsize::new(FRAME_BYTES),
        }
    }

    /// A new channel, and the generation of its connection, which is made if it is not there. One
    /// attempt: whoever asks knows how patient to be.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn channel(&self) -> Result<(Channel, u64), Trouble> {
        let (generation, connection) = self.connection().await?;
        Ok((within(self.limits.answer_wait, connection.create_channel()).await?, generation))
    }

    async fn connection(&self) -> Result<(u64, Arc<Connection>), Trouble> {
        let mut live = self.live.lock().await;
        let (generation, connection) = &mut *live;
        if let Some(connection) = connection
            && connection.status().connected()
        {
            return Ok((*generation, Arc::clone(connection)));
        }
        *connection = None;
        let properties = ConnectionProperties::default().with_connection_name(self.name.into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        let made = Arc::new(within(self.limits.connect_wait, connecting).await?);
        let frame = usize::try_from(made.configuration().frame_max());
        self.frame.store(frame.unwrap_or(FRAME_BYTES), Ordering::Relaxed);
        *generation += 1;
        if *generation > 1 {
            tracing::info!(connection = self.name, generation, "connected to RabbitMQ anew");
        }
        *connection = Some(Arc::clone(&made));
        Ok((*generation, made))
    }

    /// The largest frame, in bytes, of the connection there was last.
    pub(super) fn frame_bytes(&self) -> usize {
        self.frame.load(Ordering::Relaxed)
    }

    /// Takes leave of the server.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.live.lock().await.1.take() {
            let closing = connection.close(200, ShortString::default());
            if let Err(trouble) = within(self.limits.connect_wait, closing).await {
                tracing::debug!(%trouble, connection = self.name, "closed without an answer");
            }
        }
    }
}

/// What the server answers, if it does so in time.
pub(super) async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Trouble> {
    match timeout(limit, asked).await {
        Ok(answer) => answer.map_err(Trouble::from),
        Err(_) => Err(Trouble::Silent(limit)),
    }
}
