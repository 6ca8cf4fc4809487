//! What goes wrong with the store, and which of it may pass.

use sea_orm::{DbErr, RuntimeErr};

use super::log;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The address names no database that we know.
    #[error("`{0}` names no database: begin it with postgres:// or sqlite:")]
    BadUrl(String),
    /// The database cannot be reached or opened.
    #[error("cannot open the database {what}: {source}")]
    Open {
        /// Which, without its password.
        what: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The database keeps texts in an encoding that cannot hold every text.
    #[error("the database {what} is in {encoding}: rowmill needs one created with encoding UTF8")]
    Encoding {
        /// Which, without its password.
        what: String,
        /// Its encoding.
        encoding: String,
    },
    /// A statement of the control plane failed.
    #[error("the database failed: {0}")]
    Database(#[from] DbErr),
    /// A statement failed.
    #[error("the database failed: {0}")]
    Statement(#[from] sqlx::Error),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] log::LogError),
    /// A later version has changed the tables.
    #[error("the database is of a later version: this one knows no change {0} of its tables")]
    Later(String),
    /// Another process is at work on the same upload.
    #[error("another process is at work on this upload")]
    Busy,
    /// What is kept cannot be understood.
    #[error("the database is damaged: {0}")]
    Damaged(String),
}

impl StoreError {
    /// Whether the database does not answer, so that the same may work later.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Statement(source) => is_outage(source),
            Self::Log(error) => error.is_outage(),
            Self::Database(DbErr::Conn(error) | DbErr::Exec(error) | DbErr::Query(error)) => {
                matches!(error, RuntimeErr::SqlxError(error) if is_outage(error))
            }
            Self::Database(DbErr::ConnectionAcquire(_)) => true,
            _ => false,
        }
    }
}

/// Whether an error says that the server is away, starting, stopping or full for the moment.
pub(super) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        // Classes of PostgreSQL: 08 connection, 53 resources, 57P stopping or starting, 40 to be
        // tried again, 25006 a server that only reads for now. Codes of SQLite: 5 busy, 6 locked.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57P", "40"].iter().any(|class| code.starts_with(class))
                || matches!(&*code, "25006" | "5" | "6" | "261" | "517")
        }),
        _ => false,
    }
}
