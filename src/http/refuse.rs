//! Requests that are refused before a handler has seen them. What is still coming of their bodies is
//! read and dropped for a while, or the client would see a reset and not the answer.

use axum::body::HttpBody;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use super::ApiError;
use super::uploads::linger::{Linger, linger, waits_for_word};

/// Answers a request with what is wrong.
pub(super) fn refuse(request: Request, refused: ApiError, bounds: &Linger) -> Response {
    if !request.body().is_end_stream() && !waits_for_word(request.headers()) {
        linger(request.into_body().into_data_stream(), bounds.clone());
    }
    refused.into_response()
}
