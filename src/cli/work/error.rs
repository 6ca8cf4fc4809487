//! Why a worker could not be: every layer's error, as the command line tells it. Exit code 2.

use crate::broker::CannotCarry;
use crate::cli::database::OpenError;
use crate::cli::metrics::CannotServe;
use crate::client::ClientError;
use crate::config::ConfigFault;
use crate::store::StoreError;
use crate::worker::{HandlerError, WorkerError};

/// Why a worker could not run, or could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkError {
    /// The environment names a server and a database.
    #[error(
        "ROWMILL_API_URL and ROWMILL_DATABASE_URL are both set: say --api-url or --database-url"
    )]
    TwoPlaces,
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// The metrics cannot be served.
    #[error(transparent)]
    Metrics(#[from] CannotServe),
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The broker cannot be used.
    #[error(transparent)]
    Broker(#[from] CannotCarry),
    /// The handler cannot be used.
    #[error(transparent)]
    Handler(#[from] HandlerError),
    /// The server's address cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The worker failed, as when there is no such queue.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}
