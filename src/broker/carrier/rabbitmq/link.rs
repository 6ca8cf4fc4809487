//! A connection that comes back.
//!
//! The client's own recovery would reopen channels under the same handle, with delivery tags that
//! begin anew: a tag of the lost connection would settle another delivery. So a lost connection stays
//! lost, with its channels and what was taken on them; the next who needs one makes the next
//! *generation*, and all who wait meanwhile wait for the same attempt.
//!
//! Of a cluster several addresses are known. A link begins at any of them, so that processes spread
//! over the servers, and goes on to the next whenever one is lost or does not answer.

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

/// Where the servers are, and the connection to one of them, if there is one now.
#[derive(Debug)]
pub(super) struct Link {
    addresses: Vec<AMQPUri>,
    name: &'static str,
    limits: RabbitLimits,
    live: Mutex<Live>,
    frame: AtomicUsize,
}

#[derive(Debug, Default)]
struct Live {
    generation: u64,
    connection: Option<Arc<Connection>>,
    /// Which address is the one to try.
    at: usize,
}

impl Link {
    /// `name` is what the servers' operators see.
    pub(super) fn new(addresses: &[AMQPUri], name: &'static str, limits: &RabbitLimits) -> Self {
        let mut addresses = addresses.to_vec();
        let seconds = limits.heartbeat.as_secs().max(1);
        for address in &mut addresses {
            address.query.heartbeat.get_or_insert(u16::try_from(seconds).unwrap_or(u16::MAX));
        }
        let at = fastrand::usize(..addresses.len().max(1));
        Self {
            addresses,
            name,
            limits: limits.clone(),
            live: Mutex::new(Live { at, ..Live::default() }),
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
        if let Some(connection) = &live.connection
            && connection.status().connected()
        {
            return Ok((live.generation, Arc::clone(connection)));
        }
        // The server that a connection was lost with is tried last.
        if live.connection.take().is_some() {
            live.at += 1;
        }
        let address = self.addresses.get(live.at % self.addresses.len().max(1));
        let address = address.cloned().unwrap_or_default();
        let at = format!("{}:{}", address.authority.host, address.authority.port);
        let properties = ConnectionProperties::default().with_connection_name(self.name.into());
        let connecting = Connection::connect_uri(address, properties);
        let made = match within(self.limits.connect_wait, connecting).await {
            Ok(made) => Arc::new(made),
            Err(trouble) => {
                tracing::debug!(connection = self.name, at, %trouble, "not connected");
                live.at += 1;
                return Err(trouble);
            }
        };
        let frame = usize::try_from(made.configuration().frame_max());
        self.frame.store(frame.unwrap_or(FRAME_BYTES), Ordering::Relaxed);
        live.generation += 1;
        if live.generation > 1 {
            let generation = live.generation;
            tracing::info!(connection = self.name, generation, at, "connected to RabbitMQ anew");
        }
        live.connection = Some(Arc::clone(&made));
        Ok((live.generation, made))
    }

    /// The largest frame, in bytes, of the connection there was last.
    pub(super) fn frame_bytes(&self) -> usize {
        self.frame.load(Ordering::Relaxed)
    }

    /// Takes leave of the server.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.live.lock().await.connection.take() {
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
