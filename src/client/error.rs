//! What goes wrong between a client and its server. Every error says which address it is about,
//! without credentials.

use std::path::PathBuf;
use std::time::Duration;

use crate::api::Problem;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address names no server.
    #[error("the server's address cannot be used: {0}")]
    BadUrl(String),
    /// The API key has characters that no key has.
    #[error("the API key cannot be sent: a key has visible ASCII characters alone")]
    BadKey,
    /// The client cannot be made on this machine.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
    /// The server refused, and says why. A server in between may have; then the document is made of
    /// its status and the beginning of its answer.
    #[error("{url}: {}", words(.problem))]
    Problem {
        /// Of what.
        url: String,
        /// Why.
        problem: Box<Problem>,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("{url} cannot be reached: {reason}")]
    Transport {
        /// Which.
        url: String,
        /// The innermost cause.
        reason: String,
        /// Whether the connection was not even made, so that nothing was asked.
        connecting: bool,
    },
    /// No answer came in time.
    #[error("{url} did not answer within {} s", .after.as_secs_f64())]
    Timeout {
        /// Which.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// The answer is none of this API's.
    #[error("{url} gave an answer that cannot be understood: {detail}")]
    BadAnswer {
        /// Which.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A file that was to be uploaded cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What was to be sent has no JSON form.
    #[error("the request cannot be written: {0}")]
    Words(#[from] serde_json::Error),
}

impl ClientError {
    /// The HTTP status, if the server answered with one that is not success.
    pub fn status(&self) -> Option<u16> {
        self.problem().map(|problem| problem.status)
    }

    /// The server's refusal, if that is what it is.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// Whether it is the server's refusal of this kind (what stands after `/problems/`).
    pub fn is_about(&self, kind: &str) -> bool {
        self.problem().and_then(|problem| problem.kind.strip_prefix("/problems/")) == Some(kind)
    }

    /// Whether the server knows nobody who asks so, or does not allow it to whom it knows.
    pub fn is_not_allowed(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the same request may succeed in a while.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Timeout { .. } => true,
            Self::Problem { problem, .. } => {
                matches!(problem.status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// Whether the request has certainly not been carried out, and may be in a while.
    pub(super) fn was_turned_away(&self) -> bool {
        match self {
            Self::Transport { connecting, .. } => *connecting,
            Self::Problem { problem, .. } => matches!(problem.status, 429 | 503),
            _ => false,
        }
    }
}

/// A problem document as one line.
fn words(problem: &Problem) -> String {
    let mut text = problem.title.clone();
    if let Some(sheet) = &problem.sheet {
        text.push_str(&format!(", sheet `{sheet}`"));
    }
    if let Some(row) = problem.row {
        let column = problem.column.as_deref().unwrap_or_default();
        text.push_str(&format!(", at {column}{row}"));
    }
    if !problem.detail.is_empty() {
        text.push_str(": ");
        text.push_str(&problem.detail);
    }
    text
}
