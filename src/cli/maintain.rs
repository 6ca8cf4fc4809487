//! `rowmill maintain`: keeps a database's messages in order, as every server does, where no server
//! runs or where it is to be done at a time of one's own.

use std::process::ExitCode;

use super::common::Common;
use super::complain;
use super::database::{OpenError, open};
use crate::broker::keeper::{Keeper, Kept};
use crate::broker::{AnyBroker, BrokerError, CannotCarry, SqlBroker};
use crate::config::ConfigFault;
use crate::store::StoreError;
use crate::worker::Stop;

/// Keep a database's messages in order, until stopped.
///
/// Ends deliveries whose deadline passed and messages that waited longer than their retention,
/// records the end of uploads, and removes what deleted queues held and what ended long ago. Every
/// `rowmill serve` does the same; several at once are safe.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database: postgres://… or sqlite:PATH
    #[arg(
        long,
        value_name = "URL",
        env = "ROWMILL_DATABASE_URL",
        default_value = "sqlite:rowmill.db"
    )]
    database_url: String,

    /// What carries the messages, as for the servers. The database unless told
    #[arg(long, value_name = "URL", env = "ROWMILL_BROKER_URL")]
    broker_url: Option<String>,

    /// Do all that there is to be done now, say what it was, and end
    #[arg(long, env = "ROWMILL_ONCE")]
    once: bool,

    /// With --once: say it as JSON
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,
}

/// Why there was no upkeep.
#[derive(Debug, thiserror::Error)]
enum MaintainError {
    #[error(transparent)]
    Config(#[from] ConfigFault),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Carrier(#[from] CannotCarry),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("cannot say what was done: {0}")]
    Json(#[from] serde_json::Error),
}

impl Args {
    #[allow(clippy::print_stdout)] // its answer
    pub(super) async fn run(self, common: &Common) -> ExitCode {
        common.start_log();
        match self.maintain(common).await {
            Ok(Some(said)) => println!("{said}"),
            Ok(None) => {}
            Err(error) => return complain(&error),
        }
        ExitCode::SUCCESS
    }

    async fn maintain(&self, common: &Common) -> Result<Option<String>, MaintainError> {
        let config = common.config()?;
        let store = open(&self.database_url, &config.store).await?;
        let carrying = config.carrying(self.broker_url.clone());
        let broker = SqlBroker::new(store.clone(), config.broker).await?;
        let carried = carrying.open(&store).await?;
        let chore = carried.as_ref().and_then(AnyBroker::chore);
        let mut keeper = Keeper::new(broker).and(chore);
        if self.once {
            let kept = keeper.all().await?;
            let said = if self.json { serde_json::to_string(&kept)? } else { say(&kept) };
            store.close().await;
            return Ok(Some(said));
        }
        let stop = Stop::default();
        let signals = tokio::spawn(super::signals::listen(stop.clone(), common.voice()));
        // A step that is cut off is a transaction that is rolled back.
        tokio::select! {
            () = keeper.run() => {}
            () = stop.drain.cancelled() => {}
        }
        signals.abort();
        store.close().await;
        Ok(None)
    }
}

fn say(kept: &Kept) -> String {
    let Kept { leases, expired, uploads, stopped, publications, deleted, ended } = kept;
    format!(
        "{leases} deliveries ended whose deadline had passed\n\
         {expired} messages expired\n\
         {uploads} uploads ended\n\
         {stopped} uploads paused by their failures\n\
         {publications} idempotency keys forgotten\n\
         {deleted} messages of deleted queues removed\n\
         {ended} messages removed that ended long ago"
    )
}
