//! The connections to the server, and patience with it.
//!
//! A few connections are shared by all calls; each answers those that go over it in their order, and
//! nothing that blocks may. A call goes over the one that has the fewest under way, so that there are no
//! more of them than calls at once: the server reads so much of each at a time and flushes once for all
//! that it read, and what it answers on one is taken apart by one task. Those who wait for parcels borrow
//! one each of some others. A connection that broke, or whose server did not answer in time, is left,
//! and the call is made again on a new one, with pauses that grow, until the caller's patience ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex as Lock, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo, Pipeline, RedisError,
    RedisResult, ServerErrorKind, Value,
};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::RedisLimits;
use super::scripts::Call;
use crate::broker::carrier::CarrierError;
use crate::domain::QueueName;

/// The connections to a server.
pub(super) struct Wire {
    client: Client,
    limits: RedisLimits,
    lines: Vec<Line>,
    readers: Semaphore,
    idle: Lock<Vec<MultiplexedConnection>>,
}

/// A place for a connection that calls share.
#[derive(Default)]
struct Line {
    /// Calls that are under way over it, or wait for it to be made.
    calls: AtomicUsize,
    shared: Mutex<Shared>,
}

/// A call that is under way over a line.
struct OnLine<'a>(&'a Line);

impl Drop for OnLine<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connection of a line, and which one of those there were it is.
#[derive(Default)]
struct Shared {
    number: u64,
    connection: Option<MultiplexedConnection>,
    /// Why there is none, as the last try said, and when.
    failed: Option<(RedisError, Instant)>,
}

/// What the server said.
pub(super) struct Answer {
    pub(super) value: Value,
    /// Whether an earlier try may have reached the server, too, and only its answer was lost.
    pub(super) again: bool,
}

/// What is asked of the server in one go.
#[derive(Clone, Copy)]
enum Request<'a> {
    One(&'a Cmd),
    Script(&'a Call<'a>),
    Many(&'a Pipeline),
}

/// Whether the same may work in a moment, on a new connection at the latest.
pub(super) fn is_passing(error: &RedisError) -> bool {
    let kind = matches!(
        error.kind(),
        ErrorKind::Parse
            | ErrorKind::Io
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ReadOnly
            )
    );
    // It cannot write to its disk, has too few copies, no memory, no time: none of it is for ever.
    kind || matches!(error.code(), Some("MISCONF" | "NOREPLICAS" | "OOM" | "BUSY"))
}

/// Whether a transaction was not done, nor any of it.
pub(super) fn is_aborted(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort)
}

/// Whether the connection is of no use any more.
fn broken(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Parse | ErrorKind::Io)
}

/// What an error of a whole connection means to those who use the carrier.
pub(super) fn trouble(error: RedisError) -> CarrierError {
    if is_passing(&error) {
        CarrierError::Outage(Box::new(error))
    } else {
        CarrierError::Failed(Box::new(error))
    }
}

/// What an error means to those who use a queue.
pub(super) fn fault(error: RedisError, queue: &QueueName) -> CarrierError {
    let text = error.to_string();
    // The last is said to who waits on a stream while it is removed.
    if ["NOGROUP", "NODEAD", "UNBLOCKED"].iter().any(|code| text.contains(code)) {
        CarrierError::NoQueue(queue.clone())
    } else {
        trouble(error)
    }
}

