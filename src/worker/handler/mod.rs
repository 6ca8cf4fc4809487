//! What a worker does with a message. A handler is one file here and one line in [`AnyHandler`].
//!
//! A handler knows nothing of leases, settling or limits: it gets a delivery and returns a
//! verdict. It may be called many times at once, and more than once for the same message: a crash
//! after the work and before the settling brings the message again, with the same id and a higher
//! attempt, so side effects should be keyed by the id.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use crate::domain::{Delivery, Verdict};

mod capture;
mod child;
mod exec;
mod function;
mod http;
mod output;
mod payload;
mod program;
mod sleep;
mod template;

pub use exec::{Exec, ExecError, ExecLimits, raise_open_files};
pub use function::{FromFn, from_fn};
pub use http::{Http, HttpCallLimits, HttpError};
pub use output::{ExecOutput, display_output};
pub use program::ProgramError;
pub use sleep::Sleep;
pub use template::{Template, TemplateError};

/// Does the work for one message.
pub trait Handler: Send + Sync + 'static {
    /// Handles one delivery and says how it ended.
    ///
    /// `cancel` fires when the message's time is up or the worker stops. A handler then ends soon:
    /// with what really happened if it had finished all the same ([`Verdict::Done`],
    /// [`Verdict::Reject`]; they count), else with [`Verdict::Release`], for which the worker
    /// substitutes its own reason. One that does not end is dropped after
    /// [`cancel_grace`](super::WorkerLimits::cancel_grace), so the future must clean up when it is
    /// dropped. A panic is a retry with the panic's message.
    fn handle(
        &self,
        delivery: &Delivery,
        cancel: CancellationToken,
    ) -> impl Future<Output = Verdict> + Send;
}

/// Why a handler cannot be used as it was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// The command, or one of its arguments.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The address.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// The handlers that a command line or a configuration can name.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyHandler {
    /// `--sleep`.
    Sleep(Sleep),
    /// `--exec`.
    Exec(Exec),
    /// `--http`.
    Http(Http),
}

impl AnyHandler {
    /// Whether it can work on rows with these columns: asked before anything is published.
    ///
    /// # Errors
    /// [`HandlerError`], with the column that is missing.
    pub fn check(&self, columns: &[String]) -> Result<(), HandlerError> {
        match self {
            Self::Sleep(_) | Self::Http(_) => Ok(()),
            Self::Exec(exec) => Ok(exec.check(columns)?),
        }
    }
}

impl Handler for AnyHandler {
    async fn handle(&self, delivery: &Delivery, cancel: CancellationToken) -> Verdict {
        match self {
            Self::Sleep(handler) => handler.handle(delivery, cancel).await,
            Self::Exec(handler) => handler.handle(delivery, cancel).await,
            Self::Http(handler) => handler.handle(delivery, cancel).await,
        }
    }
}
