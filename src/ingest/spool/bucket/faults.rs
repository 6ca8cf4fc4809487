//! What the client says went wrong, in words for those who run the server.

use object_store::Error;

use super::super::SpoolError;

/// The error of a request.
pub(super) fn failed(error: Error) -> SpoolError {
    let why = match &error {
        Error::NotFound { .. } => "there is no such bucket",
        Error::PermissionDenied { .. } => "it is not allowed",
        Error::Unauthenticated { .. } => "the keys are not taken",
        _ => "the bucket does not answer as it should",
    };
    SpoolError::Bucket { why, source: error.into() }
}

/// The error of a request that is not the client's own.
pub(super) fn unanswered(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SpoolError {
    SpoolError::Bucket { why: "the bucket does not answer as it should", source: error.into() }
}