impl Wire {
    /// Connects with the patience that the limits say.
    pub(super) async fn connect(url: &str, limits: &RedisLimits) -> RedisResult<Self> {
        let info = url.into_connection_info()?;
        // Else a short message waits for the answer to the one before it.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let wire = Self {
            client: Client::open(info)?,
            limits: limits.clone(),
            lines: (0..limits.connections.max(1)).map(|_| Line::default()).collect(),
            readers: Semaphore::new(limits.readers),
            idle: Lock::default(),
        };
        wire.ask(&redis::cmd("PING")).await?;
        Ok(wire)
    }

    /// A command's answer.
    pub(super) async fn ask(&self, cmd: &Cmd) -> RedisResult<Value> {
        Ok(self.patiently(Request::One(cmd)).await?.value)
    }

    /// A script's answer.
    pub(super) async fn run(&self, call: Call<'_>) -> RedisResult<Answer> {
        self.patiently(Request::Script(&call)).await
    }

    /// The answers to several commands, each of which may be an error; where they are a transaction,
    /// `ExecAbort` when the server would not take them as one.
    pub(super) async fn ask_all(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        match self.patiently(Request::Many(pipeline)).await?.value {
            Value::Array(answers) => Ok(answers),
            _ => Err((ErrorKind::UnexpectedReturnType, "several commands, one answer").into()),
        }
    }

    async fn patiently(&self, request: Request<'_>) -> RedisResult<Answer> {
        let begun = Instant::now();
        let mut pause = self.limits.pause_first;
        let mut again = false;
        loop {
            let error = match self.over_a_line(request).await {
                Ok(value) => return Ok(Answer { value, again }),
                Err((error, sent)) => {
                    again |= sent;
                    error
                }
            };
            if !is_passing(&error) || begun.elapsed() + pause > self.limits.patience {
                return Err(error);
            }
            tracing::debug!(%error, "Redis does not answer: trying again");
            // Those who were cut off together do not all come back at the same moment.
            sleep(pause.mul_f32(0.5 + fastrand::f32())).await;
            pause = (2 * pause).min(self.limits.pause_most);
        }
    }

    /// One try; of an error, whether the server may have heard the request all the same.
    async fn over_a_line(&self, request: Request<'_>) -> Result<Value, (RedisError, bool)> {
        let Some(line) = self.lines.iter().min_by_key(|line| line.calls.load(Ordering::Relaxed))
        else {
            return Err(((ErrorKind::Client, "there are no connections").into(), false));
        };
        line.calls.fetch_add(1, Ordering::Relaxed);
        let _under_way = OnLine(line);
        let (number, mut connection) =
            self.connection(line).await.map_err(|error| (error, false))?;
        match answer(&mut connection, request).await {
            Err(error) if broken(&error) => {
                leave(line, number).await;
                Err((error, true))
            }
            answer => answer.map_err(|error| (error, false)),
        }
    }

    /// The connection of a line; one try to make it, if there is none. Who waited for another's try
    /// takes what came of that: a crowd that tried one after the other would outlast its patience.
    async fn connection(&self, line: &Line) -> RedisResult<(u64, MultiplexedConnection)> {
        let asked = Instant::now();
        let mut shared = line.shared.lock().await;
        if let Some(connection) = &shared.connection {
            return Ok((shared.number, connection.clone()));
        }
        if let Some((error, at)) = &shared.failed
            && *at > asked
        {
            return Err(error.clone());
        }
        match self.open(Some(self.limits.answer)).await {
            Ok(connection) => {
                shared.number += 1;
                shared.connection = Some(connection.clone());
                shared.failed = None;
                Ok((shared.number, connection))
            }
            Err(error) => {
                shared.failed = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    async fn open(&self, answer: Option<Duration>) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.limits.connect))
            .set_response_timeout(answer);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// A command that blocks for `lasting` at most, over a connection of its own; `None` when none is
    /// free. What is dropped half-way takes its connection with it, so that the server does not give
    /// parcels to one who is gone.
    pub(super) async fn wait(&self, cmd: &Cmd, lasting: Duration) -> Option<RedisResult<Value>> {
        let _permit = self.readers.try_acquire().ok()?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let waits = async {
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.open(None).await?,
            };
            let value = cmd.query_async(&mut connection).await?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(value)
        };
        let waited = timeout(lasting + self.limits.answer, waits).await;
        Some(
            waited
                .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into())),
        )
    }
}

/// Leaves a connection that broke, unless another was made in its place already.
async fn leave(line: &Line, number: u64) {
    let mut shared = line.shared.lock().await;
    if shared.number == number {
        shared.connection = None;
    }
}

async fn answer(
    connection: &mut MultiplexedConnection,
    request: Request<'_>,
) -> RedisResult<Value> {
    match request {
        Request::One(cmd) => cmd.query_async(connection).await,
        Request::Many(pipeline) if pipeline.is_transaction() => {
            // What is answered before the last answer says only that it was heard.
            let all = connection.send_packed_commands(pipeline, pipeline.len() + 1, 1).await?.pop();
            match all {
                Some(answers @ Value::Array(_)) => Ok(answers),
                Some(Value::ServerError(error)) => Err(error.into()),
                _ => Err((ErrorKind::UnexpectedReturnType, "no transaction's answer").into()),
            }
        }
        Request::Many(pipeline) => {
            connection.send_packed_commands(pipeline, 0, pipeline.len()).await.map(Value::Array)
        }
        Request::Script(call) => match call.cmd.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                call.script.load_async(connection).await?;
                call.cmd.query_async(connection).await
            }
            answer => answer,
        },
    }
}
