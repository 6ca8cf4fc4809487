//! A server from its start to its end: what it needs in the database, its tasks, its socket, its
//! stop.
//!
//! It is told to stop in two steps ([`Stop`]): with `drain` it takes no more connections, ends long
//! polls, lets requests and ingestions come to a stop for as long as its grace lasts; with `now` it
//! ends at once. What is cut off is as after a crash: leases run out, ingestions are taken over.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{App, HttpLimits, Parts, connection};
use crate::broker::keeper::{Chore, Keeper};
use crate::broker::{Broker, SqlBroker, SqlBrokerLimits};
use crate::domain::name::BadName;
use crate::domain::{QueueName, TopicName};
use crate::ingest::intake::Intake;
use crate::ingest::spool::SpoolError;
use crate::ingest::taken::IntakeSettings;
use crate::store::control::{ChangeError, QueueTerms};
use crate::store::{Store, StoreError};
use crate::worker::Stop;

/// The topic and the queue that exist from the start.
const ROWS: &str = "rows";
/// The queue of what died in [`ROWS`].
const ROWS_DEAD: &str = "rows-dead";
/// After which silence a file that was being received is taken for one that a crash left.
const LEFT_BEHIND: Duration = Duration::from_secs(60 * 60);
/// How long a message may wait in [`ROWS`].
const ROWS_RETENTION: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What a server is told.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where it listens: an address and a port, 0 for any that is free.
    pub listen: String,
    /// What bounds requests.
    pub limits: HttpLimits,
    /// Waits and sizes of the broker.
    pub broker: SqlBrokerLimits,
    /// How files are taken in.
    pub intake: IntakeSettings,
    /// How long what is under way may take to end after the first signal.
    pub grace: Duration,
    /// Whom it may listen to while there are no keys.
    pub exposure: Exposure,
}

/// Whom a server without keys listens to. One with keys asks for them, wherever it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exposure {
    /// This machine alone.
    #[default]
    Loopback,
    /// Anyone who can reach it, as somebody has said in so many words.
    Anyone,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name of ours is none.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The spool cannot be made, or not be written to.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// Which.
        listen: String,
        /// Why.
        source: std::io::Error,
    },
    /// Others could reach it, and it would ask nobody for a key.
    #[error(
        "there is no API key, so anyone who can reach {address} could do anything: make a key \
         (`rowmill key add NAME --scope admin`), or listen on 127.0.0.1 alone, or say \
         --open-to-anyone (ROWMILL_OPEN_TO_ANYONE=true) if that is what you want"
    )]
    Exposed {
        /// Where it would have listened.
        address: SocketAddr,
    },
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerEnd {
    /// Everything that was under way came to its stop.
    Drained,
    /// The grace was over, or it was told to end at once: something was cut off.
    CutOff,
}

/// A server that listens, and does not answer yet.
#[derive(Debug)]
pub struct Server<B> {
    app: App<B>,
    keeper: Keeper,
    listener: TcpListener,
    address: SocketAddr,
    grace: Duration,
    stop: Stop,
}

