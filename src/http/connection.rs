//! Connections: how many, how fast their requests must come, and their end when the server stops.
//!
//! A connection that becomes a socket leaves HTTP, but not its count: what it holds goes with its
//! stream, not with the task that spoke HTTP on it.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::SafetyLimits;

/// How long to wait after a connection could not be taken for want of descriptors or memory.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes that are read from a connection at a time at most.
const READ_BYTES: usize = 256 << 10;
/// Headers that are read without taking memory for them.
const HEADERS_FOR_FREE: usize = 100;

/// Where a connection keeps what it holds for as long as it lives. An extension of every request.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Slot {
    /// Keeps a permit.
    pub(super) fn hold(&self, permit: OwnedSemaphorePermit) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }
}

/// A connection's stream, with what goes when it goes.
struct Stream {
    stream: TcpStream,
    _counted: OwnedSemaphorePermit,
    _slot: Slot,
}

/// Serves connections until told to stop, and then until the last has had its answers.
///
/// Cancellation safety: dropped, it takes no more connections; those it has go on.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: &SafetyLimits,
    drain: &CancellationToken,
) {
    let http = builder(limits);
    let room = Semaphore::new(limits.connections_at_once.min(Semaphore::MAX_PERMITS));
    let room = Arc::new(room);
    let tasks = TaskTracker::new();
    loop {
        let accepted = async {
            // Counted before it is taken: what waits, waits in the system's own line.
            let counted = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((accept(&listener).await, counted))
        };
        let (stream, counted) = tokio::select! {
            biased;
            () = drain.cancelled() => break,
            Some(accepted) = accepted => accepted,
            else => break,
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays without TCP_NODELAY");
        }
        let slot = Slot::default();
        let requests =
            Requests { routes: TowerToHyperService::new(routes.clone()), slot: slot.clone() };
        let stream = TokioIo::new(Stream { stream, _counted: counted, _slot: slot });
        let connection = http.serve_connection(stream, requests).with_upgrades();
        let drain = drain.clone();
        tasks.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = drain.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection failed");
            }
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

fn builder(limits: &SafetyLimits) -> http1::Builder {
    // A head that is a little too large is refused with a word, by `bounds`; one that is far too
    // large by the parser, with none.
    let head_bytes = limits.head_bytes.saturating_mul(2);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_wait)
        .max_header_size(head_bytes)
        .max_buf_size(READ_BYTES.max(head_bytes));
    let headers = limits.headers.saturating_mul(2);
    if headers > HEADERS_FOR_FREE {
        http.max_headers(headers);
    }
    http
}

/// The next connection. One that failed before it was taken is nobody's concern; that none can be
/// taken for the moment is waited out.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_one(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be taken; trying again");
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// The routes, as one connection asks them.
struct Requests {
    routes: TowerToHyperService<Router>,
    slot: Slot,
}

impl Service<Request<Incoming>> for Requests {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.slot.clone());
        self.routes.call(request)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::WebSocketUpgrade;
    use axum::routing::any;
    use futures::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_tungstenite::tungstenite::Message;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn echo(upgrade: WebSocketUpgrade) -> axum::response::Response {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.next().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        })
    }

    async fn asks(address: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn a_socket_is_a_connection_until_it_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let limits = SafetyLimits { connections_at_once: 1, ..SafetyLimits::default() };
        let drain = CancellationToken::new();
        let (routes, stop) = (Router::new().route("/ws", any(echo)), drain.clone());
        let serving = tokio::spawn(async move { serve(listener, routes, &limits, &stop).await });

        let url = format!("ws://{address}/ws");
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket.send(Message::text("one")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("one"));
        let mut second = asks(&address).await;
        let mut answer = String::new();
        let early = second.read_to_string(&mut answer);
        assert!(tokio::time::timeout(Duration::from_millis(200), early).await.is_err());
        socket.send(Message::text("two")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("two"));
        drop(socket);
        let answered = second.read_to_string(&mut answer);
        tokio::time::timeout(PATIENCE, answered).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        drain.cancel();
        tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
    }
}
