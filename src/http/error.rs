//! What goes wrong, as a problem document with its status: the one place where errors of the layers
//! below become HTTP.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::openapi::PROBLEM;
use crate::api;
use crate::broker::BrokerError;
use crate::domain::{self, ProblemKind};
use crate::store::StoreError;
use crate::store::control::ChangeError;
use crate::store::log::LogError;

/// An answer that is a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The document.
    pub problem: api::Problem,
    /// Seconds after which to try again.
    pub retry_after: Option<u32>,
}

impl ApiError {
    /// A problem of a kind (`/problems/KIND`).
    pub fn new(
        status: StatusCode,
        kind: &str,
        title: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        let problem = api::Problem {
            kind: format!("/problems/{kind}"),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            ..api::Problem::default()
        };
        Self { problem, retry_after: None }
    }

    /// 404: there is no such thing.
    pub fn missing(what: &str, name: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            format!("There is no such {what}"),
            format!("there is no {what} `{name}`"),
        )
    }

    /// 422: the request says something that cannot be.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-request",
            "The request says something that cannot be",
            detail,
        )
    }

    /// 409: not as things stand.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "That cannot be done as things stand", detail)
    }

    /// 501: what carries the messages cannot do that, so no other request would fare better (RFC
    /// 9110, 15.6.2); the resource is there and in no conflict, which 404 and 409 would say.
    pub fn unsupported(what: &str, why: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            api::UNSUPPORTED,
            "That is unsupported here",
            format!("{what} is unsupported here: {why}"),
        )
    }

    /// 503, with the seconds after which to come again.
    pub fn unavailable(detail: impl Into<String>, retry_after: u32) -> Self {
        let title = "The server cannot do that now";
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, detail);
        error.retry_after = Some(retry_after);
        error
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The status of a fault of a file.
pub fn status_of(kind: ProblemKind) -> StatusCode {
    match kind {
        ProblemKind::WrongKind => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ProblemKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ProblemKind::Encrypted
        | ProblemKind::Unreadable
        | ProblemKind::NoSuchSheet
        | ProblemKind::BadHeader
        | ProblemKind::Empty
        | ProblemKind::AmbiguousDates
        | ProblemKind::InvalidRows
        | ProblemKind::NotCorrectable
        | ProblemKind::ReaderDied => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl From<&domain::Finding> for api::Finding {
    fn from(finding: &domain::Finding) -> Self {
        Self {
            rejected: finding.kind == domain::FindingKind::Rejected,
            address: finding.at.to_string(),
            row: finding.at.row.map(|row| row.0),
            column: finding.at.column.map(|column| column.to_string()),
            sheet: finding.at.sheet.clone(),
            detail: finding.detail.clone(),
        }
    }
}

impl From<&domain::Problem> for api::Problem {
    fn from(problem: &domain::Problem) -> Self {
        let kind = serde_json::to_value(problem.kind).unwrap_or_default();
        Self {
            kind: format!("/problems/{}", kind.as_str().unwrap_or_default()),
            title: problem.kind.title().to_owned(),
            status: status_of(problem.kind).as_u16(),
            detail: problem.detail.clone(),
            sheet: problem.at.sheet.as_deref().map(str::to_owned),
            row: problem.at.row.map(|row| row.0),
            column: problem.at.column.map(|column| column.to_string()),
            findings: problem.findings.iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

impl From<domain::Problem> for ApiError {
    fn from(problem: domain::Problem) -> Self {
        Self { problem: (&problem).into(), retry_after: None }
    }
}

/// A database that cannot be reached is 503: the request may be sent again.
fn unanswered() -> ApiError {
    ApiError::unavailable("the database does not answer; try again", 1)
}

/// Anything else below is a defect or damage: 500, told in the log alone.
fn internal(error: &dyn std::error::Error) -> ApiError {
    tracing::error!(%error, "a request failed");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "The server failed",
        "the server met a fault of its own; its log says more",
    )
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_outage() {
            tracing::warn!(%error, "a request met an outage");
            return unanswered();
        }
        internal(&error)
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        StoreError::from(error).into()
    }
}

impl From<BrokerError> for ApiError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::NoQueue(name) => Self::missing("queue", name),
            BrokerError::NoTopic(name) => Self::missing("topic", name),
            BrokerError::Outage(error) => {
                tracing::warn!(%error, "a request met an outage");
                unanswered()
            }
            BrokerError::Unsupported { what, why } => Self::unsupported(&what, &why),
            BrokerError::Refused(detail) => Self::invalid(detail),
            error @ BrokerError::Full(_) => Self::unavailable(error.to_string(), 1),
            BrokerError::KeyReused => Self::conflict(error.to_string()),
            error => internal(&error),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => error.into(),
            ChangeError::NoQueue(name) => Self::missing("queue", name),
            ChangeError::UnknownTopic(_)
            | ChangeError::UnknownDeadQueue(_)
            | ChangeError::OwnDeadQueue
            | ChangeError::Cycle(_) => Self::invalid(error.to_string()),
            error => Self::conflict(error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_string(&self.problem).unwrap_or_default();
        let kind = (header::CONTENT_TYPE, PROBLEM);
        let mut response = (status, [kind], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