impl<B: Broker + Clone> Server<B> {
    /// Prepares a server on a store whose tables are there: makes the topic and the queue `rows` if
    /// they are not there, and listens. `carry` makes the broker of what the database gives.
    ///
    /// # Errors
    /// [`ServerError`]; nothing runs then.
    pub async fn open(
        store: Store,
        carry: impl FnOnce(SqlBroker) -> B,
        settings: ServerSettings,
        stop: Stop,
    ) -> Result<Self, ServerError> {
        let ServerSettings { listen, limits, broker, intake, grace, exposure } = settings;
        intake.spool.prepare().await?;
        // Servers share a spool: what a living one receives is written to more often than that.
        let age = LEFT_BEHIND.max(limits.upload_silence * 2);
        match intake.spool.sweep(age).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "removed what was never received to its end"),
            Err(error) => tracing::warn!(%error, "the spool cannot be tidied up"),
        }
        provide_rows(&store).await?;
        let sql = SqlBroker::new(store.clone(), broker).await?;
        let broker = carry(sql.clone());
        let intake = Intake::new(store.clone(), broker.clone(), intake, stop.drain.clone());
        let key = store.control.message_key().await?;
        let listening = |source| ServerError::Listen { listen: listen.clone(), source };
        let listener = TcpListener::bind(&listen).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let beyond = !address.ip().to_canonical().is_loopback();
        if beyond && exposure == Exposure::Loopback && !store.control.any_key().await? {
            return Err(ServerError::Exposed { address });
        }
        let app = App::new(Parts { store, broker, key, intake, limits, stop: stop.drain.clone() });
        Ok(Self { app, keeper: Keeper::new(sql), listener, address, grace, stop })
    }

    /// The same with something more for its keeper to do.
    #[must_use]
    pub fn keeping(mut self, chore: Option<Box<dyn Chore>>) -> Self {
        self.keeper = self.keeper.and(chore);
        self
    }

    /// Where it listens, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until it is told to stop, and then until what is under way has ended, or
    /// its grace is over.
    ///
    /// Cancellation safety: dropped, it takes no more connections; requests under way go on until
    /// the runtime ends.
    pub async fn run(self) -> ServerEnd {
        let Self { app, keeper, listener, grace, stop, .. } = self;
        let _keeper = AbortOnDropHandle::new(tokio::spawn(keeper.run()));
        let webhooks = super::webhook::run(app.clone());
        let _webhooks = AbortOnDropHandle::new(tokio::spawn(webhooks));
        let (intake, sockets) = (app.intake.clone(), app.sockets.clone());
        let limits = app.limits.safety.clone();
        let served = connection::serve(listener, app.router(), &limits, &stop.drain);
        let all = async {
            let (served, ()) = tokio::join!(served, intake.run());
            // What clients gave up is still being taken back from it.
            intake.settings().spool.settled().await;
            // Each was a request once, and nobody waits for it any more.
            sockets.all_closed().await;
            served
        };
        let over = async {
            stop.drain.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            _ = all => ServerEnd::Drained,
            () = over => ServerEnd::CutOff,
            () = stop.now.cancelled() => ServerEnd::CutOff,
        }
    }
}

/// Makes the topic and the queue that exist from the start. Those that are there stay as they are:
/// somebody may have changed their terms.
async fn provide_rows(store: &Store) -> Result<(), ServerError> {
    let (topic, queue): (TopicName, QueueName) = (ROWS.parse()?, ROWS.parse()?);
    let dead: QueueName = ROWS_DEAD.parse()?;
    // One server at a time looks and makes, so that none brings a queue back to its first terms.
    let lock = store.lock("provide").await?;
    store.control.ensure_topic(&topic).await?;
    if store.control.queue(&queue).await?.is_none() {
        let made = store.control.create_queue(&dead, &QueueTerms::default()).await;
        refusal_of(made)?;
        let rows = |dead_queue: Option<QueueName>| QueueTerms {
            topic: Some(topic.clone()),
            max_deliveries: dead_queue.is_some().then_some(5),
            dead_queue,
            retention: Some(ROWS_RETENTION),
            ..QueueTerms::default()
        };
        let made = store.control.create_queue(&queue, &rows(Some(dead))).await;
        // Somebody deleted the queue and kept what had died in it: that is not for another queue.
        if refusal_of(made)?.is_some() {
            let made = store.control.create_queue(&queue, &rows(None)).await;
            if let Some(refusal) = refusal_of(made)? {
                tracing::warn!(%refusal, "the queue `{ROWS}` was not made");
            }
        }
    }
    lock.release().await;
    Ok(())
}

/// Why something was not made that somebody may have made otherwise; a failure stays one.
fn refusal_of<T>(made: Result<T, ChangeError>) -> Result<Option<ChangeError>, StoreError> {
    match made {
        Ok(_) => Ok(None),
        Err(ChangeError::Store(error)) => Err(error),
        Err(refusal) => Ok(Some(refusal)),
    }
}
